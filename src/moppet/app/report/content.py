"""What the sections of a report are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from moppet.app.report.charts import GROUP_SLOTS
from moppet.app.report.lanes import Drawing, build_drawing
from moppet.timeline import Episode, Timeline


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a face. data_uri: a JPEG as data:image/jpeg;base64,…"""

    face_id: int
    time_s: float
    label: str
    data_uri: str
    blurred: bool


@dataclass(frozen=True)
class Report:
    """What every section needs. groups: positive, neutral, negative first, then others."""

    timeline: Timeline
    summary: Mapping[str, Any]
    episodes: Sequence[Episode]
    groups: Sequence[str]
    drawing: Drawing

    @property
    def name(self) -> str:
        """Name of the recording."""
        return str(self.timeline.metadata.get("source_name") or "Unnamed recording")

    @property
    def everyone(self) -> Mapping[str, Any]:
        """The summary of all faces together."""
        face: Mapping[str, Any] = self.summary["faces"]["all"]
        return face

    @property
    def duration_s(self) -> float | None:
        """Length of the recording, else of what was analysed."""
        known: float | None = self.summary["duration_s"]
        return self.summary["analysed_s"] if known is None else known

    def setting(self, name: str) -> Any:
        """A value of the metadata or of the settings in it; None if neither has it."""
        metadata = self.timeline.metadata
        nested = metadata.get("settings")
        found = metadata.get(name)
        return nested.get(name) if found is None and isinstance(nested, Mapping) else found


def collect(timeline: Timeline) -> Report:
    """Return what the sections need, computed once."""
    groups = order_groups(timeline.group_of)
    drawing = build_drawing(timeline, groups)
    return Report(timeline, timeline.summary(), timeline.episodes(), groups, drawing)


def order_groups(group_of: Mapping[str, str]) -> list[str]:
    """Return the groups in use: positive, neutral, negative, then others as they come."""
    used = list(dict.fromkeys(group_of.values()))
    first = [group for group in GROUP_SLOTS if group in used]
    return first + [group for group in used if group not in GROUP_SLOTS]


def section(name: str, title: str, body: str) -> str:
    """Return a landmark with a heading. body: HTML."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(title)}</h2>{body}</section>'
    )
