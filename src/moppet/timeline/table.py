"""The class Timeline, and functions to build and read timelines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from moppet.files import one_line, write_csv
from moppet.timeline import formats
from moppet.timeline.blinks import Blink, find_blinks
from moppet.timeline.downsample import FrameThinner, thinning_step
from moppet.timeline.episodes import Episode, Kind, find_episodes
from moppet.timeline.labels import deciding, labeled_table
from moppet.timeline.notebook import timeline_html
from moppet.timeline.readings import smooth_columns
from moppet.timeline.schema import (
    OptionalColumns,
    RawColumns,
    RawRow,
    TableHashes,
    check_metadata,
    check_names,
    conform,
    integers,
    names_in,
    numbers,
    photo_files,
    plain,
    raw_columns,
    table_columns,
    table_hashes,
    texts,
)
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.summary import name_and_role, summarize
from moppet.values import GROUPS, TimelineError, UsageError

THINNED: Final = "thinned_every"
TRACKS: Final = "whole_tracks_sha256"
"""Keys of the metadata of a thinned timeline: one in so many analyzed frames is left; and
`TableHashes.tracks_sha256` of the whole table."""


@dataclass(frozen=True)
class Timeline:
    """The expressions of every face of a recording in every frame.

    Two timelines are equal if all their attributes are.

    Attributes:
        table: pyarrow.Table with one row per frame and face, and one row for every frame without
            a face, sorted by frame and face_id. The page "Timeline" describes its columns.
        names: the model's classes, in the order of the columns.
        group_of: class → group; a class that is missing belongs to no group.
        settings: how it was smoothed and how its episodes are found.
        metadata: its origin, as JSON values; names, groups and settings are filled in.

    Raises:
        TimelineError: the table is not a timeline.

    Examples:
        >>> import moppet
        >>> timeline = moppet.analyze("examples/child.mp4", end_s=4)
        >>> timeline.table.num_rows
        48
        >>> timeline.metadata["source_name"]
        'child.mp4'
    """

    table: Any = field(repr=False)
    names: tuple[str, ...]
    group_of: Mapping[str, str]
    settings: TimelineSettings = field(default_factory=TimelineSettings)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        names = check_names(self.names)
        groups = {name: self.group_of[name] for name in names if name in self.group_of}
        for group in groups.values():
            if not isinstance(group, str) or not group or not group.isprintable():
                raise TimelineError(
                    f"The name of a group must consist of printable characters, got {group!r}."
                )
        kept = plain(self.metadata)
        given = kept.get("settings")
        kept["settings"] = {
            **(given if isinstance(given, dict) else {}),
            "timeline": self.settings.to_dict(),
        }
        kept |= {"names": list(names), "groups": groups}
        table = conform(self.table, names)
        if self.settings.reading != "observers":
            deciding(table_columns(table.slice(0, 0), names), self.settings)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "group_of", groups)
        object.__setattr__(self, "metadata", kept)
        object.__setattr__(self, "table", table)
        files = self.photos
        if files and len(frames := integers(table, "frame")) and frames[-1] >= len(files):
            raise TimelineError(
                f"The metadata names {len(files)} images, but the table has image number "
                f"{frames[-1] + 1}."
            )

    @property
    def photos(self) -> tuple[str, ...]:
        """The file names of a set of photos, by frame; empty for a film, which has a time axis."""
        return photo_files(self.metadata)

    def _repr_html_(self) -> str | None:
        """Return the HTML for notebooks: a line of text and a small chart; None if that fails."""
        try:
            return timeline_html(self.table, self.names, self.settings, self.metadata)
        except Exception:  # the notebook then shows the text form
            return None

    def to_pandas(self) -> Any:
        """Return the table as a pandas.DataFrame: NaN for missing numbers, `<NA>` for missing ids.

        Raises:
            ImportError: pandas is not installed.

        Examples:
            >>> import moppet
            >>> frame = moppet.analyze("examples/child.mp4", end_s=4).to_pandas()
            >>> frame["expression"].value_counts().to_dict()
            {'neutral': 24, 'happiness': 24}
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Timeline.to_pandas needs pandas. Install it with: "
                f"{sys.executable} -m pip install pandas"
            ) from error
        nullable = {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
        return self.table.to_pandas(types_mapper=nullable.get)

    def face_name(self, face_id: int) -> str:
        """Return the name given to a face, or "face <id>" if it has none.

        Examples:
            >>> import moppet
            >>> moppet.analyze("examples/child.mp4", end_s=1).face_name(0)
            'face 0'
        """
        return name_and_role(self.metadata, face_id)[0]

    def episodes(self, kind: Kind | None = None) -> list[Episode]:
        """Return the episodes, sorted by face, kind and start.

        An episode is an interval in which a face shows one expression, or one group of
        expressions. Photos have none.

        Args:
            kind: "expression" or "group"; None for both.

        Examples:
            >>> import moppet
            >>> timeline = moppet.analyze("examples/child.mp4", end_s=4)
            >>> smile = timeline.episodes("expression")[1]
            >>> smile.label, smile.start_s, smile.end_s, smile.n_frames
            ('happiness', 2.0, 4.0, 24)
        """
        if self.photos:
            return []
        return find_episodes(self.table, self.names, self.group_of, self.settings, kind)

    def blinks(self) -> list[Blink]:
        """Return the blinks of every face, sorted by face and time.

        There are none if the model does not measure blinks, in photos, and for faces whose frames
        come at fewer than 10 a second.

        Examples:
            >>> import moppet
            >>> moppet.analyze("examples/child.mp4", end_s=1).blinks()
            []
        """
        found = {} if self.photos else find_blinks(self.table)
        return [blink for face in found.values() for blink in face.blinks]

    def summary(self) -> dict[str, Any]:
        """Return shares of time, episodes, transitions and absences as JSON values.

        Undefined values are None. The page "Timeline" describes all of them.

        Examples:
            >>> import moppet
            >>> summary = moppet.analyze("examples/child.mp4", end_s=4).summary()
            >>> summary["faces"]["all"]["expressions"]["happiness"]["share"]
            0.5
        """
        return summarize(self)

    def write(self, path: str | PathLike[str]) -> Path:
        """Write the timeline and return the path.

        An existing file is replaced only after the new one has been written completely.

        Args:
            path: its suffix selects the format: .parquet, .json, or .csv, which gets a
                .meta.json file beside it.

        Raises:
            UsageError: the path has another suffix.
            TimelineError: the file cannot be written.

        Examples:
            >>> import moppet
            >>> timeline = moppet.analyze("examples/child.mp4", end_s=1)
            >>> timeline.write("child.csv").name
            'child.csv'
        """
        return formats.write_table(Path(path), self.table, self.metadata)

    def write_photos(self, path: str | PathLike[str]) -> Path:
        """Write a CSV of a set of photos: one row for each face, with the file's name.

        Raises UsageError for the timeline of a video.

        Examples:
            >>> import cv2, moppet
            >>> _, image = cv2.VideoCapture("examples/child.mp4").read()
            >>> _ = cv2.imwrite("photo.png", image)
            >>> table = moppet.analyze("photo.png").write_photos("photos.csv")
            >>> table.read_text().split(",")[:4]
            ['file', 'face_id', 'status', 'expression']
        """
        if not self.photos:
            raise UsageError("this is the timeline of a video: use `write` to get it as a CSV.")
        columns = ["face_id", "status", "expression", "group", "confidence", "unsure", "quality"]
        columns += [f"box_{side}" for side in "xywh"]
        rows = self.table.select(["frame", *columns]).to_pylist()
        table = ([self.photos[row.pop("frame")], *row.values()] for row in rows)
        return write_csv(Path(path), ["file", *columns], table)


def build_timeline(
    rows: Iterable[RawRow],
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings | None = None,
    metadata: Mapping[str, Any] | None = None,
    optional: OptionalColumns | None = None,
) -> Timeline:
    """Return the timeline of these rows: smoothed, with expression, group, confidence and unsure.

    rows: in any order, at least one per frame. optional: whether they have a display reading, and
    which movements; None for neither.
    Raises TimelineError for an invalid row.
    """
    classes = check_names(names)
    return timeline_of(
        raw_columns(list(rows), classes, optional),
        names=classes,
        group_of=group_of,
        settings=settings or TimelineSettings(),
        metadata=metadata or {},
    )


def timeline_of(
    columns: RawColumns,
    *,
    names: tuple[str, ...],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
    metadata: Mapping[str, Any],
) -> Timeline:
    """Return the timeline of these columns; see `build_timeline`."""
    is_film = not photo_files(metadata)
    p = deciding(columns, settings)
    smoothed = smooth_columns(columns, p, settings) if is_film else p.copy()
    table = labeled_table(columns, smoothed, settings, names=names, group_of=group_of)
    return Timeline(table, names, group_of, settings, metadata)


def read_timeline(path: str | PathLike[str]) -> Timeline:
    """Return the timeline in a .parquet, .csv or .json file.

    The metadata of a CSV file is in the .meta.json file beside it. Without that file, the classes
    are taken from the columns, the groups from the rows, and the settings are the defaults.

    Args:
        path: a file written by `Timeline.write` or `moppet analyze`.

    Raises:
        TimelineError: there is no such file, or it is not a timeline.

    Examples:
        >>> import moppet
        >>> path = moppet.analyze("examples/child.mp4", end_s=1).write("child.parquet")
        >>> moppet.read_timeline(path).names[:3]
        ('neutral', 'happiness', 'sadness')
    """
    place = Path(path)
    return _checked(place, *formats.read_table(place))


def read_thinned(path: Path) -> Timeline:
    """Return `read_timeline` of a file; of a very large one, every k-th analyzed frame.

    What is left out is in the metadata, see `thinned`. Raises TimelineError as `read_timeline`
    does.
    """
    table, metadata, every, hashes = formats.read_thinned_table(path)
    timeline = _checked(path, table, metadata, hashes)
    return thinned(timeline) if hashes is None else _thinned(timeline, every, hashes)


def thinned(timeline: Timeline) -> Timeline:
    """Return a timeline that is small enough for a report: if need be, every k-th analyzed frame.

    The metadata then has THINNED and TRACKS, and max_gap_s is at least twice the step between the
    frames that are left.
    """
    table = timeline.table
    every = thinning_step(table.num_rows, table.num_columns)
    if every == 1:
        return timeline
    part = FrameThinner(every).keep(table)
    return _thinned(replace(timeline, table=part), every, table_hashes(table, timeline.names))


def _thinned(timeline: Timeline, every: int, whole: TableHashes) -> Timeline:
    steps = np.diff(np.unique(numbers(timeline.table, "time_s")))
    settings = timeline.settings
    if len(steps):  # the frames that are left must not count as gaps
        gap_s = max(settings.max_gap_s, 2 * float(np.median(steps)))
        settings = replace(settings, max_gap_s=gap_s)
    about = {**timeline.metadata, THINNED: every, TRACKS: whole.tracks_sha256}
    return replace(timeline, settings=settings, metadata=about)


def _checked(
    place: Path, table: Any, metadata: dict[str, Any] | None, hashes: TableHashes | None = None
) -> Timeline:
    """Return the timeline of a file's table and metadata. hashes: of the whole, if it is thinned.

    Raises TimelineError if they are those of no timeline, or do not belong together.
    """
    if metadata is None:
        names = names_in(table.column_names)
        if not names:
            raise TimelineError(f"{place} is not a timeline: it has no column p_<class>.")
        table = conform(table, names, str(place))
        return Timeline(table, names, _groups_in(table, names))
    try:
        check_metadata(metadata)
        names = check_names(metadata["names"])
        settings = TimelineSettings.from_dict(metadata["settings"]["timeline"])
        groups = dict(metadata["groups"])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise TimelineError(
            f"The metadata of {place} does not describe a timeline ({one_line(error)}); "
            "was it written by another version of moppet?"
        ) from error
    for name in names_in(table.column_names):
        if name not in names and f"s_{name}" in table.column_names:
            raise TimelineError(
                f"{place} has columns for the class {name!r}, but its metadata names "
                f"{', '.join(names)}; does the metadata belong to another file?"
            )
    if "analysed_at" in metadata:  # its name in version 0.1.0
        metadata["analyzed_at"] = metadata.pop("analysed_at")
    wanted = metadata.pop(formats.VALUES, None)
    table = conform(table, names, str(place))
    if wanted not in (None, (hashes or table_hashes(table, names)).values_sha256):
        sidecar = formats.sidecar_path(place).name
        raise TimelineError(
            f"{place} and {sidecar} do not belong together: a run was stopped while it replaced "
            "them, or the table was edited. Write the timeline again; if you edited the table, "
            f'remove the line "{formats.VALUES}" from {sidecar}.'
        )
    return Timeline(table, names, groups, settings, metadata)


def _groups_in(table: Any, names: Sequence[str]) -> dict[str, str]:
    """Return the group of each class, from its row with the highest confidence."""
    groups = {name: GROUPS[name] for name in names if name in GROUPS}
    order = np.argsort(np.nan_to_num(numbers(table, "confidence")), kind="stable")
    expression = np.array(texts(table, "expression"), np.object_)[order]
    group_of_row = np.array(texts(table, "group"), np.object_)[order]
    for name, group in dict(zip(expression, group_of_row, strict=True)).items():
        if group is None:
            groups.pop(name, None)
        elif name is not None:
            groups[name] = group
    return groups
