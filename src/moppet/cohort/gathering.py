"""Gather the timelines of many recordings into one study: frames, episodes, summary."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

import moppet
from moppet.cohort.recordings import (
    ListedRecording,
    info_columns,
    match_recordings,
    plain_info,
    read_recordings,
)
from moppet.cohort.study_folder import EPISODES, FRAMES, RECORDINGS, STUDY, SUMMARY, read_study_json
from moppet.cohort.tidy import (
    CORRECTED_COLUMNS,
    EPISODE_COLUMNS,
    RECORDING_COLUMNS,
    SUMMARY_COLUMNS,
    RecordingTables,
    recording_tables,
)
from moppet.files import replacing, result_folder, write_text
from moppet.timeline.annotations import read_annotated
from moppet.timeline.formats import read_header
from moppet.timeline.schema import (
    ALL_OPTIONAL,
    RECORDING_INFO,
    OptionalColumns,
    names_in,
    photo_files,
    plain,
    table_schema,
)
from moppet.timeline.summary import csv_cell
from moppet.values import MoppetError, UsageError

CORRECTED_EPISODES: Final = "episodes_corrected.csv"
_SUFFIXES: Final = (".parquet", ".csv", ".json")
_TIMELINE: Final = "timeline"
_KEY: Final = ("recording", "source_sha256")
_RESERVED: Final = frozenset(
    (
        *_KEY,
        *SUMMARY_COLUMNS,
        *EPISODE_COLUMNS,
        *RECORDING_COLUMNS,
        *CORRECTED_COLUMNS,
        *table_schema(("x",), ALL_OPTIONAL).names,
    )
)


@dataclass(frozen=True)
class FoundTimeline:
    """A timeline file. name: of the recording in the study, unique: "c01/s1.mp4".

    columns, metadata: of the file. info: the values of the list of recordings, by column.
    """

    path: Path
    name: str
    columns: tuple[str, ...]
    metadata: Mapping[str, Any]
    info: Mapping[str, Any]


@dataclass(frozen=True)
class Gathered:
    """What was gathered. notes: sentences about what a reader of the tables should know.

    people: number of persons, or faces without a name. written: files and the folder of frames.
    """

    folder: Path
    recordings: int
    people: int
    analyzed_s: float
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def gather(
    results: str | PathLike[str] | Sequence[str | PathLike[str]],
    output: str | PathLike[str],
    recordings: str | PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """Gather the timelines of many recordings, with names and corrections, into one study.

    One recording is in memory at a time.

    Args:
        results: a folder of results, or several; or timeline files.
        output: the study's folder. It gets frames/ (a Parquet dataset), episodes.csv, summary.csv,
            recordings.csv and study.json; an earlier study there is replaced.
        recordings: a CSV file with the column `path`, and others such as `participant`. Its
            values replace those that the timelines hold themselves.
        progress: called with the number of recordings that are done, and of all.

    Raises:
        UsageError: no timeline is found, or one recording is found twice.
        TimelineError: a timeline or a layer beside it cannot be read.

    Examples:
        >>> import moppet
        >>> timeline = moppet.analyze("examples/child.mp4", end_s=4)
        >>> _ = timeline.write("results/child/timeline.parquet")
        >>> study = moppet.gather("results", "study")
        >>> study.recordings, study.people
        (1, 1)
        >>> [path.name for path in study.written]
        ['frames', 'episodes.csv', 'summary.csv', 'recordings.csv', 'study.json']
    """
    given = [results] if isinstance(results, str | PathLike) else list(results)
    found = find_timelines([Path(one) for one in given])
    listed = read_recordings(Path(recordings)) if recordings is not None else []
    found, notes = _with_info(found, listed)
    folder = Path(output)
    with result_folder(folder):
        return _Study(folder, found, notes).write(progress or (lambda done, total: None))


def find_timelines(places: Sequence[Path]) -> list[FoundTimeline]:
    """Return the timelines in these folders and their subfolders, by name.

    Of several formats of one timeline, Parquet is read rather than CSV, and CSV rather than JSON.
    Sets of photos are left out: they have no time. Raises UsageError if there is no timeline.
    """
    paths: dict[Path, str] = {}
    for place in places:
        if place.is_dir():
            for path in _timelines_below(place):
                inner = path.parent.relative_to(place).as_posix()
                paths.setdefault(path, place.resolve().name if inner == "." else inner)
        elif place.is_file():
            is_named = place.stem != _TIMELINE
            paths.setdefault(place, place.stem if is_named else place.resolve().parent.name)
        else:
            raise UsageError(f"{place} is not there: name a folder of results, or a timeline.")
    if not paths:
        where = ", ".join(map(str, places))
        raise UsageError(
            f"There is no timeline.parquet, .csv or .json below {where}: analyze the recordings "
            "first, with moppet analyze."
        )
    found = []
    for path, name in paths.items():
        columns, metadata = read_header(path)
        if not photo_files(metadata or {}):
            found.append(FoundTimeline(path, name, tuple(columns), metadata or {}, {}))
    if not found:
        raise UsageError("All timelines found are sets of photos, which have no time to gather.")
    return _distinct(sorted(found, key=lambda one: one.name))


def _timelines_below(folder: Path) -> Iterator[Path]:
    best: dict[Path, Path] = {}
    for suffix in reversed(_SUFFIXES):
        for path in folder.rglob(f"{_TIMELINE}{suffix}"):
            if path.is_file():
                best[path.parent] = path
    yield from sorted(best.values())


def _distinct(found: Sequence[FoundTimeline]) -> list[FoundTimeline]:
    """Return the timelines with unique names; UsageError if a recording is there twice."""
    by_hash: dict[Any, FoundTimeline] = {}
    for one in found:
        source_sha256 = one.metadata.get("source_sha256")
        other = by_hash.setdefault((source_sha256, _span(one)), one)
        if source_sha256 is not None and other is not one:
            raise UsageError(
                f"{other.path} and {one.path} are of the same recording, which would count twice: "
                "move one of them out of the results."
            )
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else _renamed(one, f"{one.name} ({n})")
        for n, one in enumerate(found, start=1)
    ]


def _span(one: FoundTimeline) -> tuple[Any, Any]:
    """Return the part of the recording that was analyzed: parts of one recording are no copies."""
    settings = one.metadata.get("settings")
    given = settings if isinstance(settings, Mapping) else {}
    return given.get("start_s"), given.get("end_s")


def _renamed(one: FoundTimeline, name: str) -> FoundTimeline:
    return FoundTimeline(one.path, name, one.columns, one.metadata, one.info)


def _with_info(
    found: Sequence[FoundTimeline], listed: Sequence[ListedRecording]
) -> tuple[list[FoundTimeline], list[str]]:
    """Return the timelines with the values of their recordings, and notes on what is missing."""
    places = [(one.name, one.path.resolve().parent.as_posix(), one.metadata) for one in found]
    rows = match_recordings(listed, places)
    known = [
        {**plain_info(one.metadata.get(RECORDING_INFO), str(one.path)), **(row.info if row else {})}
        for one, row in zip(found, rows, strict=True)
    ]
    notes = []
    if listed:
        without = [one.name for one, row in zip(found, rows, strict=True) if row is None]
        used = {id(row) for row in rows}
        unused = [row.path for row in listed if id(row) not in used]
        if without:
            notes.append(f"not in the list of recordings: {_some(without)}.")
        if unused:
            notes.append(f"in the list, but without a timeline: {_some(unused)}.")
    return [
        FoundTimeline(one.path, one.name, one.columns, one.metadata, info)
        for one, info in zip(found, known, strict=True)
    ], notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


class _Writer(Protocol):
    def writerow(self, row: Iterable[Any], /) -> Any: ...


class _Study:
    """Writes a study, one recording at a time."""

    def __init__(self, folder: Path, found: Sequence[FoundTimeline], notes: Sequence[str]) -> None:
        self.folder, self.found, self.notes = folder, found, list(notes)
        self.info = info_columns((one.info for one in found), _RESERVED)
        self.schema = self._frames_schema()
        self._written: list[dict[str, Any]] = []
        self._people, self._analyzed_s = 0, 0.0

    def write(self, progress: Callable[[int, int], None]) -> Gathered:
        frames = self.folder / FRAMES
        frames.mkdir(parents=True, exist_ok=True)
        before = read_study_json(self.folder) if (self.folder / STUDY).is_file() else {}
        self._check_frames(before)
        (self.folder / STUDY).unlink(missing_ok=True)  # until all is written, it is no study
        names = (EPISODES, CORRECTED_EPISODES, SUMMARY, RECORDINGS)
        with ExitStack() as stack:
            tables = {name: self._open(stack, name) for name in names}
            for number, one in enumerate(self.found):
                progress(number, len(self.found))
                self._add(one, tables)
        progress(len(self.found), len(self.found))
        corrected = any(one["corrections"] for one in self._written)
        if not corrected:
            (self.folder / CORRECTED_EPISODES).unlink()
        self._note_models()
        about = {
            "moppet_version": moppet.__version__,
            "info_columns": self.info,
            "notes": self.notes,
            "recordings": self._written,
        }
        text = json.dumps(about, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
        write_text(self.folder / STUDY, text)
        files = [EPISODES, *([CORRECTED_EPISODES] if corrected else []), SUMMARY, RECORDINGS, STUDY]
        return Gathered(
            self.folder,
            len(self.found),
            self._people,
            self._analyzed_s,
            tuple(self.notes),
            (frames, *(self.folder / name for name in files)),
        )

    def _open(self, stack: ExitStack, name: str) -> _Writer:
        columns = {
            EPISODES: EPISODE_COLUMNS,
            CORRECTED_EPISODES: EPISODE_COLUMNS,
            SUMMARY: SUMMARY_COLUMNS,
            RECORDINGS: RECORDING_COLUMNS,
        }[name]
        part = stack.enter_context(replacing(self.folder / name))
        file = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_KEY, *self.info, *columns])
        return writer

    def _add(self, one: FoundTimeline, tables: Mapping[str, _Writer]) -> None:
        try:
            made = recording_tables(read_annotated(one.path))
        except MoppetError as error:
            raise type(error)(f"{one.path}: {error}") from error
        key = [one.name, one.metadata.get("source_sha256"), *map(one.info.get, self.info)]
        for name, columns, rows in (
            (EPISODES, EPISODE_COLUMNS, made.episodes),
            (CORRECTED_EPISODES, EPISODE_COLUMNS, made.corrected_episodes),
            (SUMMARY, SUMMARY_COLUMNS, made.summary),
            (RECORDINGS, RECORDING_COLUMNS, [made.facts]),
        ):
            for row in rows:
                cells = (row.get(column) for column in columns)
                tables[name].writerow([_cell(value) for value in (*key, *cells)])
        self._write_frames(one, made)
        self._people += len({row["person"] for row in made.summary})
        self._analyzed_s += made.facts["analyzed_s"] or 0.0
        kept = ("names", "groups", "settings", "width", "height", "cuts_s", "clock", "prior")
        self._written.append(
            {
                "recording": one.name,
                "frames_file": _frames_file(one.name),
                "source_sha256": one.metadata.get("source_sha256"),
                "info": dict(one.info),
                **{k: v for k, v in made.facts.items() if k != "source_sha256"},
                **{name: plain(one.metadata[name]) for name in kept if name in one.metadata},
            }
        )

    def _frames_schema(self) -> Any:
        """Return the schema of all files of frames: the union of the columns of all timelines."""
        names: dict[str, None] = {}
        movements: dict[str, None] = {}
        display = False
        for one in self.found:
            own = names_in(one.columns)
            optional = OptionalColumns.of(one.columns, own)
            names |= dict.fromkeys(own)
            movements |= dict.fromkeys(optional.movements)
            display |= optional.display
        table = table_schema(tuple(names), OptionalColumns(display, tuple(movements)))
        return pa.schema(
            [
                pa.field("recording", pa.string()),
                *(pa.field(name, self._type_of(name)) for name in self.info),
                pa.field("person", pa.string()),
                pa.field("role", pa.string()),
                *table,
                pa.field("corrected_expression", pa.string()),
                pa.field("corrected_group", pa.string()),
                pa.field("corrected_unsure", pa.bool_()),
            ]
        )

    def _type_of(self, column: str) -> Any:
        values = [one.info[column] for one in self.found if column in one.info]
        if values and all(isinstance(value, int) for value in values):
            return pa.int64()
        if values and all(isinstance(value, int | float) for value in values):
            return pa.float64()
        return pa.string()

    def _write_frames(self, one: FoundTimeline, made: RecordingTables) -> None:
        """Write the frames of a recording; its values are repeated in every row."""
        n, columns = made.frames.num_rows, {}
        own = {"recording": one.name, **one.info}
        for field in self.schema:
            if field.name in made.frames.column_names:
                columns[field.name] = made.frames.column(field.name).cast(field.type)
            else:
                value = own.get(field.name)
                if value is not None and field.type == pa.string():
                    value = str(value)
                columns[field.name] = pa.repeat(pa.scalar(value, field.type), n)
        path = self.folder / FRAMES / _frames_file(one.name)
        failures = (pa.ArrowException,)
        with replacing(path, MoppetError, failures) as part, part.open("wb") as file:
            table = pa.table(columns, schema=self.schema)
            pq.write_table(table, file, compression="zstd", row_group_size=131_072)

    def _check_frames(self, before: Mapping[str, Any]) -> None:
        """Remove the frames of an earlier study in this folder; UsageError for other files."""
        old = {one.get("frames_file") for one in before.get("recordings", ())}
        new = {_frames_file(one.name) for one in self.found}
        there = sorted((self.folder / FRAMES).glob("*.parquet"))
        if stray := [path.name for path in there if path.name not in old | new]:
            raise UsageError(
                f"{self.folder / FRAMES} has files that are not of this study: {_some(stray)}. "
                "Move them away, or choose another folder with -o."
            )
        for path in there:
            if path.name not in new:
                path.unlink()

    def _note_models(self) -> None:
        models = {(one["model_name"], one["model_sha256"]) for one in self._written}
        if len(models) > 1:
            names = ", ".join(sorted({str(name) for name, _ in models}))
            self.notes.append(
                f"the recordings were analyzed by {len(models)} different models ({names}): their "
                "figures differ for that reason, too."
            )
        if partial := [one["recording"] for one in self._written if one["complete"] is False]:
            self.notes.append(
                f"the analysis was interrupted, so a part is missing: {_some(partial)}."
            )


def _frames_file(name: str) -> str:
    """Return the file name of a recording's frames, which no other recording of the study has."""
    plain_name = re.sub(r"[^\w.-]+", "_", name)[:80]
    if plain_name != name or plain_name.startswith("."):
        plain_name = f"{plain_name.lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain_name}.parquet"


def _cell(value: Any) -> Any:
    """Return a value as a cell: at most six decimals, and no text that is read as a formula."""
    if isinstance(value, float):
        return f"{round(value, 6):.12g}"
    return csv_cell(value)
