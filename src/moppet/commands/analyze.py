"""`moppet analyze`: recordings in, one folder of results each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.cohort.recordings import Value
    from moppet.commands.analyze_recording import RecordingJob
    from moppet.infer.devices import Device
    from moppet.infer.pipeline import Settings
    from moppet.media import FoundRecording

_MOST_NAMED: Final = 5
FORMATS: Final = ("parquet", "csv", "json")
SMOOTH_S: Final = 0.25
"""The default of TimelineSettings, here so that the command line starts without it."""


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """What `moppet analyze` is asked for."""

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, images, folders, or patterns in quotes; default: those of --recordings."
        ),
    ] = None
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
    recordings: Annotated[
        Path | None,
        typer.Option(help="List of recordings (.csv): path, participant, and other columns."),
    ] = None
    pattern: Annotated[
        str | None,
        typer.Option(help="Columns in the paths, such as '{participant}_{session}'."),
    ] = None
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", help="Parallel processes.", min=1)] = (
        None
    )
    shard: Annotated[
        str | None, typer.Option(help="Read one of several parts of the recordings, such as 3/8.")
    ] = None
    resume: Annotated[bool, flag("--resume", "Resume an analysis that was stopped.")] = False
    no_report: Annotated[bool, flag("--no-report", "Write no report.html.")] = False
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        read_list(self.formats, FORMATS, "--format")
        read_reading(self.reading)
        if not self.paths and self.recordings is None:
            raise UsageError(
                "analyze needs recordings: name videos, images or folders, or give --recordings."
            )

    @property
    def kinds(self) -> list[str]:
        """The formats to write."""
        return read_list(self.formats, FORMATS, "--format")


def analyze(options: AnalyzeOptions) -> None:
    """Analyze the faces in videos and images.

    Each recording gets a folder with its timeline and a report, which opens in any browser.
    Several are read at once; if one fails, the others are read. With --json, a summary of each
    recording is printed as one line.
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

    Ctrl-C writes the timelines so far and keeps what --resume needs; the code is 130.
    """
    from moppet.cohort.result_folders import kept_names, result_names
    from moppet.cohort.shards import Shard

    shard = None if options.shard is None else Shard.read(options.shard)
    found = _find_all(options)
    infos = _infos(options, found)
    names = kept_names(found, result_names(found), options.output)
    jobs = [
        _job(options, settings, one, name, info)
        for one, name, info in zip(found, names, infos, strict=True)
    ]
    is_alone = len(found) == 1 and found[0].below is None
    if is_alone and shard is None and options.recordings is None:
        return _analyze_one(options, jobs[0])
    from moppet.commands.analyze_batch import Batch, run_batch
    from moppet.infer.pipeline import check_setup

    check_setup(settings)
    if shard is not None:
        mine = shard.indices([_size(one.source) for one in found])
        jobs, names = [jobs[i] for i in mine], [names[i] for i in mine]
    asked = {"resume": options.resume, "as_json": options.as_json}
    return run_batch(Batch(jobs, names, options.output, options.jobs, shard, **asked))


def _find_all(options: AnalyzeOptions) -> list[FoundRecording]:
    """Return the recordings, and print what folders hold besides.

    Raises UsageError if there is nothing to read at one of the paths, or a camera.
    """
    from moppet.cohort.recording_info import find_listed
    from moppet.cohort.recordings import read_recordings
    from moppet.media import find_recordings, skipped_files

    if not options.paths:
        assert options.recordings is not None
        return find_listed(read_recordings(options.recordings), options.recordings)
    found = find_recordings(options.paths, leave_out=options.output)
    for source in options.paths:
        if left := skipped_files(source, leave_out=options.output):
            more = f" and {len(left) - _MOST_NAMED} more" * (len(left) > _MOST_NAMED)
            names = ", ".join(left[:_MOST_NAMED])
            print(f"moppet: not read in {source}: {names}{more}.", file=sys.stderr)
    if cameras := [one.source for one in found if one.source.startswith("camera:")]:
        raise UsageError(
            f"analyze reads files, got {cameras[0]}. Use moppet watch, or moppet.stream in Python."
        )
    return found


def _infos(options: AnalyzeOptions, found: Sequence[FoundRecording]) -> list[dict[str, Value]]:
    """Return what the list and the pattern have of each recording; print what does not fit.

    Where both have a column, the list counts.
    """
    from moppet.cohort.recording_info import PathPattern, infos_of_list
    from moppet.cohort.recordings import read_recordings

    given = []
    if options.pattern is not None:
        given.append(PathPattern(options.pattern).infos(found))
    if options.recordings is not None:
        listed = read_recordings(options.recordings)
        given.append(infos_of_list(listed, options.recordings, found))
    infos: list[dict[str, Value]] = [{} for _ in found]
    for one in given:
        infos = [old | new for old, new in zip(infos, one.infos, strict=True)]
        for note in one.notes:
            print(f"moppet: {note}", file=sys.stderr)
    return infos


def _job(
    options: AnalyzeOptions,
    settings: Settings,
    found: FoundRecording,
    name: str,
    info: Mapping[str, Value],
) -> RecordingJob:
    from moppet.commands.analyze_recording import RecordingJob

    return RecordingJob(
        *(found.source, options.output / name, settings, tuple(options.kinds)),
        report=not options.no_report,
        resume=options.resume,
        as_json=options.as_json,
        info=info,
    )


def _size(source: str) -> int:
    """Return the bytes of a recording, or of the files of a folder."""
    path = Path(source)
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0


def _analyze_one(options: AnalyzeOptions, job: RecordingJob) -> int:
    """Analyze the only recording; return the exit code."""
    from moppet.commands.analyze_recording import analyze_recording

    with watched("frames") as show:
        name = Path(job.recording).name
        outcome = analyze_recording(job, lambda done, total: show(name, done, total))
    for note in outcome.notes:
        print(f"moppet: {note}", file=sys.stderr)
    if outcome.state == "failed":
        print(f"moppet: {outcome.reason}", file=sys.stderr)
    elif outcome.state == "stopped":
        print(
            f"moppet: stopped. The results so far are in {job.folder}. To continue, add --resume "
            "to the same command.",
            file=sys.stderr,
        )
    else:
        is_aside = options.as_json and outcome.state == "kept"
        print(outcome.text, file=sys.stderr if is_aside else sys.stdout, flush=True)
    return outcome.code
