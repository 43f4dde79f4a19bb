"""Many recordings of `moppet analyze`: in parallel, with a ledger, one failure stops nothing."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moppet.commands.analyze_recording import Outcome, RecordingJob, analyze_recording
from moppet.commands.console import counted, watched_batch
from moppet.files import file_lock
from moppet.processes import Send, WorkerDied, free_processes, supervise
from moppet.values import MoppetError

if TYPE_CHECKING:
    from moppet.cohort.ledger import Ledger, LedgerEntry, State
    from moppet.cohort.shards import Shard

PROCESS_BYTES: Final = 600_000_000
"""Memory of a process that reads a video of 1080 lines, with some room."""
LOCK: Final = ".analyze.lock"
_SEND_S: Final = 0.5
_NAMED: Final = 40


@dataclass(frozen=True)
class Batch:
    """Recordings to read into one folder of results.

    names: the folders of the jobs below `results`. processes: None for what the machine holds; 1
    reads one after another in this process. shard: of these recordings, which are its only.
    """

    jobs: Sequence[RecordingJob]
    names: Sequence[str]
    results: Path
    processes: int | None = None
    shard: Shard | None = None
    resume: bool = False
    as_json: bool = False


def run_batch(batch: Batch) -> int:
    """Read the recordings and return the exit code: 0, 1 if any failed, 130 after Ctrl-C.

    Raises MoppetError if another run writes into the folder, or it cannot be written.
    """
    from moppet.cohort.ledger import Ledger

    started = time.monotonic()
    try:
        batch.results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoppetError(f"{batch.results} cannot be made: {error.strerror}.") from None
    with _only_run(batch):
        ledger = Ledger(batch.results, batch.shard, resume=batch.resume)
        jobs = dict(zip(batch.names, batch.jobs, strict=True))
        kept = {name: entry for name in jobs if (entry := _kept(ledger, name, jobs[name]))}
        left = {name: job for name, job in jobs.items() if name not in kept}
        results = _Results(batch, ledger, kept)
        _read_all(batch, left, results)
    results.print_table(time.monotonic() - started)
    if results.was_stopped:
        again = "" if batch.resume else ", with --resume"
        print(f"moppet: stopped. To continue, run the same command again{again}.", file=sys.stderr)
        return 130
    return 1 if results.failed else 0


@contextmanager
def _only_run(batch: Batch) -> Iterator[None]:
    """Keep the folder, or this shard of it, to this run; MoppetError if another one works there."""
    part = "" if batch.shard is None else f"-{batch.shard.number}-of-{batch.shard.count}"
    with ExitStack() as stack:
        lock = batch.results / f"{LOCK}{part}"
        if not stack.enter_context(file_lock(lock)):
            what = "" if batch.shard is None else f"shard {batch.shard} of "
            raise MoppetError(
                f"another moppet analyze is working at {what}{batch.results}: wait for it, choose "
                "another folder with -o, or divide the recordings with --shard."
            )
        yield


def _kept(ledger: Ledger, name: str, job: RecordingJob) -> LedgerEntry | None:
    """Return the entry of a recording whose results are whole; None if it must be read.

    The file counts as unchanged if its size and time are: the hash of thousands of videos would
    take hours.
    """
    from moppet.cohort.ledger import READ, same_file

    entry = ledger.entry(name) if job.resume else None
    if entry is None or entry.state != READ or not same_file(entry, Path(job.recording)):
        return None
    if entry.settings != _plain_settings(job) or entry.info != dict(job.info):
        return None
    files = [f"timeline.{kind}" for kind in job.kinds] + ["report.html"] * job.report
    is_whole = all((job.folder / file).is_file() for file in files)
    return entry if is_whole and not (job.folder / "journal.arrows").exists() else None


def _plain_settings(job: RecordingJob) -> dict[str, Any]:
    import json

    plain: dict[str, Any] = json.loads(json.dumps(job.settings.to_dict()))
    return plain


def _read_all(batch: Batch, left: dict[str, RecordingJob], results: _Results) -> None:
    processes = batch.processes or min(free_processes(PROCESS_BYTES), max(len(left), 1))
    with watched_batch(len(batch.jobs), len(results.kept)) as progress, _stop_flag() as stopped:
        if batch.processes == 1:
            for name, job in left.items():
                show = partial(_show_here, progress.show, name, stopped)
                results.add(name, job, analyze_recording(job, show), progress)
                if stopped():
                    break
        else:
            ends = supervise(
                _read_there,
                list(left.items()),
                processes,
                on_message=lambda task, at: progress.show(task[0], *at),
                stopping=stopped,
            )
            with closing(ends):
                for (name, job), end in ends:
                    if isinstance(end, WorkerDied):
                        end = Outcome("failed", 1, reason=f"{job.recording}: {end.reason}.")
                    results.add(name, job, end, progress)
        results.was_stopped = stopped() or results.was_stopped


def _show_here(
    show: Callable[[str, int, int | None], None],
    name: str,
    stopped: Callable[[], bool],
    done: int,
    total: int | None,
) -> None:
    show(name, done, total)
    if stopped():
        raise KeyboardInterrupt


def _read_there(task: tuple[str, RecordingJob], send: Send) -> Outcome:
    """Read a recording in a process of its own."""
    sent = 0.0

    def show(done: int, total: int | None) -> None:
        nonlocal sent
        if time.monotonic() - sent >= _SEND_S:
            sent = time.monotonic()
            send((done, total))

    return analyze_recording(task[1], show)


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """Give a function that returns whether Ctrl-C was pressed, or SIGTERM came as from Slurm.

    The second time, a KeyboardInterrupt is raised at once.
    """
    pressed = 0

    def press(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            raise KeyboardInterrupt

    former = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: pressed > 0
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _Results:
    """What became of the recordings: printed and written to the ledger as they finish."""

    def __init__(self, batch: Batch, ledger: Ledger, kept: dict[str, LedgerEntry]) -> None:
        self._batch, self._ledger, self.kept = batch, ledger, kept
        self._outcomes: dict[str, Outcome] = {}
        self._hashes = {name: entry.source_sha256 for name, entry in kept.items()}
        self.was_stopped = False

    @property
    def failed(self) -> list[str]:
        """The names of those that could not be read."""
        return [name for name, one in self._outcomes.items() if one.state == "failed"]

    def add(self, name: str, job: RecordingJob, outcome: Outcome, progress: Any) -> None:
        """Print what became of a recording, and write it down."""
        from moppet.cohort.ledger import FAILED, READ, STOPPED, LedgerEntry, size_and_time

        progress.finish(name)
        self._outcomes[name] = outcome
        for note in outcome.notes:
            progress.print(f"moppet: {job.recording}: {note}", error=True)
        if outcome.reason:
            progress.print(f"moppet: {outcome.reason}", error=True)
        if outcome.text:
            progress.print(outcome.text, error=self._batch.as_json and outcome.state == "kept")
        states: dict[str, State] = {
            "read": READ, "kept": READ, "failed": FAILED, "stopped": STOPPED,
        }  # fmt: skip
        state = states[outcome.state]
        self.was_stopped |= state == STOPPED
        if state == READ:
            self._hashes[name] = outcome.source_sha256
        self._ledger.add(
            LedgerEntry(
                recording=job.recording,
                folder=name,
                state=state,
                reason=outcome.reason,
                frames=outcome.frames,
                analysis_s=round(outcome.seconds, 2),
                source_sha256=outcome.source_sha256,
                settings=_plain_settings(job),
                info=dict(job.info),
                **size_and_time(Path(job.recording)),
            )
        )

    def print_table(self, seconds: float) -> None:
        """Print how many were read, and which were not and why."""
        outcomes = list(self._outcomes.values())
        read = [one for one in outcomes if one.state == "read"]
        kept = len(self.kept) + sum(one.state == "kept" for one in outcomes)
        rows = {
            "read": len(read),
            "already read": kept,
            "failed": len(self.failed),
            "stopped": sum(one.state == "stopped" for one in outcomes),
            "not begun": len(self._batch.jobs) - len(self.kept) - len(outcomes),
        }
        frames = sum(one.frames or 0 for one in read)
        shard = f" of shard {self._batch.shard}" if self._batch.shard else ""
        parts = ", ".join(f"{n} {what}" for what, n in rows.items() if n or what == "read")
        lines = [
            f"{counted(len(self._batch.jobs), 'recording')}{shard}: {parts}; "
            f"{counted(frames, 'frame')} in {seconds:.1f} s. Ledger: {self._ledger.path}"
        ]
        for name in self.failed[:_NAMED]:
            lines.append(f"  failed: {self._outcomes[name].reason}")
        if len(self.failed) > _NAMED:
            lines.append(f"  and {len(self.failed) - _NAMED} more failed: see the ledger")
        by_hash: dict[str, str] = {}
        for name, source_sha256 in self._hashes.items():
            if source_sha256 and by_hash.setdefault(source_sha256, name) != name:
                lines.append(f"  note: {by_hash[source_sha256]} and {name} are the same recording")
        file = sys.stderr if self._batch.as_json else sys.stdout
        print("\n".join(lines), file=file, flush=True)
