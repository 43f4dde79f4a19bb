"""Several processes: tasks run in any order, and no process outlives the main one."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import cv2

from moppet.values import MoppetError

Task = TypeVar("Task")
Made = TypeVar("Made")


def run_tasks(work: Callable[[Task], Made], tasks: Sequence[Task], jobs: int) -> Iterator[Made]:
    """Yield what `work` returns for each task, as they finish; MoppetError if a process dies.

    work: a function of a module or a partial of one, as other processes import it.
    """
    if jobs == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)), mp_context=get_context("spawn"), initializer=_begin
    )
    try:
        left = iter(tasks)
        running: set[Future[Made]] = set()
        while True:
            running |= {
                pool.submit(work, task) for task in itertools.islice(left, 2 * jobs - len(running))
            }
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)
    except BrokenProcessPool:
        raise MoppetError(
            "a process ended in the middle of its work; was there enough memory? Rerun the same "
            "command with fewer --jobs to resume."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Prepare a process: Ctrl-C ends the main one, whose end ends the others; one thread each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_main()
    cv2.setNumThreads(1)
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")


def end_with_main() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""

    def wait_for_main() -> None:
        if main := parent_process():
            main.join()
            os._exit(1)

    threading.Thread(target=wait_for_main, daemon=True).start()


# ---------------------------------------------------------- tasks of which one may fail by itself

_STOP: Final = "stop"
_WAIT_S: Final = 0.3
_GRACE_S: Final = 20.0  # Slurm waits 30 s after a SIGTERM

Send = Callable[[Any], None]
"""Sends a message about a task to the main process; raises KeyboardInterrupt to end the task."""


@dataclass(frozen=True)
class WorkerDied:
    """What became of a task whose process ended. reason: why, as the rest of a sentence."""

    reason: str


def supervise(
    work: Callable[[Task, Send], Made],
    tasks: Iterable[Task],
    jobs: int,
    *,
    on_message: Callable[[Task, Any], None],
    stopping: Callable[[], bool],
) -> Generator[tuple[Task, Made | WorkerDied]]:
    """Yield each task and what `work` returns for it, as they finish, from `jobs` processes.

    A process that ends in the middle of a task ends this task alone: another one takes its place.
    work: a function of a module; it sends messages with its second argument. on_message: gets a
    task and its message. stopping: asked several times a second; once it returns True, no further
    task is begun, and the running ones get a KeyboardInterrupt when they next send a message. Close
    the iterator to end all processes.
    """
    waiting = iter(tasks)
    workers: list[_Worker[Task, Made]] = []
    were_stopped = False
    try:
        while True:
            while not stopping() and sum(one.busy for one in workers) < jobs:
                task = next(waiting, _STOP)
                if task is _STOP:
                    break
                idle = next((one for one in workers if not one.busy), None)
                if idle is None:
                    workers.append(idle := _Worker(work))
                idle.begin(task)  # type: ignore[arg-type]
            running = [one for one in workers if one.busy]
            if not running:
                return
            if stopping() and not were_stopped:
                were_stopped = True
                for one in running:
                    one.stop()
            connection.wait([one.pipe for one in running], timeout=_WAIT_S)
            for one in running:
                yield from one.answers(on_message)
            workers = [one for one in workers if one.alive]
    finally:
        for one in workers:
            one.end()


class _Worker(Generic[Task, Made]):
    """A process that does one task after another."""

    def __init__(self, work: Callable[[Task, Send], Made]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._tasks: list[Task] = []
        self.alive = True

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def begin(self, task: Task) -> None:
        self._tasks = [task]
        self._send(("task", task))

    def stop(self) -> None:
        self._send((_STOP, None))

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # if it ended, the next look at its pipe finds out
            self.pipe.send(message)

    def answers(
        self, on_message: Callable[[Task, Any], None]
    ) -> Iterator[tuple[Task, Made | WorkerDied]]:
        """Yield the end of the task if it came; pass on the messages before it."""
        (task,) = self._tasks
        try:
            while self.pipe.poll():
                kind, value = self.pipe.recv()
                if kind == "made":
                    self._tasks = []
                    yield task, value
                    return
                on_message(task, value)
        except (EOFError, OSError):
            self._process.join()
            self.alive, self._tasks = False, []
            yield task, WorkerDied(_end_of(self._process.exitcode))

    def end(self) -> None:
        """End the process, also in the middle of a task."""
        self.pipe.close()
        if self.busy:
            self._process.kill()
        self._process.join()


def _end_of(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with the code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    memory = "; was there enough memory? Fewer --jobs take less" * (name == "SIGKILL")
    return f"its process was ended by {name}{memory}"


def _serve(work: Callable[[Any, Send], Any], pipe: Any) -> None:
    _begin()
    signal.signal(signal.SIGTERM, _end_soon)

    def send(message: Any) -> None:
        pipe.send(("message", message))
        if pipe.poll():
            raise KeyboardInterrupt

    while True:
        try:
            kind, task = pipe.recv()
        except EOFError:
            return
        if kind == "task":
            pipe.send(("made", work(task, send)))


def _end_soon(*_: object) -> None:
    """End this process in a while: Slurm sends SIGTERM to all, and the main one stops the tasks."""
    timer = threading.Timer(_GRACE_S, os._exit, [1])
    timer.daemon = True
    timer.start()


def free_processes(memory_bytes: int) -> int:
    """Return how many processes of this size the cores and the free memory hold; at least 1.

    Limits that a scheduler or container sets for this process count. Where the free memory is not
    known, half of the whole is taken to be free.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = [1024 * kib for kib in _numbers_in(Path("/proc/meminfo"), "MemAvailable:")]
    if not free and hasattr(os, "sysconf"):
        free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    groups = _control_groups()
    quotas = []
    for group in groups:
        most = _numbers_in(group / "memory.max")
        used = _numbers_in(group / "memory.current")
        cached = _numbers_in(group / "memory.stat", "inactive_file ")
        if most and used:
            free.append(most[0] - used[0] + sum(cached))
        if len(cpu := _numbers_in(group / "cpu.max")) == 2:  # microseconds of how many
            quotas.append(max(1, cpu[0] // cpu[1]))
    return max(1, min(cores or 1, *quotas, *(room // memory_bytes for room in free)))


def _control_groups() -> list[Path]:
    """Return the folders of the groups (cgroup v2) whose limits hold for this process."""
    top = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    groups = [top]
    for line in lines:
        if line.startswith("0::/"):
            for name in Path(line.removeprefix("0::/")).parts:
                groups.append(groups[-1] / name)
    return groups


def _numbers_in(path: Path, key: str = "") -> list[int]:
    """Return the whole numbers of a file's line after a key; none if there is no such line."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    words = next((line.removeprefix(key).split() for line in lines if line.startswith(key)), [])
    return [int(word) for word in words if word.isdigit()]
