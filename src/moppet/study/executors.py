"""Where a study's cells run: here, in local processes, or on a Ray cluster."""

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

from moppet.study.cells import Executor, Json, run_alone, run_here
from moppet.values import MoppetError, UsageError

ENGINES: Final = ("local", "ray")
Make = Callable[[Any], Json]
_alone: Make | None = None
"""In a process: makes a cell with the threads that are the process's share."""


def choose_engine(engine: str = "local", jobs: int = 1) -> Executor:
    """Return what runs a study's cells.

    engine: "local" or "ray". jobs: processes at once, each with an even share of the cores; with
        Ray, cores that a cell takes of the cluster (`ray start`, or a fresh one on this machine).
    Raises UsageError for another engine, MoppetError where Ray is not installed.
    """
    if engine not in ENGINES:
        raise UsageError(f"an engine is one of {', '.join(ENGINES)}, but {engine!r} came.")
    if engine == "ray":
        return lambda make, cells: run_on_ray(make, cells, jobs)
    if jobs == 1:
        return run_here
    return lambda make, cells: run_in_processes(make, cells, jobs)


def run_in_processes(make: Make, cells: Iterable[Any], jobs: int) -> Iterator[Json]:
    """Yield cells' lines as they are finished. A cell is taken up only when a process is free.

    Raises MoppetError if a process dies, and what a cell raises, once those at work beside it are
    finished: no further one is begun then, and none is lost.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = get_context("spawn")
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(make, threads)
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
            "a process of the study ended before its cell was done, perhaps for want of memory: "
            "run the same command again, with fewer --jobs; what is finished is kept."
        ) from None


def _begin(make: Make, threads: int) -> None:
    """Prepare a process: what makes a cell comes to it once, and Ctrl-C ends it without a word."""
    global _alone
    _alone = partial(run_alone, make, threads=threads)
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def _run(cell: Any) -> Json:
    assert _alone is not None
    return _alone(cell)


def run_on_ray(make: Make, cells: Iterable[Any], cores: int) -> Iterator[Json]:
    """Yield cells' lines as a Ray cluster finishes them; as many run at once as it has room for.

    What a cell raises, or a worker that dies, is raised once those at work beside it are finished;
    none is lost. Raises MoppetError at once where no node has so many cores.
    The cluster is that of RAY_ADDRESS or of `ray start` on this machine; else one is begun here,
    which listens on 127.0.0.1 alone and ends with the study. Its nodes need moppet installed, and
    whatever the recipe's paths name at the same place.
    """
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise MoppetError(
            "Ray is not installed: pip install 'moppet[dist]', or use --engine local."
        ) from None
    begun_here = not ray.is_initialized()
    if begun_here:
        _join(ray)
    try:
        whole = ray.put(make)
        task = ray.remote(num_cpus=cores, max_retries=0)(run_alone)
        nodes = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
        room = sum(count // cores for count in nodes)
        if not room:
            raise MoppetError(
                f"a cell of {cores} cores has no room on this cluster, whose largest node has "
                f"{max(nodes, default=0)}: ask for fewer --jobs."
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
        if begun_here:
            ray.shutdown()


def _join(ray: Any) -> None:
    """Join the cluster that is there, or begin one of this machine."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        if place := os.environ.get("RAY_ADDRESS"):
            raise MoppetError(f"no Ray cluster answers at RAY_ADDRESS={place}.") from None
        # Ray takes 127.0.0.1 for an address that others can reach, unless it may be no cluster.
        constants: Any = import_module("ray._private.ray_constants")
        constants.ENABLE_RAY_CLUSTER = False
        # Even with its reports disabled, Ray's dashboard process asks the network for the cloud it
        # is in: it is not started.
        services: Any = import_module("ray._private.services")
        services.start_api_server = lambda *_, **__: (None, None)
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


def _cause_of(error: Any) -> Exception:
    """A cell's own sentence, if it ended with one; what it raised; or that its worker died."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return cause if isinstance(cause, MoppetError) else error
    return MoppetError(
        f"a worker of the Ray cluster ended before its cell was done ({type(error).__name__}), "
        "perhaps for want of memory: run the same command again; what is finished is kept."
    )
