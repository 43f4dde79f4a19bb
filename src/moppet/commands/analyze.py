"""`moppet analyze`: recordings in, one folder of results each."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from moppet.commands.console import watched
from moppet.commands.options import (
    EndOption,
    JsonOption,
    ModelOption,
    PriorOption,
    ReadingOption,
    StartOption,
    complete_detector,
    flag,
    format_option,
    output_option,
    read_list,
    read_reading,
)
from moppet.values import MoppetError, TimelineError, UsageError

if TYPE_CHECKING:
    from moppet.infer.devices import Device
    from moppet.infer.pipeline import Progress, Settings
    from moppet.timeline import Timeline
    from moppet.timeline.annotations import AnnotatedTimeline

_MOST_NAMED: Final = 5
FORMATS: Final = ("parquet", "csv", "json")
SMOOTH_S: Final = 0.25
"""The default of TimelineSettings, here so that the command line starts without it."""


@dataclass(frozen=True)
class Result:
    """What was read from a recording. annotated: with the names and corrections beside its file."""

    machine: Timeline
    annotated: AnnotatedTimeline


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """What `moppet analyze` is asked for."""

    paths: Annotated[
        list[str], typer.Argument(help="Videos, images, folders, or patterns in quotes.")
    ]
    output: Annotated[Path, output_option("Folder for the results.")] = Path("moppet_results")
    formats: Annotated[str, format_option(FORMATS)] = "parquet"
    every: Annotated[int, typer.Option(help="Analyze every Nth frame.", min=1)] = 1
    detector: Annotated[
        str, typer.Option(help="Face detector: mtcnn or yunet.", autocompletion=complete_detector)
    ] = "mtcnn"
    detector_model: Annotated[
        Path | None, typer.Option(help="Model file of the detector; yunet needs one.")
    ] = None
    model: ModelOption = "default"
    reading: ReadingOption = "observers"
    prior: PriorOption = "natural"
    start: StartOption = None
    end: EndOption = None
    smooth: Annotated[
        float, typer.Option(help="Smoothing over time, in seconds; 0 turns it off.", min=0)
    ] = SMOOTH_S
    min_face: Annotated[
        float | None, typer.Option(help="Smallest face to look for, in pixels.")
    ] = None
    detect_every_frame: Annotated[
        bool, flag("--detect-every-frame", "Search every frame for faces; slower.")
    ] = False
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, openvino or coreml.")] = "cpu"
    sequence: Annotated[
        bool, flag("--sequence", "A folder of images is a film, not a set of photos.")
    ] = False
    resume: Annotated[bool, flag("--resume", "Resume an analysis that was stopped.")] = False
    no_report: Annotated[bool, flag("--no-report", "Write no report.html.")] = False
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        read_list(self.formats, FORMATS, "--format")
        read_reading(self.reading)

    @property
    def kinds(self) -> list[str]:
        """The formats to write."""
        return read_list(self.formats, FORMATS, "--format")


def analyze(options: AnalyzeOptions) -> None:
    """Analyze the faces in videos and images.

    Each recording gets a folder with its timeline and a report, which opens in any browser. With
    --json, a summary of each recording is printed as one line.
    """
    from moppet.infer.expression_model import find_model

    find_model(options.model)
    from moppet.infer.devices import check_device
    from moppet.infer.pipeline import Settings
    from moppet.infer.priors import read_prior
    from moppet.timeline import TimelineSettings

    check_device(options.device)
    settings = Settings(
        model=options.model,
        detector=options.detector,
        detector_model=None if options.detector_model is None else str(options.detector_model),
        every=options.every,
        start_s=options.start,
        end_s=options.end,
        detect_every_frame=options.detect_every_frame,
        min_face_px=options.min_face,
        sequence=options.sequence,
        prior=read_prior(options.prior),
        device=cast("Device", options.device),
        timeline=TimelineSettings(smooth_s=options.smooth, reading=read_reading(options.reading)),
    )
    raise typer.Exit(_analyze_all(options, settings))


def _analyze_all(options: AnalyzeOptions, settings: Settings) -> int:
    """Analyze every recording; return the exit code.

    If a recording fails, its error is printed, the others are analyzed, and the code is 1. Ctrl-C
    writes the timeline so far and keeps what --resume needs; the code is 130.
    """
    from moppet.media import expand_sources, skipped_files

    recordings = expand_sources(options.paths)
    for source in options.paths:
        if left := skipped_files(source):
            more = f" and {len(left) - _MOST_NAMED} more" * (len(left) > _MOST_NAMED)
            names = ", ".join(left[:_MOST_NAMED])
            print(f"moppet: not read in {source}: {names}{more}.", file=sys.stderr)
    if cameras := [r for r in recordings if r.startswith("camera:")]:
        raise UsageError(
            f"analyze reads files, got {cameras[0]}. Use moppet watch, or moppet.stream in Python."
        )
    folders = _result_folders(recordings, options.output)
    failed = 0
    for recording, folder in zip(recordings, folders, strict=True):
        try:
            if not _analyze_one(options, settings, recording, folder):
                return 130
        except UsageError:
            raise
        except MoppetError as error:
            failed += 1
            print(f"moppet: {error}", file=sys.stderr)
        except Exception as error:  # one odd recording must not end the batch
            failed += 1
            print(f"moppet: {_unexpected(error, recording, folder)}", file=sys.stderr)
    if failed and len(recordings) > 1:
        print(f"moppet: {failed} of {len(recordings)} recordings failed.", file=sys.stderr)
    return 1 if failed else 0


def _result_folders(recordings: Sequence[str], folder: Path) -> list[Path]:
    """Return a folder for each recording, named after it; with its suffix if two would be one."""
    stems = [Path(recording).stem or Path(recording).name for recording in recordings]
    found: list[Path] = []
    for recording, stem in zip(recordings, stems, strict=True):
        name = stem if stems.count(stem) == 1 else Path(recording).name
        while folder / name in found:
            name += "_"
        found.append(folder / name)
    return found


def _analyze_one(options: AnalyzeOptions, settings: Settings, recording: str, folder: Path) -> bool:
    """Analyze one recording into its folder; return False if the user stopped it."""
    from moppet.infer.pipeline import Analysis

    started = time.monotonic()
    journal = folder / "journal.arrows"
    resume = options.resume
    if resume and not journal.is_file() and _is_finished(options, settings, recording, folder):
        done = f"{recording} is already analyzed, in {folder}"
        print(done, file=sys.stderr if options.as_json else sys.stdout)
        return True
    with _clean_folder(folder, journal):
        kinds = _check_folder(options, recording, folder)
        analysis = Analysis(recording, settings, journal=journal, resume=resume)
        try:
            with watched("frames") as show:
                name = Path(recording).name
                timeline = analysis.run(lambda at: show(name, at.frames, _total(at)))
        except KeyboardInterrupt:
            part = _with_layers(analysis.timeline(), folder / f"timeline.{kinds[0]}")
            _write(options, kinds, part, folder)
            print(
                f"moppet: stopped. The results so far are in {folder}. To continue, add --resume "
                "to the same command.",
                file=sys.stderr,
            )
            return False
    annotated = _with_layers(timeline, folder / f"timeline.{kinds[0]}")
    written = _write(options, kinds, annotated, folder)
    journal.unlink(missing_ok=True)
    _print_result(options, recording, annotated, written, time.monotonic() - started)
    return True


@contextmanager
def _clean_folder(folder: Path, journal: Path) -> Iterator[None]:
    """Make the folder; if nothing was read into it, leave neither a journal nor a new folder."""
    from moppet.files import result_folder
    from moppet.timeline import read_journal

    begun = journal.is_file()
    try:
        with result_folder(folder):
            try:
                yield
            except MoppetError:
                if not begun and journal.is_file() and not read_journal(journal):
                    journal.unlink()
                raise
    except OSError as error:
        raise MoppetError(f"{folder} cannot be written: {error.strerror}.") from None


def _check_folder(options: AnalyzeOptions, recording: str, folder: Path) -> list[str]:
    """Return the formats to write: those asked for, and those that an earlier run wrote here.

    So no older timeline stays beside the new one. Raises MoppetError if the folder holds the
    results of another recording.
    """
    from moppet.media import recording_sha256
    from moppet.timeline import read_timeline

    kinds = list(options.kinds)
    for kind in FORMATS:
        path = folder / f"timeline.{kind}"
        if not path.is_file():
            continue
        try:
            found = read_timeline(path).metadata
        except TimelineError:
            continue  # damaged: it is replaced if this format is written
        theirs = found.get("source_sha256")
        if theirs is not None and theirs != recording_sha256(recording):
            raise MoppetError(
                f"{folder} holds the results of another recording, {found.get('source_name')}. "
                "Choose another folder with -o, or move these results away."
            )
        kinds += [kind] * (kind not in kinds)
    return kinds


def _unexpected(error: Exception, recording: str, folder: Path) -> str:
    """Write the traceback of an unexpected error to a log, and return a sentence that names it."""
    from moppet.files import one_line, write_text

    log = folder / "error.log"
    told = f"{recording} could not be analyzed ({type(error).__name__}: {one_line(error)})."
    try:
        write_text(log, "".join(traceback.format_exception(error)))
    except (MoppetError, OSError):
        return f"{told} Please report this."
    return f"{told} Please report this with {log}."


def _is_finished(options: AnalyzeOptions, settings: Settings, recording: str, folder: Path) -> bool:
    """Return whether the folder holds the whole timeline that this job would write."""
    from moppet.media import recording_sha256
    from moppet.timeline import read_timeline

    source_sha256 = recording_sha256(recording)
    wanted, names = settings.to_dict(), [field.name for field in fields(settings)]
    for kind in options.kinds:
        try:
            found = read_timeline(folder / f"timeline.{kind}").metadata
        except TimelineError:
            return False
        if not found.get("complete") or found.get("source_sha256") != source_sha256:
            return False
        if any(found["settings"].get(name) != wanted.get(name) for name in names):
            return False
    return True


def _with_layers(machine: Timeline, path: Path) -> Result:
    """Return the timeline with the names and corrections that lie beside its file.

    Where they no longer fit, for example after an analysis with other settings, this is printed,
    and they are left out.
    """
    from moppet.timeline.annotations import AnnotatedTimeline, annotate
    from moppet.timeline.people import People

    try:
        return Result(machine, annotate(machine, path))
    except MoppetError as error:
        print(f"moppet: names and corrections are left out: {error}", file=sys.stderr)
        return Result(machine, AnnotatedTimeline(machine, People(), []))


def _write(
    options: AnalyzeOptions, kinds: Sequence[str], result: Result, folder: Path
) -> list[Path]:
    timeline = result.machine
    written = [timeline.write(folder / f"timeline.{kind}") for kind in kinds]
    if timeline.photos:
        written.append(timeline.write_photos(folder / "photos.csv"))
    elif timeline.metadata.get("files"):  # the folder was analyzed as photos before
        (folder / "photos.csv").unlink(missing_ok=True)
    if not options.no_report:
        from moppet.pages.report import write_report

        written.append(write_report(result.annotated, folder / "report.html"))
    return written


def _print_result(
    options: AnalyzeOptions,
    recording: str,
    result: Result,
    written: Sequence[Path],
    seconds: float,
) -> None:
    from moppet.timeline import summary_lines

    timeline, summary = result.machine, result.annotated.summary()
    if options.as_json:
        files = [str(path) for path in written]
        printed = {"source": recording, "files": files, "summary": summary}
        print(json.dumps(printed, ensure_ascii=False), flush=True)
        return
    count, noun = timeline.metadata["frame_count"], "image" if timeline.photos else "frame"
    print(f"{recording}: {count} {noun}{'s' * (count != 1)} in {seconds:.1f} s")
    lines = _photo_lines(timeline) if timeline.table.num_rows == 1 else summary_lines(summary)
    for line in (*lines, *_notes(recording, timeline), *written):
        print(f"  {line}")
    sys.stdout.flush()


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
