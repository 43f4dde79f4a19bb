"""Several processes: tasks run in any order, and no process outlives the main one."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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

Tell = Callable[[Any], None]
"""Sends a message about a task to the main process; raises KeyboardInterrupt to end the task."""


@dataclass(frozen=True)
class Died:
    """What became of a task whose process ended. reason: why, as the rest of a sentence."""

    reason: str


def supervise(
    work: Callable[[Task, Tell], Made],
    tasks: Iterable[Task],
    jobs: int,
    *,
    heard: Callable[[Task, Any], None],
    stopping: Callable[[], bool],
) -> Iterator[tuple[Task, Made | Died]]:
    """Yield each task and what `work` returns for it, as they finish, from `jobs` processes.

    A process that ends in the middle of a task ends this task alone: another one takes its place.
    work: a function of a module; it sends messages with its second argument. heard: gets a task
    and its message. stopping: asked several times a second; once it returns True, no further task
    is begun, and the running ones get a KeyboardInterrupt when they next send a message.
    """
    waiting = iter(tasks)
    workers: list[_Worker[Task, Made]] = []
    told = False
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
            if stopping() and not told:
                told = True
                for one in running:
                    one.stop()
            connection.wait([one.pipe for one in running], timeout=_WAIT_S)
            for one in running:
                yield from one.answers(heard)
            workers = [one for one in workers if one.alive]
    finally:
        for one in workers:
            one.end()


class _Worker(Generic[Task, Made]):
    """A process that does one task after another."""

    def __init__(self, work: Callable[[Task, Tell], Made]) -> None:
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

    def answers(self, heard: Callable[[Task, Any], None]) -> Iterator[tuple[Task, Made | Died]]:
        """Yield the end of the task if it came; pass on the messages before it."""
        (task,) = self._tasks
        try:
            while self.pipe.poll():
                kind, value = self.pipe.recv()
                if kind == "made":
                    self._tasks = []
                    yield task, value
                    return
                heard(task, value)
        except (EOFError, OSError):
            self._process.join()
            self.alive, self._tasks = False, []
            yield task, Died(_end_of(self._process.exitcode))

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


def _serve(work: Callable[[Any, Tell], Any], pipe: Any) -> None:
    _begin()

    def tell(message: Any) -> None:
        pipe.send(("told", message))
        if pipe.poll():
            raise KeyboardInterrupt

    while True:
        try:
            kind, task = pipe.recv()
        except EOFError:
            return
        if kind == "task":
            pipe.send(("made", work(task, tell)))


def free_processes(memory_bytes: int) -> int:
    """Return how many processes of this size the cores and the free memory hold; at least 1.

    Limits that a scheduler or container sets for this process count.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = [_number_in("/proc/meminfo", "MemAvailable:")]
    free = [kib * 1024 for kib in free if kib is not None]
    most = _number_in("/sys/fs/cgroup/memory.max")
    used = _number_in("/sys/fs/cgroup/memory.current")
    if most is not None and used is not None:
        free.append(most - used)
    held = min((room // memory_bytes for room in free), default=1)
    return max(1, min(cores or 1, held))


def _number_in(path: str, key: str = "") -> int | None:
    """Return the first whole number in a file of the kernel, after a key; None if there is none."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    word = next(iter(text[text.find(key) + len(key) :].split()), "") if key in text else ""
    return int(word) if word.isdigit() else None
