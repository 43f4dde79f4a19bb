"""`moppet analyze`: recordings in, one folder of results each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moppet.commands.console import watched
from moppet.commands.options import (
    EndOption,
    JsonOption,
    ModelOption,
    StartOption,
    complete_detector,
    flag,
    format_option,
    output_option,
    read_list,
)
from moppet.values import MoppetError, TimelineError, UsageError

if TYPE_CHECKING:
    from moppet.infer.pipeline import Progress, Settings
    from moppet.timeline import Timeline

FORMATS: Final = ("parquet", "csv", "json")
SMOOTH_S: Final = 0.25
"""The default of TimelineSettings, here so that the command line starts without it."""


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
    resume: Annotated[bool, flag("--resume", "Resume an analysis that was stopped.")] = False
    no_report: Annotated[bool, flag("--no-report", "Write no report.html.")] = False
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        read_list(self.formats, FORMATS, "--format")

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
    from moppet.infer.pipeline import Settings
    from moppet.timeline import TimelineSettings

    settings = Settings(
        model=options.model,
        detector=options.detector,
        detector_model=None if options.detector_model is None else str(options.detector_model),
        every=options.every,
        start_s=options.start,
        end_s=options.end,
        detect_every_frame=options.detect_every_frame,
        min_face_px=options.min_face,
        timeline=TimelineSettings(smooth_s=options.smooth),
    )
    raise typer.Exit(_analyze_all(options, settings))


def _analyze_all(options: AnalyzeOptions, settings: Settings) -> int:
    """Analyze every recording; return the exit code.

    If a recording fails, its error is printed, the others are analyzed, and the code is 1. Ctrl-C
    writes the timeline so far and keeps what --resume needs; the code is 130.
    """
    from moppet.media import expand_sources

    recordings = expand_sources(options.paths)
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
    folder_existed = folder.is_dir()
    journal = folder / "journal.arrows"
    if (
        options.resume
        and not journal.is_file()
        and _is_finished(options, settings, recording, folder)
    ):
        done = f"{recording} is already analyzed, in {folder}"
        print(done, file=sys.stderr if options.as_json else sys.stdout)
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        analysis = Analysis(recording, settings, journal=journal, resume=options.resume)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be written: {error.strerror}.") from None
    except MoppetError:
        if not folder_existed and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    try:
        with watched("frames") as show:
            timeline = analysis.run(lambda at: show(Path(recording).name, at.frames, _total(at)))
    except KeyboardInterrupt:
        _write(options, analysis.timeline(), folder)
        print(
            f"moppet: stopped. The results so far are in {folder}. To continue, add --resume to "
            "the same command.",
            file=sys.stderr,
        )
        return False
    written = _write(options, timeline, folder)
    journal.unlink(missing_ok=True)
    _print_result(options, recording, timeline, written, time.monotonic() - started)
    return True


def _is_finished(options: AnalyzeOptions, settings: Settings, recording: str, folder: Path) -> bool:
    """Return whether the folder holds the whole timeline that this job would write."""
    from moppet.media import recording_sha256
    from moppet.timeline import read_timeline

    source_sha256 = recording_sha256(recording)
    wanted = settings.to_dict()
    for kind in options.kinds:
        try:
            found = read_timeline(folder / f"timeline.{kind}").metadata
        except TimelineError:
            return False
        if not found.get("complete") or found.get("source_sha256") != source_sha256:
            return False
        if any(found["settings"].get(k) != wanted[k] for k in wanted):
            return False
    return True


def _write(options: AnalyzeOptions, timeline: Timeline, folder: Path) -> list[Path]:
    written = [timeline.write(folder / f"timeline.{kind}") for kind in options.kinds]
    if not options.no_report:
        from moppet.pages.report import write_report

        written.append(write_report(timeline, folder / "report.html"))
    return written


def _print_result(
    options: AnalyzeOptions,
    recording: str,
    timeline: Timeline,
    written: Sequence[Path],
    seconds: float,
) -> None:
    from moppet.timeline import summary_lines

    summary = timeline.summary()
    if options.as_json:
        files = [str(path) for path in written]
        result = {"source": recording, "files": files, "summary": summary}
        print(json.dumps(result, ensure_ascii=False), flush=True)
        return
    print(f"{recording}: {timeline.metadata['frame_count']} frames in {seconds:.1f} s")
    for line in (*summary_lines(summary), *written):
        print(f"  {line}")
    sys.stdout.flush()


def _total(at: Progress) -> int | None:
    return None if at.total is None else max(at.total, at.frames)
