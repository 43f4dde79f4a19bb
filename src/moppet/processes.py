"""Several processes: tasks run in any order, and no process outlives the main one."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

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
