"""Time courses around events, and all recordings as strips, from a study's frames."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.coders import read_coding
from moppet.cohort.statistics import Question, cluster, level_text
from moppet.cohort.study_folder import StudyFolder
from moppet.files import read_bytes
from moppet.metrics import Estimate
from moppet.metrics.bootstrap import bootstrap_means
from moppet.timeline.schema import MOVEMENT, flags, numbers, texts
from moppet.values import UsageError, name_hint

STRIP_BINS: Final = 400
_LASTS_S: Final = 1.0
_MOST: Final = 32_000_000  # bytes


class Event(NamedTuple):
    """A moment of a recording, in seconds, and what happened."""

    recording: str
    time_s: float
    label: str


def read_events(paths: Sequence[Path], study: StudyFolder, labels: Sequence[str]) -> list[Event]:
    """Return the events in these files whose label is one of `labels`; () for all.

    A CSV file has the columns `recording` and `time_s`, and may have `event`. Of a coder's file
    (ELAN, BORIS, Datavyu, Praat), each code is an event at its start; its recording is the medium
    that was coded, or the one that is called like the file. A folder stands for its files.
    Raises UsageError for an unknown recording, and if no event is left.
    """
    files = [f for p in paths for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
    found: list[Event] = []
    for path in (f for f in files if not f.name.startswith(".")):
        found += _read_table(path, study) if _is_table(path) else _read_codes(path, study)
    known = list(dict.fromkeys(event.label for event in found))
    for label in labels:
        if label not in known:
            raise UsageError(f"There is no event {label!r}.{name_hint(label, known)}")
    kept = [event for event in found if not labels or event.label in labels]
    if not kept:
        raise UsageError(f"There are no events in {', '.join(map(str, paths))}.")
    return kept


def _is_table(path: Path) -> bool:
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.readline(1 << 16).decode("utf-8-sig", "replace")
    return {"recording", "time_s"} <= {cell.strip() for cell in head.split(",")}


def _read_table(path: Path, study: StudyFolder) -> list[Event]:
    text = read_bytes(path, "table of events", UsageError, _MOST).decode("utf-8-sig", "replace")
    found = []
    for line, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        row = {str(k).strip(): (v or "").strip() for k, v in row.items() if isinstance(v, str)}
        try:
            time_s = float(row["time_s"])
            if not math.isfinite(time_s):
                raise ValueError
        except ValueError:
            raise UsageError(
                f"Row {line} of {path} needs a number of seconds, got {row['time_s']!r}."
            ) from None
        name = find_recording(study, row["recording"], f"row {line} of {path}")
        found.append(Event(name, time_s, row.get("event") or "event"))
    return found


def _read_codes(path: Path, study: StudyFolder) -> list[Event]:
    coding = read_coding(path)
    named = [*([coding.source_name] if coding.source_name else []), path.name]
    name = None
    for word in named:
        fits = _fitting(study, word)
        if len(fits) == 1:
            name = fits[0]
            break
    if name is None:
        raise UsageError(
            f"{path} belongs to no recording of the study: name the file like the recording, or "
            "list the events in a CSV file with the columns recording, time_s and event."
        )
    return [Event(name, code.start_s, code.label) for lane in coding.lanes for code in lane.codes]


def find_recording(study: StudyFolder, word: str, where: str) -> str:
    """Return the recording of the study that a word means: its name, or that of its file.

    Raises UsageError if there is none, or several.
    """
    fits = _fitting(study, word)
    if len(fits) == 1:
        return fits[0]
    names = [str(one["recording"]) for one in study.recordings]
    if fits:
        raise UsageError(f"{word!r} in {where} may be {' or '.join(fits[:5])}: name one of them.")
    raise UsageError(
        f"The study has no recording {word!r}, which is in {where}.{name_hint(word, names)}"
    )


def _fitting(study: StudyFolder, word: str) -> list[str]:
    """Return the recordings that a name may mean, by the strictest rule that fits any."""
    text = word.replace("\\", "/")
    stem = PurePosixPath(text).stem
    rules = (
        lambda one: one["recording"] == text,
        lambda one: one.get("source_name") == text,
        lambda one: PurePosixPath(str(one["recording"])).stem == stem,
        lambda one: PurePosixPath(str(one.get("source_name") or "")).stem == stem,
        lambda one: str(one["recording"]).replace("/", "_") == stem,
    )
    for rule in rules:
        if found := [str(one["recording"]) for one in study.recordings if rule(one)]:
            return found
    return []


@dataclass(frozen=True)
class Course:
    """The mean of a label around events, in one combination of levels.

    middle_s: (m,) of the bins, relative to the event. estimates: of the bins; n: participants.
    """

    label: str
    levels: tuple[str, ...]
    middle_s: NDArray[np.float64]
    estimates: tuple[Estimate, ...]
    events: int


@dataclass(frozen=True)
class Strip:
    """One person of a recording over time.

    code: (STRIP_BINS,) index into the labels of what is shown most in each part of the time, -1
    for nothing sure. length_s: of the recording.
    """

    recording: str
    participant: str
    person: str
    role: str
    levels: tuple[str, ...]
    length_s: float
    code: NDArray[np.int64]


@dataclass(frozen=True)
class Courses:
    """What the frames of a study show: strips of all people, and courses around events."""

    labels: tuple[str, ...]
    span_s: float
    strips: tuple[Strip, ...]
    courses: tuple[Course, ...]


def read_courses(
    study: StudyFolder,
    question: Question,
    labels: Sequence[str],
    events: Sequence[Event] = (),
    before_s: float = 5.0,
    after_s: float = 10.0,
    bin_s: float = 0.5,
) -> Courses:
    """Return the strips of all people with a level, and the courses around the events.

    labels: those of the courses; strips show all labels of the kind. A bin of a course is the share
    of the sure time with the label (of a movement: its mean) of one participant over its events,
    and then the mean over participants with its interval.
    Raises UsageError for a window without a whole bin.
    """
    bins = round((before_s + after_s) / bin_s)
    if not (math.isfinite(before_s + after_s + bin_s) and bin_s > 0 and bins >= 1):
        raise UsageError(
            "--before and --after need at least one bin of --bin seconds between them."
        )
    edges = -before_s + bin_s * np.arange(bins + 1)
    shown = _all_labels(study, question)
    span_s = max((float(one["analyzed_s"] or 0) for one in study.recordings), default=0.0)
    collected = _Collected(question, labels, edges)
    strips: list[Strip] = []
    for about, table in study.frames(_columns(question, labels)):
        own = [event.time_s for event in events if event.recording == about["recording"]]
        for person, role, part in _people(table):
            row = {"recording": about["recording"], "person": person, "role": role, **about["info"]}
            levels = tuple(level_text(row.get(name)) for name in question.by)
            who = str(cluster(row))
            if own:
                collected.add(part, who, levels, own)
            if shown:
                strips.append(
                    Strip(
                        *(str(about["recording"]), who, person, role, levels),
                        float(about["analyzed_s"] or 0),
                        _strip(part, question, shown, span_s),
                    )
                )
    courses = collected.courses(np.random.default_rng([question.seed, 2]))
    return Courses(tuple(shown), span_s, tuple(strips), courses)


def _columns(question: Question, labels: Sequence[str]) -> list[str]:
    movements = [MOVEMENT + label for label in labels] if question.kind in _MEANS else []
    names = ("expression", "group", "unsure", "corrected_expression", "corrected_group")
    return ["time_s", "person", "role", *names, "corrected_unsure", "valence", *movements]


_MEANS: Final = ("movement", "blink", "valence")


def _all_labels(study: StudyFolder, question: Question) -> list[str]:
    if question.kind in _MEANS:
        return []
    rows = (row["label"] for row in study.summary if row["kind"] == question.kind)
    return list(dict.fromkeys(rows))


def _people(table: Any) -> list[tuple[str, str, Any]]:
    names = [name for name in pc.unique(table.column("person")).to_pylist() if name is not None]
    found = []
    for name in names:
        part = table.filter(pc.equal(table.column("person"), name))
        found.append((str(name), str(part.column("role")[0].as_py()), part))
    return found


def _shown(part: Any, question: Question) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return the label and whether it is sure, of each row."""
    prefix = "" if question.machine else "corrected_"
    label = texts(part, prefix + question.kind)
    return label, ~flags(part, f"{prefix}unsure")


def _strip(
    part: Any, question: Question, labels: Sequence[str], span_s: float
) -> NDArray[np.int64]:
    label, sure = _shown(part, question)
    place = {name: i for i, name in enumerate(labels)}
    code = np.array([place.get(str(name), -1) if name else -1 for name in label], np.int64)
    time_s = numbers(part, "time_s")
    first_s = float(time_s.min()) if len(time_s) else 0.0
    cell = ((time_s - first_s) / max(span_s, 1e-9) * STRIP_BINS).astype(np.int64)
    cell = np.clip(cell, 0, STRIP_BINS - 1)
    counts = np.zeros((STRIP_BINS, len(labels)))
    known = sure & (code >= 0)
    np.add.at(counts, (cell[known], code[known]), 1)
    shown = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1)
    # A cell shorter than the step between frames may have none: the frame before it lasts.
    filled = np.bincount(cell, minlength=STRIP_BINS) > 0
    before = np.maximum.accumulate(np.where(filled, np.arange(STRIP_BINS), 0))
    lasts = (np.arange(STRIP_BINS) - before) * span_s / STRIP_BINS <= _LASTS_S
    return np.where(filled, shown, np.where(lasts, shown[before], -1))


class _Collected:
    """The sums of each participant in each bin around the events."""

    def __init__(
        self, question: Question, labels: Sequence[str], edges: NDArray[np.floating[Any]]
    ) -> None:
        self.question, self.labels, self.edges = question, labels, edges
        self._sums: dict[tuple[str, tuple[str, ...], str], NDArray[np.float64]] = {}
        self._events: dict[tuple[str, ...], int] = {}

    def add(self, part: Any, who: str, levels: tuple[str, ...], events: Sequence[float]) -> None:
        time_s, bins = numbers(part, "time_s"), len(self.edges) - 1
        self._events[levels] = self._events.get(levels, 0) + len(events)
        for label in self.labels:
            value = self._values(part, label)
            known = ~np.isnan(value)
            sums = self._sums.setdefault((label, levels, who), np.zeros((2, bins)))
            for event_s in events:
                cell = np.searchsorted(self.edges, time_s - event_s + 1e-9, "right") - 1
                use = known & (cell >= 0) & (cell < bins)
                np.add.at(sums[0], cell[use], value[use])
                np.add.at(sums[1], cell[use], 1)

    def _values(self, part: Any, label: str) -> NDArray[np.float64]:
        """Return the value of each row, NaN for unsure ones."""
        kind = self.question.kind
        if kind not in _MEANS:
            shown, sure = _shown(part, self.question)
            known = sure & np.array([value is not None for value in shown], np.bool_)
            return np.where(known, np.equal(shown, label), np.nan).astype(np.float64)
        column = "valence" if kind == "valence" else MOVEMENT + label
        if column not in part.column_names:
            return np.full(part.num_rows, np.nan)
        return np.where(flags(part, "unsure"), np.nan, numbers(part, column))

    def courses(self, rng: np.random.Generator) -> tuple[Course, ...]:
        middle_s = (self.edges[:-1] + self.edges[1:]) / 2
        found = []
        for label, levels in dict.fromkeys((key[0], key[1]) for key in self._sums):
            mine = [x for key, x in self._sums.items() if key[:2] == (label, levels)]
            sums = np.array(mine)
            n = sums[:, 1]
            share = np.divide(sums[:, 0], n, out=np.full(n.shape, np.nan), where=n > 0)
            columns = {str(i): share[:, i] for i in range(share.shape[1])}
            drawn = bootstrap_means(columns, np.arange(len(mine)), rng, self.question.draws)
            estimates = tuple(drawn[str(i)] for i in range(share.shape[1]))
            found.append(Course(label, levels, middle_s, estimates, self._events[levels]))
        return tuple(found)


def course_rows(courses: Sequence[Course], by: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the courses as rows of a table, a row for each bin."""
    return [
        {
            "label": course.label,
            **dict(zip(by, course.levels, strict=True)),
            "time_s": round(float(middle_s), 6),
            "mean": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "participants": estimate.n,
            "events": course.events,
        }
        for course in courses
        for middle_s, estimate in zip(course.middle_s, course.estimates, strict=True)
    ]
