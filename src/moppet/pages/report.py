"""A timeline's report: one self-contained HTML page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from moppet.files import write_text
from moppet.media import clock_notes
from moppet.pages import movement_lanes as moves
from moppet.pages import timeline_charts as charts
from moppet.pages.document import render_document
from moppet.pages.face_images import Thumbnail, read_thumbnails
from moppet.pages.html_tables import Card, Cell, Row, Table, class_cell, color_class
from moppet.pages.photo_rows import photo_table, photos_of
from moppet.pages.wording import capitalize, counted, format_share, group_members
from moppet.timeline import Episode, Timeline
from moppet.timeline.annotations import AnnotatedTimeline
from moppet.timeline.blinks import Blink
from moppet.timeline.downsample import UNREADABLE, Columns, Drawing, Lane, build_drawing
from moppet.timeline.movements import LEVEL, find_movements, movements_in
from moppet.timeline.people import People
from moppet.timeline.readings import second_reading
from moppet.timeline.schema import photo_files
from moppet.timeline.summary import corrected_title
from moppet.timeline.table import THINNED, TRACKS, thinned
from moppet.timeline.time_axis import NO_VALUE, TICK_STEPS_S, format_length, format_time
from moppet.vocabulary import GROUP_NAMES, order_groups

__all__ = ["Thumbnail", "read_thumbnails", "write_report"]

LANES_SHOWN: Final = 6
LANES_FOLDED: Final = 24
"""The longest tracks are open, the next ones folded, the rest are in the tables only."""
MAX_EPISODES: Final = 600
MAX_VALUE_ROWS: Final = 60
KINDS: Final = ("expression", "group")
TITLES: Final[Mapping[str, str]] = {
    "source_name": "Recording",
    "source_sha256": "SHA-256 of the recording",
    "moppet_version": "moppet version",
    "model_name": "Model",
    "model_sha256": "SHA-256 of the model",
    "detector": "Face detector",
    "duration_s": "Duration, seconds",
    "frame_count": "Frames",
    "images": "Images",
    "complete": "Analyzed to the end",
    "width": "Width, pixels",
    "height": "Height, pixels",
    "names": "Classes",
    "groups": "Groups",
    "every": "Frame step",
    "start_s": "Start, seconds",
    "end_s": "End, seconds",
    "detect_every_frame": "Faces searched in every frame",
    "detector_model": "Model file of the face detector",
    "min_face_px": "Smallest face, pixels",
    "device": "Device of the expression model",
    "smooth_s": "Smoothing, seconds",
    "max_gap_s": "Longest gap that is bridged, seconds",
    "unsure_below": "Unsure below a probability of",
    "low_quality_below": "Low quality below",
    "min_episode_s": "Shortest episode, seconds",
    "reading": "Reading that decides",
    "prior": "Calibrated for the prior",
    "display_prior": "Display reading calibrated for the prior",
    "enter": "An episode starts at",
    "leave": "An episode ends below",
    "analyzed_at": "Analyzed at",
}
OPTIONS: Final[Mapping[str, str]] = {
    "model_name": "--model",
    "detector": "--detector",
    "every": "--every",
    "start_s": "--start",
    "end_s": "--end",
}


def write_report(
    timeline: Timeline | AnnotatedTimeline,
    path: str | Path,
    *,
    thumbnails: Sequence[Thumbnail] | None = None,
) -> Path:
    """Write the timeline as one HTML file that needs no network, and return its path.

    With corrections beside the timeline, each figure is shown without and with them. thumbnails:
    from `read_thumbnails`; without them the page holds no image of a face.
    Raises MoppetError if the file cannot be written.
    """
    return write_text(Path(path), build_page(timeline, list(thumbnails or [])))


@dataclass(frozen=True)
class Report:
    """What every section needs. groups: positive, neutral, negative first, then others.

    shown: the timeline with its people and corrections. drawing: without lanes for photos.
    """

    shown: AnnotatedTimeline
    timeline: Timeline
    summary: Mapping[str, Any]
    episodes: Sequence[Episode]
    groups: Sequence[str]
    drawing: Drawing
    blinks: Mapping[int, Sequence[Blink]]

    @classmethod
    def of(cls, found: Timeline | AnnotatedTimeline) -> Report:
        """Return what the sections need, computed once; a very long timeline is thinned."""
        if isinstance(found, Timeline):
            found = AnnotatedTimeline(found, People(), [])
        annotated = replace(found, timeline=thinned(found.timeline))
        timeline = annotated.timeline
        groups = order_groups(timeline.group_of.values())
        drawing = Drawing(None, []) if timeline.photos else build_drawing(timeline, groups)
        summary = annotated.summary()
        blinks: dict[int, list[Blink]] = {}
        for blink in timeline.blinks():
            blinks.setdefault(blink.face_id, []).append(blink)
        return cls(annotated, timeline, summary, timeline.episodes(), groups, drawing, blinks)

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
    def corrected(self) -> Mapping[str, Any] | None:
        """The figures that include the coders' corrections; None without corrections."""
        return self.summary.get("corrected")

    @property
    def duration_s(self) -> float | None:
        """Length of the recording, or else of what was analyzed."""
        known: float | None = self.summary["duration_s"]
        return self.summary["analyzed_s"] if known is None else known

    @property
    def movements(self) -> tuple[str, ...]:
        """The names of the movements in the timeline."""
        return movements_in(self.timeline.table)

    def labels(self, kind: str) -> Sequence[str]:
        """Return all expressions, or all groups."""
        return self.groups if kind == "group" else self.timeline.names

    def setting(self, name: str) -> Any:
        """A value of the metadata or of the settings in it; None if neither has it."""
        metadata = self.timeline.metadata
        nested = metadata.get("settings")
        found = metadata.get(name)
        return nested.get(name) if found is None and isinstance(nested, Mapping) else found


def build_page(timeline: Timeline | AnnotatedTimeline, thumbnails: Sequence[Thumbnail]) -> str:
    """Return the whole document."""
    report = Report.of(timeline)
    timeline, columns = report.timeline, report.drawing.columns
    is_photos = bool(timeline.photos)
    return render_document(
        "report",
        f"{report.name} · moppet report",
        script=True,
        data=charts.pack_values(report.drawing, timeline.names),
        images=bool(thumbnails),
        report=report,
        settings=timeline.settings,
        ratio=_ratio,
        corrected=corrected_title(report.corrected) if report.corrected else None,
        second=_second_note(report),
        has_movements=bool(report.movements),
        groups_shown=[g for g in report.groups if (report.everyone["groups"][g]["share"] or 0) > 0],
        stopped_s=None if columns is None else columns.span_s[1],
        group_cards=_group_cards(report),
        movement_cards=list(moves.movement_cards(report.everyone, is_photos))
        if report.movements
        else [],
        movement_level=LEVEL,
        movement_tables=list(_movement_tables(report)),
        thumbnails=[] if timeline.photos else thumbnails,
        **(_in_photos(report, thumbnails) if timeline.photos else _over_time(report)),
        episodes=[(kind, *_episodes(report, kind)) for kind in KINDS],
        summaries=list(_summaries(report, report.summary, "")),
        summaries_corrected=list(_summaries(report, report.corrected, ", corrected")),
        command=build_command(report),
        facts=list(_facts(timeline.metadata)),
        assumed=assumptions(timeline.metadata),
        members=_members(timeline),
    )


def _group_cards(report: Report) -> Iterator[Card]:
    """Yield the share of each group, and of the usual ones that the model lacks."""
    usual = any(group in GROUP_NAMES for group in report.groups)
    for group in dict.fromkeys([*(GROUP_NAMES if usual else ()), *report.groups]):
        css = color_class(group, report.groups, grouped=True)
        figures = report.everyone["groups"].get(group)
        if figures is None:
            yield Card(group, NO_VALUE, ("the model has no class here",), css)
            continue
        notes = ["of the sure faces" if report.timeline.photos else "of the sure time with a face"]
        if unsure := _unsure(figures):
            notes.append(f"unsure: another {unsure}")
        if report.corrected:
            corrected = report.corrected["faces"]["all"]["groups"][group]["share"]
            notes.append(f"with corrections: {format_share(corrected)}")
        yield Card(group, format_share(figures["share"]), tuple(notes), css)


def _unsure(figures: Mapping[str, Any]) -> str:
    """Return how much of a label is unsure; empty if nothing is."""
    if "unsure_faces" in figures:
        n = figures["unsure_faces"]
        return counted(n, "face") if n else ""
    return format_length(figures["time_unsure_s"]) if figures["time_unsure_s"] else ""


def _second_note(report: Report) -> str | None:
    """Return the name of the reading that is shown beside the one that decides; None if none is."""
    timeline = report.timeline
    return second_reading(timeline.table, timeline.names, timeline.settings)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _over_time(report: Report) -> dict[str, Any]:
    drawing, columns = report.drawing, report.drawing.columns
    if columns is None:
        return {}
    axis = charts.Axis(columns)
    cuts = report.timeline.metadata.get("cuts_s") or ()
    lanes = drawing.lanes
    shown, folded = lanes[:LANES_SHOWN], lanes[LANES_SHOWN:LANES_FOLDED]
    return {
        "axis": axis,
        "recording": [
            *charts.recording_paths(axis, columns),
            ("cut", charts.cut_path(axis, cuts, 14)),
        ],
        "cut": charts.cut_path(axis, cuts, charts.lane_height_px(len(report.timeline.names))),
        "cut_moves": charts.cut_path(axis, cuts, _moves_height_px(drawing)),
        "width": charts.WIDTH,
        "height_px": charts.lane_height_px(len(report.timeline.names)),
        "unreadable": bool((columns.state == UNREADABLE).any()),
        "in_no_group": any((lane.group < 0).any() for lane in lanes),
        "lanes": [_lane(report, axis, columns, lane) for lane in _by_number(shown)],
        "folded": [_lane(report, axis, columns, lane) for lane in _by_number(folded)],
        "first_face": lanes[0].face_id if lanes else None,
        "n_more": len(lanes[LANES_FOLDED:]),
    }


def _moves_height_px(drawing: Drawing) -> int:
    rows = moves.movement_rows(drawing.movements)
    return moves.block_height_px(rows)


def _by_number(lanes: Sequence[Lane]) -> list[Lane]:
    return sorted(lanes, key=lambda lane: lane.face_id)


def _lane(report: Report, axis: charts.Axis, columns: Columns, lane: Lane) -> dict[str, Any]:
    names = report.timeline.names
    peaks = [peak[np.isfinite(peak)] for peak in lane.peak.T]
    return {
        "lane": lane,
        "groups": report.summary["faces"][str(lane.face_id)]["groups"],
        "names": [(color_class(name, names, grouped=False), name) for name in names],
        "peaks": [float(peak.max()) if len(peak) else None for peak in peaks],
        "paths": list(charts.lane_paths(axis, columns, lane, names, report.groups)),
        "moves": _moves(report, axis, columns, lane) if report.drawing.movements else None,
        "table": values_table(columns, lane, names),
    }


def _moves(report: Report, axis: charts.Axis, columns: Columns, lane: Lane) -> dict[str, Any]:
    """Return the block of a face's movements: its lanes, their paths and their largest values."""
    rows = moves.movement_rows(report.drawing.movements)
    blinks = report.blinks.get(lane.face_id, [])
    n_blinks = report.summary["faces"][str(lane.face_id)].get("blinks")
    return {
        "rows": rows,
        "height_px": moves.block_height_px(rows),
        "paths": list(moves.movement_paths(axis, columns, lane, rows, blinks)),
        "peaks": list(moves.peak_texts(lane, rows, n_blinks)),
    }


def values_table(columns: Columns, lane: Lane, names: Sequence[str]) -> Table:
    """Return the curves of one face as a table of means over round steps of time."""
    times = columns.middle_s[lane.at]
    span = float(times[-1] - times[0])
    step = next((s for s in TICK_STEPS_S if span / s <= MAX_VALUE_ROWS - 2), 86400.0)
    if every := len(times) <= MAX_VALUE_ROWS:
        steps, caption = np.arange(len(times)), "Every frame"
    else:
        steps = np.floor(times / step + 1e-9).astype(np.int64)
        caption = f"Means of {format_time(step, step)} each"
    rows = []
    for place in np.unique(steps):
        mine = np.flatnonzero(steps == place)
        known = np.isfinite(lane.mean[mine])
        sums = np.where(known, lane.mean[mine], 0).sum(axis=0)
        means = [s / n if n else math.nan for s, n in zip(sums, known.sum(axis=0), strict=True)]
        best = names[int(np.argmax(means))] if known.any() else NO_VALUE
        at = (float(times[mine[0]]), 0.01) if every else (float(place) * step, step)
        notes = ["unsure"] if 2 * lane.unsure[mine].sum() >= len(mine) else []
        if 2 * lane.low_quality[mine].sum() >= len(mine):
            notes.append("low quality")
        shares = [format_share(float(mean)) for mean in means]
        rows.append([format_time(*at), best, ", ".join(notes) or NO_VALUE, *shares])
    title = f"{caption}, {lane.name}: smoothed probability of each expression"
    return Table(title, ["from", "highest", "notes", *names], rows, words=3)


def _episodes(report: Report, kind: str) -> tuple[Table | None, int]:
    """Return the episodes of one kind, earliest first, and how many more there are."""
    chosen = sorted(
        (e for e in report.episodes if e.kind == kind),
        key=lambda e: (e.start_s, e.face_id, e.label),
    )
    if not chosen:
        return None, 0
    names = {e.face_id: report.timeline.face_name(e.face_id) for e in chosen}
    rows: list[Row] = [
        [
            class_cell(episode.label, report.labels(kind), grouped=kind == "group"),
            names[episode.face_id].removeprefix("face "),
            _sorted_cell(episode.start_s, format_time(episode.start_s, 0.1)),
            _sorted_cell(episode.end_s, format_time(episode.end_s, 0.1)),
            _sorted_cell(episode.duration_s, format_length(episode.duration_s)),
            _sorted_cell(episode.mean_probability, format_share(episode.mean_probability)),
        ]
        for episode in chosen[:MAX_EPISODES]
    ]
    n_more = max(0, len(chosen) - MAX_EPISODES)
    caption = f"Episodes by {kind}: {len(chosen)}"
    caption += f", the first {MAX_EPISODES} shown" if n_more else ""
    head = [kind, "face", "start", "end", "length", "mean probability"]
    return Table(caption, head, rows, css="sortable tall", words=2), n_more


def _sorted_cell(value: float, text: str) -> Cell:
    return Cell(text, sort=f"{value:.4g}")


def _summaries(
    report: Report, figures: Mapping[str, Any] | None, note: str
) -> Iterator[tuple[str, list[tuple[str, Table, Table | None]]]]:
    """Yield whose tables follow, and the tables: everyone's first, then those of each face.

    figures: the summary, or its figures with corrections; None yields nothing. note: follows the
    name in captions.
    """
    if figures is None:
        return
    lanes = report.drawing.lanes
    who = lanes[0].name if len(lanes) == 1 else "all faces"
    yield who, _face_tables(report, figures["faces"]["all"], who + note)
    for lane in _by_number(lanes[:LANES_SHOWN]) if len(lanes) > 1 else ():
        face = figures["faces"][str(lane.face_id)]
        yield lane.name, _face_tables(report, face, lane.name + note)


def _face_tables(
    report: Report, face: Mapping[str, Any], who: str
) -> list[tuple[str, Table, Table | None]]:
    """face: one entry of `summary()["faces"]`. Return the shares and transitions of each kind."""
    return [
        (kind, _shares(report, face, who, kind), _transitions(report, face, who, kind))
        for kind in KINDS
        if report.labels(kind)
    ]


def _shares(report: Report, face: Mapping[str, Any], who: str, kind: str) -> Table:
    table: Mapping[str, Mapping[str, Any]] = face[f"{kind}s"]
    names = list(table)
    if report.timeline.photos:
        return _photo_shares(table, who, kind)
    rows: list[Row] = [
        [
            class_cell(label, names, grouped=kind == "group"),
            format_share(figures["share"]),
            format_length(figures["time_sure_s"]),
            format_length(figures["time_unsure_s"]),
            format_share(figures["share_with_unsure"]),
            str(figures["episodes"]),
            format_length(figures["mean_s"]),
            format_length(figures["longest_s"]),
        ]
        for label, figures in table.items()
    ]
    head = [kind, "share", "time, sure", "time, unsure", "share with unsure", "episodes"]
    head += ["mean length", "longest"]
    return Table(f"Each {kind}, {who}", head, rows)


def _movement_tables(report: Report) -> Iterator[tuple[str, Table]]:
    """Yield a table of each movement: everyone's first, then those of each face."""
    if not report.movements:
        return
    timeline, lanes = report.timeline, report.drawing.lanes
    found = [] if timeline.photos else find_movements(
        timeline.table, timeline.settings, report.movements
    )  # fmt: skip
    who = lanes[0].name if len(lanes) == 1 else "all faces"
    yield who, moves.movement_table(timeline, report.everyone, who, found)
    for lane in _by_number(lanes[:LANES_SHOWN]) if len(lanes) > 1 else ():
        face = report.summary["faces"][str(lane.face_id)]
        mine = [one for one in found if one.face_id == lane.face_id]
        yield lane.name, moves.movement_table(timeline, face, lane.name, mine)


def _photo_shares(table: Mapping[str, Mapping[str, Any]], who: str, kind: str) -> Table:
    rows: list[Row] = [
        [
            class_cell(label, list(table), grouped=kind == "group"),
            format_share(figures["share"]),
            str(figures["sure_faces"]),
            str(figures["unsure_faces"]),
            format_share(figures["share_with_unsure"]),
        ]
        for label, figures in table.items()
    ]
    head = [kind, "share", "faces, sure", "faces, unsure", "share with unsure"]
    return Table(f"Each {kind}, {who}", head, rows)


def _in_photos(report: Report, thumbnails: Sequence[Thumbnail]) -> dict[str, Any]:
    return {
        "photos": list(photos_of(report.shown, thumbnails)),
        "photo_table": photo_table(report.timeline),
    }


def _transitions(report: Report, face: Mapping[str, Any], who: str, kind: str) -> Table | None:
    """Return how often an episode of one label was followed by one of another."""
    counts: Mapping[str, Mapping[str, int]] = face["transitions"][kind]
    if not any(n for row in counts.values() for n in row.values()):
        return None
    labels = report.labels(kind) if set(counts) <= set(report.labels(kind)) else list(counts)
    rows: list[Row] = [
        [start, *(_transition(counts.get(start, {}).get(end, 0)) for end in labels)]
        for start in labels
    ]
    caption = f"From one {kind} (row) to the next (column), {who}"
    return Table(caption, ["from ↓ to →", *labels], rows, css="matrix")


def _transition(n: int) -> Cell:
    return Cell(str(n), css="" if n else "zero")


def build_command(report: Report) -> str:
    """Return the command that repeats the analysis, as far as the metadata holds it."""
    words = ["moppet", "analyze", report.name]
    for name, option in OPTIONS.items():
        value = report.setting(name)
        if value not in (None, "") and (name, value) != ("every", 1):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if (reading := report.timeline.settings.reading) != "observers":
        words += ["--reading", reading]
    settings = report.timeline.metadata["settings"]
    if (prior := settings.get("prior", "natural")) != "natural":
        words += ["--prior", prior if isinstance(prior, str) else "FILE.toml"]
    if device := settings.get("device"):
        words += ["--device", device]
    if report.setting("detect_every_frame") is True:
        words.append("--detect-every-frame")
    return shlex.join(words)


_IN_WORDS: Final = ("clock", "cuts_s", "files", THINNED, TRACKS, "people")
"""Keys of the metadata that the page puts into words, and people, who are on all of it."""
_OF_FILMS: Final = ("duration_s", "smooth_s", "max_gap_s", "min_episode_s", "enter", "leave")
"""Keys that mean nothing for photos."""
_FILES_NAMED: Final = 3


def assumptions(metadata: Mapping[str, Any]) -> list[str]:
    """Return what the analysis assumed about the recording, one sentence each."""
    notes = [capitalize(note) for note in clock_notes(metadata.get("clock") or {})]
    if cuts := metadata.get("cuts_s") or ():
        marks = "A line marks it" if len(cuts) == 1 else "Lines mark them"
        notes.append(
            f"{counted(len(cuts), 'hard cut')}: after a cut, a face that changes has a new number. "
            f"{marks} on the time axis."
        )
    if files := metadata.get("files") or ():
        more = ", …" if len(files) > _FILES_NAMED else ""
        notes.append(
            f"{'The photos are' if photo_files(metadata) else 'The recording is a folder of'} "
            f"{counted(len(files), 'image')}: "
            f"{', '.join(map(str, files[:_FILES_NAMED]))}{more}."
        )
    return notes


def _facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a title and a text for every value of the metadata, the best known first."""
    values = dict(_flat({k: v for k, v in metadata.items() if k not in _IN_WORDS}))
    if files := photo_files(metadata):
        values["images"] = values.pop("frame_count", str(len(files)))
        for key in (*_OF_FILMS, *(("width", "height") if len(files) > 1 else ())):
            values.pop(key, None)
    known = {key: values.pop(key) for key in TITLES if key in values}
    known |= values
    if known.get("model") == known.get("model_name"):  # in the settings, and as it was found
        known.pop("model", None)
    for key, value in known.items():
        yield TITLES.get(key) or capitalize(key.replace("_", " ")), value


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if key == "groups" and isinstance(value, Mapping):
            yield key, group_members(value)
        elif key in ("prior", "display_prior"):  # the word that asked for it is in the command
            if isinstance(value, Mapping):
                yield key, ", ".join(f"{name} {format_share(x)}" for name, x in value.items())
        elif isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list | tuple):
            yield key, ", ".join(str(item) for item in value)
        elif isinstance(value, bool):
            yield key, "yes" if value else "no"
        elif isinstance(value, float):
            yield key, f"{value:.6g}"
        elif value is not None:
            yield key, str(value)


def _members(timeline: Timeline) -> str:
    groups: dict[str, list[str]] = {}
    for name in timeline.names:
        groups.setdefault(timeline.group_of.get(name, "in no group"), []).append(name)
    return "; ".join(f"{group}: {', '.join(names)}" for group, names in groups.items())
