"""Episodes: intervals in which a face keeps one expression or group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.durations import frame_times
from moppet.timeline.labels import poor_quality, threshold
from moppet.timeline.schema import class_columns, numbers, present, rows_of_faces, texts
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, segment_ids
from moppet.values import group_probabilities

Kind = Literal["expression", "group"]
KINDS: Final[tuple[Kind, ...]] = ("expression", "group")


@dataclass(frozen=True, slots=True)
class Episode:
    """An interval in which one face shows one expression, or one group.

    start_s, end_s, peak_s: seconds of the recording; end_s is the end of the last frame.
    mean_probability: mean smoothed probability of the label over the rows of the episode.
    peak_s: time of the highest smoothed probability; the first one if there are several.
    n_frames: number of rows of the face in the episode.
    """

    face_id: int
    kind: Kind
    label: str
    start_s: float
    end_s: float
    duration_s: float
    mean_probability: float
    peak_s: float
    n_frames: int


class FaceTrack(NamedTuple):
    """One face's classified rows in order of time. rows: their indices in the table."""

    face_id: int
    rows: NDArray[np.int64]
    time_s: NDArray[np.float64]
    segment: NDArray[np.int64]


def face_tracks(table: Any, settings: TimelineSettings) -> list[FaceTrack]:
    """Return the classified rows of each face, by face_id; each gap starts a new segment."""
    time_s = numbers(table, "time_s")
    classified = np.where(present(table, "expression"), numbers(table, "face_id"), np.nan)
    return [
        FaceTrack(face_id, rows, time_s[rows], segment_ids(time_s[rows], settings.max_gap_s))
        for face_id, rows in rows_of_faces(classified, time_s).items()
    ]


def find_episodes(
    table: Any,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
    kind: Kind | None = None,
) -> list[Episode]:
    """Return the episodes of a timeline, sorted by face, kind and start. kind: None for both.

    An episode starts at a row of good quality where its label has the largest smoothed probability
    and that is at least `enter`. It ends when the probability falls below `leave`, when another
    label starts, or at a gap of more than max_gap_s. Episodes shorter than min_episode_s are
    dropped. Episodes of one face and kind do not overlap.
    """
    times = frame_times(table, settings)
    seconds = times.row_seconds
    poor = poor_quality(texts(table, "status"), numbers(table, "quality"), settings)
    smoothed = class_columns(table, "s_", names)
    found = []
    for track in face_tracks(table, settings):
        for one in KINDS if kind is None else (kind,):
            labels: list[str | None] = [*names]
            q = smoothed[track.rows]
            if one == "group":
                labels, q = group_probabilities(q, names, group_of)
            for label, first, last in _runs(q, ~poor[track.rows], track.segment, settings):
                name = labels[label]
                if name is not None:
                    shown = q[first : last + 1, label].astype(np.float64)
                    length_s = float(seconds[track.rows[last]])
                    found.append(_episode(track, one, name, first, shown, length_s))
    shortest = settings.min_episode_s - TIME_TOLERANCE_S
    return [episode for episode in found if episode.duration_s >= shortest]


def _runs(
    q: NDArray[np.float32],
    good: NDArray[np.bool_],
    segment: NDArray[np.int64],
    settings: TimelineSettings,
) -> Iterator[tuple[int, int, int]]:
    """Yield label, first row and last row of each episode found by hysteresis."""
    winner = q.argmax(axis=1)
    starts = good & (q[np.arange(len(q)), winner] >= threshold(settings.enter))
    starter = np.where(starts, winner, -1).tolist()
    stays = (q >= threshold(settings.leave)).tolist()
    parts = segment.tolist()
    current, first = -1, 0
    for row, label in enumerate(starter):
        if current >= 0:
            lost = parts[row] != parts[row - 1] or not stays[row][current]
            if not lost and label in (-1, current):
                continue
            yield current, first, row - 1
        current, first = label, row
    if current >= 0:
        yield current, first, len(starter) - 1


def _episode(
    track: FaceTrack,
    kind: Kind,
    label: str,
    first: int,
    shown: NDArray[np.float64],
    length_s: float,
) -> Episode:
    last = first + len(shown) - 1
    start_s, end_s = float(track.time_s[first]), float(track.time_s[last]) + length_s
    return Episode(
        face_id=track.face_id,
        kind=kind,
        label=label,
        start_s=start_s,
        end_s=end_s,
        duration_s=end_s - start_s,
        mean_probability=float(shown.mean()),
        peak_s=float(track.time_s[first + int(shown.argmax())]),
        n_frames=len(shown),
    )
