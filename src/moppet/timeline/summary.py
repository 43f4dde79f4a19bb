"""Summary statistics of a timeline: shares of time, episodes, transitions, absences."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.durations import Clock, read_clock, stretches
from moppet.timeline.episodes import KINDS, Episode, Kind, face_tracks, find_episodes
from moppet.timeline.schema import flags, numbers, present, texts
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.time_axis import NO_VALUE, format_length
from moppet.values import STATUSES, Status

UNNAMED: Final = "unnamed"


class _Facts(NamedTuple):
    """The columns that a summary needs, one entry per row; seconds are those of the row's frame."""

    face: NDArray[np.float64]
    time_s: NDArray[np.float64]
    seconds: NDArray[np.float64]
    sure: NDArray[np.bool_]
    label: dict[Kind, NDArray[np.object_]]
    labelled: dict[Kind, NDArray[np.bool_]]
    episodes: list[Episode]
    breaks: dict[int, NDArray[np.float64]]


def summarize(
    table: Any,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the summary of a timeline as JSON values; None if a value is undefined.

    docs/reference/timeline.md, section "Summary", describes its fields.
    """
    clock = read_clock(table, settings)
    facts = _gather(table, names, group_of, settings, clock)
    labels: dict[Kind, list[str]] = {
        "expression": list(names),
        "group": list(dict.fromkeys(group_of[name] for name in names if name in group_of)),
    }
    face_ids = [int(i) for i in np.unique(facts.face[~np.isnan(facts.face)])]
    people = {i: name_and_role(metadata, i) for i in face_ids}
    analyzed_s = _seconds(clock.seconds)
    with_face = np.isin(clock.status, ("ok", "low_quality"))
    reliable = np.isin(np.arange(len(clock.seconds)), clock.frame_of_row[facts.sure])
    return {
        "source": metadata.get("source_name"),
        "complete": metadata.get("complete"),
        "duration_s": metadata.get("duration_s"),
        "analyzed_s": analyzed_s,
        "frames": {"total": len(clock.status)}
        | {status: int(np.equal(clock.status, status).sum()) for status in STATUSES},
        "time_with_face_s": _seconds(clock.seconds[with_face], analyzed_s),
        "time_without_face_s": _time_in(clock, "no_face", analyzed_s),
        "time_unreadable_s": _time_in(clock, "unreadable", analyzed_s),
        "time_unsure_s": _seconds(clock.seconds[with_face & ~reliable], analyzed_s),
        "faceless": _stretches(clock, "no_face", settings),
        "unreadable": _stretches(clock, "unreadable", settings),
        "faces": {
            "all": {"face_id": None, **_figures(facts, face_ids, labels, analyzed_s)},
            **{
                str(i): {
                    "face_id": i,
                    **({"name": name, "role": role} if "people" in metadata else {}),
                    **_figures(facts, [i], labels, analyzed_s),
                }
                for i, (name, role) in people.items()
            },
        },
        **({"roles": _roles(facts, people, labels, analyzed_s)} if "people" in metadata else {}),
    }


def name_and_role(metadata: Mapping[str, Any], face_id: int) -> tuple[str, str | None]:
    """Return a face's name and role; "face <id>" and None if it has no name."""
    person = (metadata.get("people") or {}).get(str(face_id))
    return (person["name"], person["role"]) if person else (f"face {face_id}", None)


def _stretches(
    clock: Clock, status: Status, settings: TimelineSettings
) -> list[dict[str, float | None]]:
    found = stretches(clock, status, settings)
    return [{"start_s": start_s, "end_s": _number(end_s)} for start_s, end_s in found]


def _gather(
    table: Any,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
    clock: Clock,
) -> _Facts:
    face = numbers(table, "face_id")
    breaks = {
        track.face_id: track.time_s[1:][np.diff(track.segment) > 0]
        for track in face_tracks(table, settings)
    }
    return _Facts(
        face=face,
        time_s=numbers(table, "time_s"),
        seconds=clock.row_seconds,
        sure=~np.isnan(face) & ~flags(table, "unsure"),
        label={kind: texts(table, kind) for kind in KINDS},
        labelled={kind: present(table, kind) for kind in KINDS},
        episodes=find_episodes(table, names, group_of, settings),
        breaks=breaks,
    )


def _roles(
    facts: _Facts,
    people: Mapping[int, tuple[str, str | None]],
    labels: Mapping[Kind, Sequence[str]],
    analyzed_s: float | None,
) -> dict[str, dict[str, Any]]:
    """Return the figures of each role; faces without a role are UNNAMED."""
    found = {}
    for role in sorted({role or UNNAMED for _, role in people.values()}):
        faces = [i for i, (_, one) in people.items() if (one or UNNAMED) == role]
        figures = _figures(facts, faces, labels, analyzed_s)
        found[role] = {"people": [people[i][0] for i in faces], **figures}
    return found


def _figures(
    facts: _Facts,
    faces: Sequence[int],
    labels: Mapping[Kind, Sequence[str]],
    analyzed_s: float | None,
) -> dict[str, Any]:
    here = np.isin(facts.face, faces)
    classified = here & facts.labelled["expression"]
    ungrouped = classified & ~facts.labelled["group"]
    sure = classified & facts.sure
    ends = facts.time_s + facts.seconds
    return {
        "frames": int(here.sum()),
        "first_s": float(facts.time_s[here].min()) if here.any() else None,
        "last_s": _number(float(ends[here].max())) if here.any() else None,
        "time_s": _seconds(facts.seconds[here], analyzed_s),
        "time_sure_s": _seconds(facts.seconds[here & facts.sure], analyzed_s),
        "time_unsure_s": _seconds(facts.seconds[here & ~facts.sure], analyzed_s),
        "time_unclassified_s": _seconds(facts.seconds[here & ~classified], analyzed_s),
        "share_no_group": _share(facts.seconds, ungrouped, classified),
        "share_no_group_sure": _share(facts.seconds, ungrouped & sure, sure),
        "expressions": _labels(facts, faces, "expression", labels, classified, analyzed_s),
        "groups": _labels(facts, faces, "group", labels, classified, analyzed_s),
        "transitions": {kind: _transitions(facts, faces, kind, labels[kind]) for kind in KINDS},
    }


def _labels(
    facts: _Facts,
    faces: Sequence[int],
    kind: Kind,
    labels: Mapping[Kind, Sequence[str]],
    classified: NDArray[np.bool_],
    analyzed_s: float | None,
) -> dict[str, dict[str, Any]]:
    sure = classified & facts.sure
    figures = {}
    for label in labels[kind]:
        shown = classified & np.equal(facts.label[kind], label)
        lengths = [e.duration_s for e in _episodes(facts, faces, kind) if e.label == label]
        figures[label] = {
            "time_s": _seconds(facts.seconds[shown], analyzed_s),
            "share": _share(facts.seconds, shown, classified),
            "share_sure": _share(facts.seconds, shown & sure, sure),
            "episodes": len(lengths),
            "mean_s": math.fsum(lengths) / len(lengths) if lengths else None,
            "longest_s": max(lengths, default=None),
        }
    return figures


def _episodes(facts: _Facts, faces: Sequence[int], kind: Kind) -> Iterable[Episode]:
    return [e for e in facts.episodes if e.kind == kind and e.face_id in faces]


def _transitions(
    facts: _Facts, faces: Sequence[int], kind: Kind, labels: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count transitions between consecutive episodes of a face without a gap between them."""
    counts = {start: dict.fromkeys(labels, 0) for start in labels}
    for before, after in pairwise(_episodes(facts, faces, kind)):
        if before.face_id == after.face_id:
            breaks = facts.breaks[before.face_id]
            if not ((breaks > before.start_s) & (breaks <= after.start_s)).any():
                counts[before.label][after.label] += 1
    return counts


def _time_in(clock: Clock, status: str, analyzed_s: float | None) -> float | None:
    return _seconds(clock.seconds[np.equal(clock.status, status)], analyzed_s)


def _seconds(seconds: NDArray[np.float64], analyzed_s: float | None = 0.0) -> float | None:
    """Return the sum; None if durations are undefined, as for a single image."""
    return None if analyzed_s is None else _number(math.fsum(seconds))


def _share(
    seconds: NDArray[np.float64], part: NDArray[np.bool_], whole: NDArray[np.bool_]
) -> float | None:
    total = math.fsum(seconds[whole])
    return _number(math.fsum(seconds[part]) / total) if total > 0 else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a summary as short lines of text; a dash for undefined values."""
    frames, total = summary["frames"], summary["faces"]
    kinds = ", ".join(
        f"{frames[status]} {status.replace('_', ' ')}" for status in STATUSES if frames[status]
    )
    lines = [
        f"{summary['source'] or 'timeline'}: {format_length(summary['analyzed_s'])} analyzed, "
        f"{frames['total']} frames ({kinds or 'none'})",
        f"with a face {format_length(summary['time_with_face_s'])}, "
        f"without {format_length(summary['time_without_face_s'])}, "
        f"unsure {format_length(summary['time_unsure_s'])}",
    ]
    if summary["complete"] is False:
        lines.append("The analysis was interrupted: only part of the recording is included.")
    for key, face in total.items():
        # With a single face, "all" would repeat its lines.
        if key != "all" or len(total) > 2:
            title = "all faces" if key == "all" else str(face.get("name") or f"face {key}")
            role = face.get("role")
            lines += _face_lines(f"{title} ({role})" if role else title, face)
    return lines


def _face_lines(title: str, face: Mapping[str, Any]) -> list[str]:
    unsure = format_length(face["time_unsure_s"])
    lines = [f"{title}: {format_length(face['time_s'])}, unsure {unsure}"]
    labels = {**{f"[{k}]": v for k, v in face["groups"].items()}, **face["expressions"]}
    unseen = [label for label, figures in labels.items() if figures["share"] == 0]
    labels = {label: figures for label, figures in labels.items() if label not in unseen}
    width = max(map(len, labels), default=0)
    for label, figures in labels.items():
        share = figures["share"]
        percent = NO_VALUE if share is None else f"{100 * share:.0f} %"
        noun = "episode" if figures["episodes"] == 1 else "episodes"
        mean, longest = format_length(figures["mean_s"]), format_length(figures["longest_s"])
        lines.append(
            f"  {label:<{width}}  {percent:>5}  {figures['episodes']:>3} {noun}, "
            f"mean {mean}, longest {longest}"
        )
    if unseen:
        lines.append(f"  not observed: {', '.join(unseen)}")
    return lines


_TIMES: Final = ("time_s", "time_sure_s", "time_unsure_s")
_FIGURES: Final = ("share", "share_sure", "episodes", "mean_s", "longest_s")


def summary_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each role in a recording, or one row for all faces without names.

    Columns: recording, role, people, analyzed_s, the seconds of the role, then the figures of each
    group ("group positive share", …) and expression ("happiness share", …); see
    docs/reference/timeline.md, section "Summary". None for undefined values.
    """
    roles = summary.get("roles") or {UNNAMED: {**summary["faces"]["all"], "people": []}}
    return [
        {
            "recording": summary["source"],
            "role": role,
            "people": "; ".join(found["people"]),
            "analyzed_s": summary["analyzed_s"],
            **{name: found[name] for name in _TIMES},
            **_table_figures(found["groups"], "group "),
            **_table_figures(found["expressions"], ""),
        }
        for role, found in roles.items()
    ]


def summary_csv(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows of these recordings as CSV; undefined values are empty.

    If the recordings were analyzed by different models, the columns of all are included.
    """
    rows = [row for summary in summaries for row in summary_rows(summary)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else _guarded(v) for k, v in row.items()}
        )
    return text.getvalue()


def _table_figures(labels: Mapping[str, Mapping[str, Any]], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}{label} {name}": figures[name]
        for label, figures in labels.items()
        for name in _FIGURES
    }


def _guarded(value: Any) -> Any:
    """Return text that a spreadsheet would read as a formula with a leading quote."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t") else value
