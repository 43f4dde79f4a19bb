"""Where a study's cells run: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any, Final

from moppet.processes import end_with_main
from moppet.values import MoppetError, UsageError, name_hint

Json = dict[str, Any]
RunCell = Callable[[Any], Json]
Executor = Callable[[RunCell, Iterable[Any]], Iterator[Json]]
"""Runs a function over cells, in any order, and yields what it returns."""

ENGINES: Final = ("local", "ray")
_run_alone: RunCell | None = None
"""In a worker process: runs a cell with the process's share of the cores."""


def choose_executor(engine: str = "local", jobs: int = 1) -> Executor:
    """Return what runs a study's cells.

    engine: "local" or "ray". jobs: parallel processes, each with an equal share of the cores; with
        Ray, the cores for one cell on the cluster (`ray start`, or a new one on this machine).
    Raises UsageError for another engine, and MoppetError where Ray is not installed.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}.{name_hint(engine, ENGINES)}")
    if engine == "ray":
        return lambda run, cells: run_on_ray(run, cells, jobs)
    if jobs == 1:
        return run_here
    return lambda run, cells: run_in_processes(run, cells, jobs)


def run_here(run: RunCell, cells: Iterable[Any]) -> Iterator[Json]:
    """Run one cell after another in this process."""
    return map(run, cells)


def run_alone(run: RunCell, cell: Any, threads: int) -> Json:
    """Run one cell in a process of its own, with this number of threads."""
    import torch

    torch.set_num_threads(threads)
    return run(cell)


def run_in_processes(run: RunCell, cells: Iterable[Any], jobs: int) -> Iterator[Json]:
    """Yield the cells' lines as they finish. A cell is taken only when a process is free.

    When a cell raises, no other is started; the exception is raised once those that are running
    have finished and been yielded. Raises MoppetError if a process dies.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = get_context("spawn")
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start, initargs=(run, threads)
    )
    try:
        with pool:
            left = iter(cells)
            running = {pool.submit(_run, cell) for cell in itertools.islice(left, jobs)}
            failed: BaseException | None = None
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                failed = failed or next(filter(None, (f.exception() for f in finished)), None)
                room = 0 if failed else len(finished)
                running |= {pool.submit(_run, cell) for cell in itertools.islice(left, room)}
                yield from (future.result() for future in finished if not future.exception())
            if failed:
                raise failed
    except BrokenProcessPool:
        raise MoppetError(
            "a process of the study ended before its cell was finished, perhaps because memory ran "
            "out. Rerun the same command with fewer --jobs; finished cells are kept."
        ) from None


def _start(run: RunCell, threads: int) -> None:
    """Prepare a worker process: the context is sent once, and Ctrl-C ends it without a message."""
    global _run_alone
    _run_alone = partial(run_alone, run, threads=threads)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    end_with_main()


def _run(cell: Any) -> Json:
    assert _run_alone is not None
    return _run_alone(cell)


def run_on_ray(run: RunCell, cells: Iterable[Any], cores: int) -> Iterator[Json]:
    """Yield the cells' lines as a Ray cluster finishes them, as many at once as it has room for.

    When a cell raises or a worker dies, the error is raised once the running cells have finished
    and been yielded. Raises MoppetError at once where no node has this many cores.
    The cluster is that of RAY_ADDRESS, or of `ray start` on this machine, or a new one that
    listens on 127.0.0.1 only and ends with the study. Its nodes need moppet installed, and
    the recipe's files at the same paths.
    """
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise MoppetError(
            "Ray is not installed. Run pip install 'moppet[dist]', or use --engine local."
        ) from None
    started_here = not ray.is_initialized()
    if started_here:
        _join(ray)
    try:
        whole = ray.put(run)
        task = ray.remote(num_cpus=cores, max_retries=0)(run_alone)
        nodes = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
        room = sum(count // cores for count in nodes)
        if not room:
            raise MoppetError(
                f"a cell needs {cores} cores, but the largest node of this Ray cluster has "
                f"{max(nodes, default=0)}. Use fewer --jobs."
            )
        left = iter(cells)
        running = [task.remote(whole, cell, cores) for cell in itertools.islice(left, room)]
        failed: Any = None
        while running:
            (one,), running = ray.wait(running, num_returns=1)
            try:
                line = ray.get(one)
            except ray.exceptions.RayError as error:
                failed = failed or error
                continue
            more = [] if failed else itertools.islice(left, 1)
            running += [task.remote(whole, cell, cores) for cell in more]
            yield line
        if failed:
            raise _cause_of(failed) from None
    finally:
        if started_here:
            ray.shutdown()


def _join(ray: Any) -> None:
    """Join the cluster that is running, or start one on this machine."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        if place := os.environ.get("RAY_ADDRESS"):
            raise MoppetError(f"no Ray cluster answers at RAY_ADDRESS={place}.") from None
        # Unless told that it is no cluster, Ray replaces 127.0.0.1 by an address others can reach.
        constants: Any = import_module("ray._private.ray_constants")
        constants.ENABLE_RAY_CLUSTER = False
        # Even with its reports disabled, Ray's dashboard process asks the network for the cloud it
        # is in: it is not started.
        services: Any = import_module("ray._private.services")
        services.start_api_server = lambda *_, **__: (None, None)
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


def _cause_of(error: Any) -> Exception:
    """Return the cell's own error; or, where its worker died, an error that says so."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return cause if isinstance(cause, MoppetError) else error
    return MoppetError(
        f"a worker of the Ray cluster ended before its cell was finished ({type(error).__name__}), "
        "perhaps because memory ran out. Rerun the same command; finished cells are kept."
    )
