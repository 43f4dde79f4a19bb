"""One recording of `moppet analyze`: read into its folder of results, and what to print of it."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from moppet.cohort.recordings import Value
from moppet.commands.analyze import FORMATS
from moppet.values import MoppetError, TimelineError

if TYPE_CHECKING:
    from moppet.infer.pipeline import Progress, Settings
    from moppet.timeline import Timeline
    from moppet.timeline.annotations import AnnotatedTimeline

LOCK: Final = ".analyze.lock"
"""In a folder of results while a recording is read into it."""

_LOG: Final = "error.log"

Show = Callable[[int, int | None], None]
"""Shows how many frames are done, and of how many; None if that is not known."""


@dataclass(frozen=True)
class RecordingJob:
    """A recording to read.

    folder: for its results. kinds: formats of the timeline. info: of the recording, for its
    metadata. report, resume, as_json: as on the command line.
    """

    recording: str
    folder: Path
    settings: Settings
    kinds: tuple[str, ...]
    report: bool = True
    resume: bool = False
    as_json: bool = False
    info: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    state: "kept" if its results were there already. code: exit code. text: to print on stdout.
    notes: sentences for stderr. reason: why it failed. frames: that were analyzed.
    """

    state: Literal["read", "kept", "failed", "stopped"]
    code: int = 0
    text: str = ""
    notes: tuple[str, ...] = ()
    reason: str | None = None
    frames: int | None = None
    seconds: float = 0.0
    source_sha256: str | None = None


@dataclass(frozen=True)
class Result:
    """What was read from a recording. annotated: with the names and corrections beside its file."""

    machine: Timeline
    annotated: AnnotatedTimeline


def analyze_recording(job: RecordingJob, show: Show) -> Outcome:
    """Read a recording into its folder and return what became of it; never raises an Exception.

    A KeyboardInterrupt, which `show` may raise too, writes the timeline so far and keeps what
    --resume needs.
    """
    from moppet.files import file_lock

    started = time.monotonic()
    try:
        with _clean_folder(job.folder), file_lock(job.folder / LOCK) as is_mine:
            if not is_mine:
                raise MoppetError(
                    f"{job.recording} is being read into {job.folder} by another moppet analyze: "
                    "wait for it, or choose another folder with -o."
                )
            found = _read_into_folder(job, show, started)
    except MoppetError as error:
        found = Outcome("failed", error.exit_code, reason=str(error))
    except Exception as error:  # one odd recording must not end the others
        found = Outcome("failed", 1, reason=_unexpected(error, job))
    return replace(found, seconds=time.monotonic() - started)


def _read_into_folder(job: RecordingJob, show: Show, started: float) -> Outcome:
    from moppet.infer.pipeline import Analysis

    notes: list[str] = []
    journal = job.folder / "journal.arrows"
    if job.resume and not journal.is_file() and (kept := _finished(job, notes)) is not None:
        return Outcome(
            "kept",
            text=f"{job.recording} is already analyzed, in {job.folder}",
            notes=tuple(notes),
            frames=kept.metadata.get("frame_count"),
            source_sha256=kept.metadata.get("source_sha256"),
        )
    with _clean_journal(journal):
        kinds = _check_folder(job)
        analysis = Analysis(
            *(job.recording, job.settings),
            journal=journal,
            resume=job.resume,
            recording_info=job.info,
        )
        try:
            timeline = analysis.run(lambda at: show(at.frames, _total(at)))
        except KeyboardInterrupt:
            part = _with_layers(analysis.timeline(), job.folder / f"timeline.{kinds[0]}", notes)
            _write(job, kinds, part)
            return Outcome("stopped", 130, notes=tuple(notes))
    annotated = _with_layers(timeline, job.folder / f"timeline.{kinds[0]}", notes)
    written = _write(job, kinds, annotated)
    for left in (journal, job.folder / _LOG):
        left.unlink(missing_ok=True)
    return Outcome(
        "read",
        text=_text(job, annotated, written, time.monotonic() - started),
        notes=tuple(notes),
        frames=timeline.metadata["frame_count"],
        source_sha256=timeline.metadata["source_sha256"],
    )


@contextmanager
def _clean_folder(folder: Path) -> Iterator[None]:
    """Make the folder; if it is new and nothing was read into it, remove it."""
    from moppet.files import result_folder

    try:
        with result_folder(folder):
            yield
    except OSError as error:
        raise MoppetError(f"{folder} cannot be written: {error.strerror}.") from None


@contextmanager
def _clean_journal(journal: Path) -> Iterator[None]:
    """Leave no new journal without rows if the analysis fails."""
    from moppet.timeline import read_journal

    begun = journal.is_file()
    try:
        yield
    except MoppetError:
        if not begun and journal.is_file() and not read_journal(journal):
            journal.unlink()
        raise


def _check_folder(job: RecordingJob) -> list[str]:
    """Return the formats to write: those asked for, and those that an earlier run wrote here.

    So no older timeline stays beside the new one. Raises MoppetError if the folder holds the
    results of another recording.
    """
    from moppet.media import recording_sha256
    from moppet.timeline import read_timeline

    kinds = list(job.kinds)
    for kind in FORMATS:
        path = job.folder / f"timeline.{kind}"
        if not path.is_file():
            continue
        try:
            found = read_timeline(path).metadata
        except TimelineError:
            continue  # damaged: it is replaced if this format is written
        theirs = found.get("source_sha256")
        if theirs is not None and theirs != recording_sha256(job.recording):
            raise MoppetError(
                f"{job.folder} holds the results of another recording, {found.get('source_name')}. "
                "Choose another folder with -o, or move these results away."
            )
        kinds += [kind] * (kind not in kinds)
    return kinds


def _unexpected(error: Exception, job: RecordingJob) -> str:
    """Write the traceback of an unexpected error to a log, and return a sentence that names it."""
    from moppet.files import one_line, write_text

    log = job.folder / _LOG
    told = f"{job.recording} could not be analyzed ({type(error).__name__}: {one_line(error)})."
    try:
        write_text(log, "".join(traceback.format_exception(error)))
    except (MoppetError, OSError):
        return f"{told} Please report this."
    return f"{told} Please report this with {log}."


def _finished(job: RecordingJob, notes: list[str]) -> Timeline | None:
    """Return the timeline if the folder holds the whole one that this job would write; else None.

    If only the recording's row in the list has changed since, its metadata are written anew.
    """
    from moppet.media import recording_sha256
    from moppet.timeline import read_timeline
    from moppet.timeline.schema import RECORDING_INFO

    source_sha256 = recording_sha256(job.recording)
    wanted, names = job.settings.to_dict(), [one.name for one in fields(job.settings)]
    found: Timeline | None = None
    for kind in job.kinds:
        try:
            found = read_timeline(job.folder / f"timeline.{kind}")
        except TimelineError:
            return None
        about = found.metadata
        if not about.get("complete") or about.get("source_sha256") != source_sha256:
            return None
        if any(about["settings"].get(name) != wanted.get(name) for name in names):
            return None
    if found is not None and job.info and found.metadata.get(RECORDING_INFO) != dict(job.info):
        found = replace(found, metadata={**found.metadata, RECORDING_INFO: dict(job.info)})
        kinds = _check_folder(job)
        _write(job, kinds, _with_layers(found, job.folder / f"timeline.{kinds[0]}", notes))
    return found


def _with_layers(machine: Timeline, path: Path, notes: list[str]) -> Result:
    """Return the timeline with the names and corrections that lie beside its file.

    Where they no longer fit, for example after an analysis with other settings, they are left out,
    and a note says so.
    """
    from moppet.timeline.annotations import AnnotatedTimeline, annotate
    from moppet.timeline.people import People

    try:
        return Result(machine, annotate(machine, path))
    except MoppetError as error:
        notes.append(f"names and corrections are left out: {error}")
        return Result(machine, AnnotatedTimeline(machine, People(), []))


def _write(job: RecordingJob, kinds: Sequence[str], result: Result) -> list[Path]:
    timeline, folder = result.machine, job.folder
    written = [timeline.write(folder / f"timeline.{kind}") for kind in kinds]
    if timeline.photos:
        written.append(timeline.write_photos(folder / "photos.csv"))
    elif timeline.metadata.get("files"):  # the folder was analyzed as photos before
        (folder / "photos.csv").unlink(missing_ok=True)
    if job.report:
        from moppet.pages.report import write_report

        written.append(write_report(result.annotated, folder / "report.html"))
    return written


def _text(job: RecordingJob, result: Result, written: Sequence[Path], seconds: float) -> str:
    """Return what to print of a recording that was read: lines of text, or one of JSON."""
    from moppet.timeline import summary_lines

    timeline, summary = result.machine, result.annotated.summary()
    if job.as_json:
        files = [str(path) for path in written]
        info: dict[str, Any] = {"recording_info": dict(job.info)} if job.info else {}
        printed = {"source": job.recording, "files": files, **info, "summary": summary}
        return json.dumps(printed, ensure_ascii=False)
    count, noun = timeline.metadata["frame_count"], "image" if timeline.photos else "frame"
    head = f"{job.recording}: {count} {noun}{'s' * (count != 1)} in {seconds:.1f} s"
    lines = _photo_lines(timeline) if timeline.table.num_rows == 1 else summary_lines(summary)
    below = (*lines, *_notes(job.recording, timeline), *written)
    return "\n".join([head, *(f"  {line}" for line in below)])


def _photo_lines(timeline: Timeline) -> list[str]:
    """Return what one image with at most one face shows."""
    (row,) = timeline.table.to_pylist()
    if row["expression"] is None:
        return [f"no face was found ({row['status']})"]
    group = f" [{row['group']}]" if row["group"] else ""
    unsure = ", unsure" if row["unsure"] else ""
    return [f"{row['expression']}{group}, confidence {row['confidence']:.0%}{unsure}"]


def _notes(recording: str, timeline: Timeline) -> list[str]:
    """Return what was assumed about the recording, and what of it was not read."""
    from moppet.media import clock_notes, image_note

    notes = clock_notes(timeline.metadata.get("clock") or {})
    if cuts := len(timeline.metadata.get("cuts_s") or ()):
        notes.append(
            f"{cuts} hard cut{'s' * (cuts > 1)}: after a cut, a face that changes has a new number."
        )
    if note := image_note(Path(recording)):
        notes.append(note)
    return [f"note: {note}" for note in notes]


def _total(at: Progress) -> int | None:
    return None if at.total is None else max(at.total, at.frames)
