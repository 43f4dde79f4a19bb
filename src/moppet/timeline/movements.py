"""Movement episodes: intervals in which a face makes a facial movement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.blinks import find_blinks
from moppet.timeline.durations import frame_times
from moppet.timeline.labels import poor_quality, threshold
from moppet.timeline.schema import MOVEMENT, OptionalColumns, numbers, rows_of_faces, texts
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, segment_ids
from moppet.values import UsageError, name_hint
from moppet.vocabulary import MOVEMENT_OF, TWO_WAY_MOVEMENTS

LEVEL: Final = 0.5
"""A movement episode starts at this value of the movement."""
LEAVES: Final = 0.7
"""It ends below this share of the value at which it starts: below 0.35 for 0.5."""
_WAYS: Final = {
    "gaze_x": ("gaze_left", "gaze_right"),
    "gaze_y": ("gaze_up", "gaze_down"),
    "jaw_sideways": ("jaw_left", "jaw_right"),
}
"""Two-way movement → the label of its positive and of its negative values."""


@dataclass(frozen=True, slots=True)
class MovementEpisode:
    """An interval in which one face makes one movement.

    movement: its name in MOVEMENT_OF. label: the same, or for a two-way movement the way, such as
    "gaze_left", the person's own left. start_s, end_s: seconds; end_s is the end of the last
    frame. mean: mean value of its rows, 0 to 1 in the direction of the label.
    """

    face_id: int
    movement: str
    label: str
    start_s: float
    end_s: float
    mean: float


def movements_in(table: Any) -> tuple[str, ...]:
    """Return the names of a timeline's movements, in the order of its columns."""
    return OptionalColumns.of(table.column_names, ()).movements


def choose_movements(table: Any, wanted: Sequence[str]) -> list[str]:
    """Return the movements of a timeline that are asked for; "all" for all of them.

    A name may be that of the column, with "m_". Raises UsageError for one that is not there.
    """
    known = movements_in(table)
    if not known:
        raise UsageError(
            "the timeline has no movements: analyze the recording with a model that measures them."
        )
    found: list[str] = []
    for word in wanted:
        name = word.removeprefix(MOVEMENT)
        if name == "all":
            found += known
        elif name in known:
            found.append(name)
        else:
            what = "the timeline lacks it" if name in MOVEMENT_OF else "there is none of that name"
            raise UsageError(
                f"the movement {word!r} cannot be exported: {what}.{name_hint(name, known)} "
                f"The timeline has {', '.join(known)}."
            )
    return list(dict.fromkeys(found))


def find_movements(
    table: Any, settings: TimelineSettings, names: Sequence[str], level: float = LEVEL
) -> list[MovementEpisode]:
    """Return the episodes of these movements, sorted by face, movement and start.

    An episode starts at a row of good quality whose value is at least `level`. It ends when the
    value falls below 0.7 times that, or at a gap of more than max_gap_s; episodes shorter than
    min_episode_s are dropped. Values are not smoothed. The movement "blink" gives blinks instead;
    see `find_blinks`.
    """
    time_s, seconds = numbers(table, "time_s"), frame_times(table, settings).row_seconds
    good = ~poor_quality(texts(table, "status"), numbers(table, "quality"), settings)
    shortest = settings.min_episode_s - TIME_TOLERANCE_S
    found: list[MovementEpisode] = []
    for name in names:
        values = numbers(table, MOVEMENT + name)
        face = np.where(np.isnan(values), np.nan, numbers(table, "face_id"))
        tracks = rows_of_faces(face, time_s)
        if name == "blink":
            found += _blinks(table, tracks, time_s, values)
            continue
        for face_id, rows in tracks.items():
            segment = segment_ids(time_s[rows], settings.max_gap_s)
            for label, shown in _ways(name, values[rows]):
                for first, last in _runs(shown, good[rows], segment, level):
                    start_s = float(time_s[rows[first]])
                    end_s = float(time_s[rows[last]] + seconds[rows[last]])
                    mean = float(shown[first : last + 1].mean())
                    if end_s - start_s >= shortest:
                        found.append(MovementEpisode(face_id, name, label, start_s, end_s, mean))
    place = {name: i for i, name in enumerate(names)}
    return sorted(found, key=lambda one: (one.face_id, place[one.movement], one.start_s))


def movement_labels(name: str) -> tuple[str, ...]:
    """Return the labels of a movement's episodes: its name, or those of its two ways."""
    return _WAYS.get(name, (name,))


def _ways(name: str, values: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if name in TWO_WAY_MOVEMENTS:
        positive, negative = _WAYS[name]
        yield positive, values
        yield negative, -values
    else:
        yield name, values


def _runs(
    values: NDArray[np.float64], good: NDArray[np.bool_], segment: NDArray[np.int64], level: float
) -> list[tuple[int, int]]:
    """Return the first and last row of each interval found by hysteresis. All arrays: (n,)."""
    if not len(values):
        return []
    fresh = np.r_[True, np.diff(segment) > 0]
    starts = good & (values >= threshold(level))
    known = starts | fresh | (values < threshold(LEAVES * level))
    row = np.arange(len(values))
    on = starts[np.maximum.accumulate(np.where(known, row, 0))]
    before = np.r_[False, on[:-1]] & ~fresh
    after = np.r_[on[1:] & ~fresh[1:], False]
    return list(
        zip(
            np.flatnonzero(on & ~before).tolist(), np.flatnonzero(on & ~after).tolist(), strict=True
        )
    )


def _blinks(
    table: Any,
    tracks: dict[int, NDArray[np.int64]],
    time_s: NDArray[np.float64],
    closed: NDArray[np.float64],
) -> Iterator[MovementEpisode]:
    for face_id, found in find_blinks(table).items():
        rows = tracks[face_id]
        for one in found.blinks:
            first, stop = np.searchsorted(time_s[rows], [one.start_s, one.end_s])
            mean = float(closed[rows[first:stop]].mean())
            yield MovementEpisode(face_id, "blink", "blink", one.start_s, one.end_s, mean)
