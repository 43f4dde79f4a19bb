"""Summary statistics of a timeline: shares of time, episodes, transitions, absences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.files import csv_text
from moppet.timeline.blinks import BLINK, find_blinks
from moppet.timeline.durations import FrameTimes, frame_times
from moppet.timeline.episodes import KINDS, Episode, Kind, face_tracks, find_episodes
from moppet.timeline.schema import (
    FACE_STATUSES,
    MOVEMENT,
    OptionalColumns,
    codes,
    flags,
    numbers,
    present,
    rows_of_faces,
)
from moppet.timeline.time_axis import NO_VALUE, format_length
from moppet.values import STATUSES, Status

if TYPE_CHECKING:
    from moppet.timeline.table import Timeline

UNNAMED: Final = "unnamed"


def summarize(timeline: Timeline) -> dict[str, Any]:
    """Return the summary of a timeline as JSON values; None if a value is undefined.

    docs/reference/timeline.md, section "Summary", describes its fields.
    """
    facts, metadata = _Facts(timeline, timeline.table, timeline.names), timeline.metadata
    times = facts.times
    with_face = np.isin(times.status, FACE_STATUSES)
    reliable = np.isin(np.arange(len(times.seconds)), times.frame_of_row[facts.sure])
    return {
        "source": metadata.get("source_name"),
        "source_sha256": metadata.get("source_sha256"),
        "complete": metadata.get("complete"),
        "duration_s": None if facts.is_photos else metadata.get("duration_s"),
        "analyzed_s": facts.total_s(times.seconds),
        "frames": {"total": len(times.status)}
        | {status: int(np.equal(times.status, status).sum()) for status in STATUSES},
        "time_with_face_s": facts.total_s(times.seconds[with_face]),
        "time_without_face_s": facts.total_s(times.seconds[times.status == "no_face"]),
        "time_unreadable_s": facts.total_s(times.seconds[times.status == "unreadable"]),
        "time_unsure_s": facts.total_s(times.seconds[with_face & ~reliable]),
        "faceless": [] if facts.is_photos else _intervals(times, "no_face"),
        "unreadable": [] if facts.is_photos else _intervals(times, "unreadable"),
        **({"images": _images(times, with_face & ~reliable)} if facts.is_photos else {}),
        **_faces(facts, metadata),
    }


def _images(times: FrameTimes, unsure: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many photos have which kind of faces. unsure: (m,) every face of it is unsure."""
    of = {status: int(np.equal(times.status, status).sum()) for status in STATUSES}
    with_face = sum(of[status] for status in FACE_STATUSES)
    counts = {"with_face": with_face, "without_face": of["no_face"], "unsure": int(unsure.sum())}
    return {"total": len(times.status)} | counts


def summarize_faces(timeline: Timeline, table: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the part of a summary that describes the faces: `faces`, and `roles` if named.

    table: with the timeline's rows, of these classes in place of its own.
    """
    return _faces(_Facts(timeline, table, names), timeline.metadata)


def _faces(facts: _Facts, metadata: Mapping[str, Any]) -> dict[str, Any]:
    face_ids = list(facts.rows_of)
    people = {i: name_and_role(metadata, i) for i in face_ids}
    faces: dict[str, Any] = {"all": {"face_id": None, **facts.figures(face_ids)}}
    for i, (name, role) in people.items():
        known = {"name": name, "role": role} if "people" in metadata else {}
        faces[str(i)] = {"face_id": i, **known, **facts.figures([i])}
    return {"faces": faces} | ({"roles": _roles(facts, people)} if "people" in metadata else {})


def name_and_role(metadata: Mapping[str, Any], face_id: int) -> tuple[str, str | None]:
    """Return a face's name and role; "face <id>" and None if it has no name."""
    person = (metadata.get("people") or {}).get(str(face_id))
    return (person["name"], person["role"]) if person else (f"face {face_id}", None)


def _intervals(times: FrameTimes, status: Status) -> list[dict[str, float | None]]:
    found = times.intervals(status)
    return [{"start_s": start_s, "end_s": _number(end_s)} for start_s, end_s in found]


def _roles(
    facts: _Facts, people: Mapping[int, tuple[str, str | None]]
) -> dict[str, dict[str, Any]]:
    """Return the figures of each role; faces without a role are UNNAMED."""
    found = {}
    for role in sorted({role or UNNAMED for _, role in people.values()}):
        faces = [i for i, (_, one) in people.items() if (one or UNNAMED) == role]
        found[role] = {"people": [people[i][0] for i in faces], **facts.figures(faces)}
    return found


class _Facts:
    """The columns that a summary needs, one entry per row; seconds are those of the row's frame.

    Photos have no time: there, every row counts 1, and the times are undefined.
    """

    def __init__(self, timeline: Timeline, table: Any, names: Sequence[str]) -> None:
        group_of, settings = timeline.group_of, timeline.settings
        self.is_photos = bool(timeline.photos)
        self.times = times = frame_times(table, settings)
        self.face, self.time_s = numbers(table, "face_id"), numbers(table, "time_s")
        self.seconds = np.ones(len(self.face)) if self.is_photos else times.row_seconds
        # not for a single frame
        self.is_timed = not self.is_photos and bool(np.isfinite(times.seconds).all())
        self.sure = ~np.isnan(self.face) & ~flags(table, "unsure")
        groups = dict.fromkeys(group_of[name] for name in names if name in group_of)
        self.labels: dict[Kind, list[str]] = {"expression": list(names), "group": list(groups)}
        self.code = {kind: codes(table, kind, self.labels[kind]) for kind in KINDS}
        self.labeled = {kind: present(table, kind) for kind in KINDS}
        self.valence = numbers(table, "valence")
        movements = OptionalColumns.of(table.column_names, names).movements
        self.movements = {name: numbers(table, MOVEMENT + name) for name in movements}
        self.blinks = {} if self.is_photos else find_blinks(table)
        self.has_blink = BLINK in table.column_names
        self.rows_of = rows_of_faces(self.face, self.time_s)
        self.episodes: dict[tuple[int, Kind], list[Episode]] = {}
        found = [] if self.is_photos else find_episodes(table, names, group_of, settings)
        for episode in found:
            self.episodes.setdefault((episode.face_id, episode.kind), []).append(episode)
        self.breaks = {
            track.face_id: track.time_s[1:][np.diff(track.segment) > 0]
            for track in face_tracks(table, settings)
        }

    def total_s(self, seconds: NDArray[np.float64]) -> float | None:
        """Return the sum; None if durations are undefined, as for a single image."""
        return math.fsum(seconds.tolist()) if self.is_timed else None

    def counts(self, sure: NDArray[np.bool_]) -> dict[str, int]:
        """Return how many of these faces in photos are sure and unsure; nothing for a film."""
        n = int(sure.sum())
        return {"sure_faces": n, "unsure_faces": len(sure) - n} if self.is_photos else {}

    def figures(self, faces: Sequence[int]) -> dict[str, Any]:
        """Return the figures of these faces together."""
        parts = [np.zeros(0, np.int64), *(self.rows_of[face] for face in faces)]
        rows = np.sort(np.concatenate(parts))
        seconds, sure = self.seconds[rows], self.sure[rows]
        times = _Times(seconds, sure, self.labeled["expression"][rows])
        no_group, no_group_with_unsure = times.shares(~self.labeled["group"][rows])
        start_s, known = self.time_s[rows], len(rows) and not self.is_photos
        return {
            "frames": len(rows),
            **self.counts(sure),
            "first_s": float(start_s.min()) if known else None,
            "last_s": _number(float((start_s + seconds).max())) if known else None,
            "time_s": self.total_s(seconds),
            "time_sure_s": self.total_s(seconds[sure]),
            "time_unsure_s": self.total_s(seconds[~sure]),
            "time_unclassified_s": self.total_s(seconds[~times.classified]),
            "share_unsure": _share(seconds[~sure], seconds),
            "share_no_group": no_group,
            "share_no_group_with_unsure": no_group_with_unsure,
            "expressions": self.by_label(faces, "expression", rows, times),
            "groups": self.by_label(faces, "group", rows, times),
            "transitions": {kind: self.transitions(faces, kind) for kind in KINDS},
            "mean_valence": _mean(self.valence[rows], seconds, sure),
            **self.moved(faces, rows),
        }

    def moved(self, faces: Sequence[int], rows: NDArray[np.int64]) -> dict[str, Any]:
        """Return the means of the movements of these faces, and their blinks; nothing for none."""
        if not self.movements:
            return {}
        seconds, sure = self.seconds[rows], self.sure[rows]
        means = {name: _mean(x[rows], seconds, sure) for name, x in self.movements.items()}
        known = [self.blinks[face] for face in faces if face in self.blinks]
        watched_s, count = sum(x.watched_s for x in known), sum(len(x.blinks) for x in known)
        rate = {
            "blinks": count if watched_s > 0 else None,
            "blinks_per_min": 60 * count / watched_s if watched_s > 0 else None,
        }
        return {"movements": means} | (rate if self.has_blink else {})

    def by_label(
        self, faces: Sequence[int], kind: Kind, rows: NDArray[np.int64], times: _Times
    ) -> dict[str, dict[str, Any]]:
        code, seconds, sure = self.code[kind][rows], times.seconds, times.sure
        lengths_of: dict[str, list[float]] = {}
        for episode in self.episodes_of(faces, kind):
            lengths_of.setdefault(episode.label, []).append(episode.duration_s)
        figures = {}
        for place, label in enumerate(self.labels[kind]):
            shown = times.classified & (code == place)
            lengths = lengths_of.get(label, [])
            share, share_with_unsure = times.shares(shown)
            figures[label] = {
                "time_s": self.total_s(seconds[shown]),
                "time_sure_s": self.total_s(seconds[shown & sure]),
                "time_unsure_s": self.total_s(seconds[shown & ~sure]),
                "share": share,
                "share_with_unsure": share_with_unsure,
                **self.counts(sure[shown]),
                "episodes": None if self.is_photos else len(lengths),
                "mean_s": math.fsum(lengths) / len(lengths) if lengths else None,
                "longest_s": max(lengths, default=None),
            }
        return figures

    def episodes_of(self, faces: Sequence[int], kind: Kind) -> list[Episode]:
        return [one for face in sorted(faces) for one in self.episodes.get((face, kind), [])]

    def transitions(self, faces: Sequence[int], kind: Kind) -> dict[str, dict[str, int]]:
        """Count transitions between consecutive episodes of a face without a gap between them."""
        counts = {start: dict.fromkeys(self.labels[kind], 0) for start in self.labels[kind]}
        for before, after in pairwise(self.episodes_of(faces, kind)):
            if before.face_id == after.face_id:
                breaks = self.breaks[before.face_id]
                if not ((breaks > before.start_s) & (breaks <= after.start_s)).any():
                    counts[before.label][after.label] += 1
        return counts


class _Times(NamedTuple):
    """The time of some rows: (n,) seconds of each, and whether it is sure, and classified."""

    seconds: NDArray[np.float64]
    sure: NDArray[np.bool_]
    classified: NDArray[np.bool_]

    def shares(self, shown: NDArray[np.bool_]) -> tuple[float | None, float | None]:
        """Return the share of the sure time, and the share of all time, unsure time included.

        This is the one rule for shares: what is shown as a share is the first of the two.
        """
        wholes = (self.classified & self.sure, self.classified)
        sure, with_unsure = (_share(self.seconds[w & shown], self.seconds[w]) for w in wholes)
        return sure, with_unsure


def _mean(
    values: NDArray[np.float64], seconds: NDArray[np.float64], sure: NDArray[np.bool_]
) -> float | None:
    """Return the mean over the sure time in which there is a value; None if there is none."""
    known = sure & ~np.isnan(values)
    total_s = math.fsum(seconds[known].tolist())
    return math.fsum((values * seconds)[known].tolist()) / total_s if total_s > 0 else None


def _share(part_s: NDArray[np.float64], whole_s: NDArray[np.float64]) -> float | None:
    total_s = math.fsum(whole_s.tolist())
    return _number(math.fsum(part_s.tolist()) / total_s) if total_s > 0 else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a summary as short lines of text; a dash for undefined values."""
    frames, total = summary["frames"], summary["faces"]
    if images := summary.get("images"):
        return _photo_lines(summary, images)
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
    lines += _faces_lines(total)
    if corrected := summary.get("corrected"):
        lines += ["", f"{corrected_title(corrected)}:", *_faces_lines(corrected["faces"])]
    return lines


def _photo_lines(summary: Mapping[str, Any], images: Mapping[str, int]) -> list[str]:
    """Return the summary of a set of photos, of all faces together: each has its own number."""
    found = summary["faces"]["all"]
    total = images["total"]
    lines = [
        f"{summary['source'] or 'photos'}: {total} image{'s' * (total != 1)}, "
        f"{images['with_face']} with a face, {images['without_face']} without",
        *_face_lines("all faces", found),
    ]
    if corrected := summary.get("corrected"):
        lines += ["", f"{corrected_title(corrected)}:"]
        lines += _face_lines("all faces", corrected["faces"]["all"])
    return lines


def corrected_title(corrected: Mapping[str, Any]) -> str:
    """Return whose corrections the figures in `summary["corrected"]` include, and how many."""
    count = corrected["corrections"]
    noun = "correction" if count == 1 else "corrections"
    title = f"with {count} {noun} by {', '.join(corrected['coders'])}"
    if "sure_faces" in corrected["faces"]["all"]:
        return title
    title += f" ({format_length(corrected['time_corrected_s'])})"
    if corrected["time_disputed_s"]:
        disputed = format_length(corrected["time_disputed_s"])
        title += f"; coders differ in {disputed}, where the latest correction counts"
    return title


def _faces_lines(total: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, face in total.items():
        # With a single face, "all" would repeat its lines.
        if key != "all" or len(total) > 2:
            title = "all faces" if key == "all" else str(face.get("name") or f"face {key}")
            role = face.get("role")
            lines += _face_lines(f"{title} ({role})" if role else title, face)
    return lines


def _face_lines(title: str, face: Mapping[str, Any]) -> list[str]:
    whole, unsure, any_unsure = _amounts(face)
    of_sure = " (not in the shares)" if any_unsure else ""
    lines = [f"{title}: {whole}, unsure {unsure}{of_sure}"]
    labels = {**{f"[{k}]": v for k, v in face["groups"].items()}, **face["expressions"]}
    unseen = [label for label, figures in labels.items() if figures["share_with_unsure"] == 0]
    labels = {label: figures for label, figures in labels.items() if label not in unseen}
    width = max(map(len, labels), default=0)
    for label, figures in labels.items():
        share = figures["share"]
        percent = NO_VALUE if share is None else f"{100 * share:.0f} %"
        whole, unsure, any_unsure = _amounts(figures)
        detail = f"{whole:>9}" if "sure_faces" in figures else _episode_text(figures)
        of_it = f", unsure {unsure}" if any_unsure else ""
        lines.append(f"  {label:<{width}}  {percent:>5}  {detail}{of_it}")
    if unseen:
        lines.append(f"  not observed: {', '.join(unseen)}")
    if (rate := face.get("blinks_per_min")) is not None:
        lines.append(f"  {rate:.0f} blinks a minute")
    return lines


def _amounts(figures: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return how much there is of a face or label, how much is unsure, and whether any is."""
    if "sure_faces" not in figures:
        unsure_s = figures["time_unsure_s"]
        return format_length(figures["time_s"]), format_length(unsure_s), bool(unsure_s)
    unsure = figures["unsure_faces"]
    n = figures["sure_faces"] + unsure
    return f"{n} face{'s' * (n != 1)}", str(unsure), unsure > 0


def _episode_text(figures: Mapping[str, Any]) -> str:
    noun = "episode" if figures["episodes"] == 1 else "episodes"
    mean, longest = format_length(figures["mean_s"]), format_length(figures["longest_s"])
    return f"{figures['episodes']:>3} {noun}, mean {mean}, longest {longest}"


_COUNTS: Final = ("sure_faces", "unsure_faces")
"""Columns of photos, which have no times."""
_TIMES: Final = ("time_s", "time_sure_s", "time_unsure_s")
_FIGURES: Final = ("share", "share_with_unsure", "episodes", "mean_s", "longest_s")
_CORRECTED: Final = "corrected "


def summary_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each role in a recording, or one row for all faces without names.

    Columns: the recording's name, the path of its timeline, and its hash; role, people,
    analyzed_s, the seconds of the role, then the figures of each group ("group positive share", …)
    and expression ("happiness share", …); see docs/reference/timeline.md, section "Summary". If
    there are corrections, the figures that include them follow: "corrected happiness share", ….
    None for undefined values.
    """
    known = {"recording": summary["source"], "timeline": summary.get("timeline")}
    known["source_sha256"] = summary.get("source_sha256")
    corrected = summary.get("corrected")
    corrected_roles = _by_role(corrected) if corrected else {}
    rows = []
    for role, found in _by_role(summary).items():
        row = known | {"role": role, "people": "; ".join(found["people"])}
        row |= {"images": summary["images"]["total"]} if "images" in summary else {}
        row |= {"analyzed_s": summary["analyzed_s"], **_figures(found)}
        if corrected:
            row[f"{_CORRECTED}by"] = "; ".join(corrected["coders"])
            row |= {f"{_CORRECTED}{k}": v for k, v in _figures(corrected_roles[role]).items()}
        rows.append(row)
    return rows


def _by_role(faces: Mapping[str, Any]) -> Mapping[str, Any]:
    return faces.get("roles") or {UNNAMED: {**faces["faces"]["all"], "people": []}}


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    counts = [name for name in _COUNTS if name in found]
    row = {name: found[name] for name in (*counts, *_TIMES)}
    for prefix, labels in (("group ", found["groups"]), ("", found["expressions"])):
        for label, figures in labels.items():
            row |= {f"{prefix}{label} {name}": figures[name] for name in (*counts, *_FIGURES)}
    row["mean_valence"] = found["mean_valence"]
    row |= {name: found[name] for name in ("blinks", "blinks_per_min") if name in found}
    return row | {f"{MOVEMENT}{name} mean": x for name, x in found.get("movements", {}).items()}


def summary_csv(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows of these recordings as CSV; undefined values are empty.

    If the recordings were analyzed by different models, the columns of all are included.
    """
    rows = [row for summary in summaries for row in summary_rows(summary)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(columns, ([csv_cell(row.get(name)) for name in columns] for row in rows))


def csv_cell(value: Any) -> Any:
    """Return a value as a cell of a table that a spreadsheet may open."""
    if isinstance(value, float):
        return f"{value:.6g}"
    # A spreadsheet would read such a text as a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t") else value
