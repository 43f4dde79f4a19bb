"""`moppet analyze`: recordings in, one folder of results each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from moppet.infer.pipeline import Analysis, Settings
from moppet.infer.pipeline import Progress as Position
from moppet.media import expand_sources, file_sha256
from moppet.pages.report import write_report
from moppet.timeline import Timeline, read_timeline, summary_lines
from moppet.values import MoppetError, TimelineError, UsageError

FORMATS: Final = ("parquet", "csv", "json")
_QUIET_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Job:
    """What `moppet analyze` was asked for."""

    sources: Sequence[str]
    folder: Path
    settings: Settings
    formats: tuple[str, ...] = ("parquet",)
    resume: bool = False
    report: bool = True
    as_json: bool = False


def analyze_all(job: Job) -> int:
    """Analyse every recording of a job; return the exit code.

    A recording that fails is named and the others go on; then the code is 1. Ctrl-C leaves the
    timeline so far and the means to resume; then it is 130.
    """
    recordings = expand_sources(job.sources)
    if any(str(r).startswith("camera:") for r in recordings):
        raise UsageError("analyze reads files; a camera never ends. See `moppet.stream`.")
    folders = _result_folders(recordings, job.folder)
    failed = 0
    for recording, folder in zip(recordings, folders, strict=True):
        try:
            if not _analyze_one(job, recording, folder):
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
    """One folder a recording, by its name; its ending too where two would meet."""
    stems = [Path(recording).stem or Path(recording).name for recording in recordings]
    found: list[Path] = []
    for recording, stem in zip(recordings, stems, strict=True):
        name = stem if stems.count(stem) == 1 else Path(recording).name
        while folder / name in found:
            name += "_"
        found.append(folder / name)
    return found


def _analyze_one(job: Job, recording: str, folder: Path) -> bool:
    """Analyse one recording into its folder; return False if the user stopped it."""
    started = time.monotonic()
    folder_existed = folder.is_dir()
    journal = folder / "journal.arrows"
    if job.resume and not journal.is_file() and _is_finished(job, recording, folder):
        _say(job, f"{recording}: finished already, see {folder}")
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        analysis = Analysis(recording, job.settings, journal=journal, resume=job.resume)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be written: {error.strerror}.") from None
    except MoppetError:
        if not folder_existed and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    try:
        with _shown(job, recording) as show:
            timeline = analysis.run(show)
    except KeyboardInterrupt:
        _write(job, analysis.timeline(), folder)
        print(
            f"moppet: stopped; what is done is in {folder}. Go on with the same command and "
            "--resume.",
            file=sys.stderr,
        )
        return False
    written = _write(job, timeline, folder)
    journal.unlink(missing_ok=True)
    _print_result(job, recording, timeline, written, time.monotonic() - started)
    return True


def _is_finished(job: Job, recording: str, folder: Path) -> bool:
    """Whether the folder holds the whole timeline that this job would make."""
    source_sha256 = file_sha256(recording)
    for kind in job.formats:
        try:
            made = read_timeline(folder / f"timeline.{kind}").metadata
        except TimelineError:
            return False
        wanted = job.settings.to_dict()
        if not made.get("complete") or made.get("source_sha256") != source_sha256:
            return False
        if any(made["settings"].get(k) != wanted[k] for k in wanted):
            return False
    return True


def _write(job: Job, timeline: Timeline, folder: Path) -> list[Path]:
    written = [timeline.write(folder / f"timeline.{kind}") for kind in job.formats]
    if job.report:
        written.append(write_report(timeline, folder / "report.html"))
    return written


def _print_result(
    job: Job, recording: str, timeline: Timeline, written: Sequence[Path], seconds: float
) -> None:
    summary = timeline.summary()
    if job.as_json:
        files = [str(path) for path in written]
        line = {"source": recording, "files": files, "summary": summary}
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return
    frames = timeline.metadata["frame_count"]
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{recording}: {frames} frames in {seconds:.1f} s", markup=False)
    for text in summary_lines(summary):
        console.print(f"  {text}", markup=False)
    for path in written:
        console.print(f"  {path}", markup=False)


def _say(job: Job, text: str) -> None:
    print(text, file=sys.stderr if job.as_json else sys.stdout)


class _Bar:
    """A progress bar with frames a second and time left."""

    def __init__(self, name: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task(name, total=None, speed="")
        self._started = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Any:
        self._progress.start()
        return self.show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, position: Position) -> None:
        if self._first is None:
            self._first, self._started = position.frames, time.monotonic()
        elapsed = max(1e-6, time.monotonic() - self._started)
        speed = (position.frames - self._first) / elapsed
        self._progress.update(
            self._task,
            completed=position.frames,
            total=None if position.total is None else max(position.total, position.frames),
            speed=f"{speed:.0f} frames/s" if speed else "",
        )


class _Lines:
    """For pipes: a line every half minute."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = time.monotonic() + _QUIET_EVERY_S

    def __enter__(self) -> Any:
        return self.show

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, position: Position) -> None:
        if time.monotonic() >= self._next:
            self._next += _QUIET_EVERY_S
            total = "" if position.total is None else f" of about {position.total}"
            print(f"{self._name}: frame {position.frames}{total}", file=sys.stderr, flush=True)


def _shown(job: Job, recording: str) -> AbstractContextManager[Any]:
    name = Path(recording).name
    if sys.stderr.isatty():
        return _Bar(name)
    return nullcontext(None) if job.as_json else _Lines(name)
