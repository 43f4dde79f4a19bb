"""Runs `moppet` many times, each in a process of its own with limits, and judges how it ended.

The processes are forks of one that has imported moppet, so that a run costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MOST_MB = 1024
ADDRESS_SPACE = 4 * 2**30
"""Limit of a run's address space in bytes; threads and libraries take 1 to 2 GB of it."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "moppet.commands.main", "moppet.commands.analyze", "moppet.infer.pipeline",
        "moppet.infer.expression_model", "moppet.pages.report", "moppet.coders.programs",
        "onnxruntime", "cv2", "av", "pydantic",
    ]
)  # fmt: skip


class Ended(NamedTuple):
    """How a run ended. code: None if it was killed after its time. peak_mb: of its memory."""

    code: int | None
    seconds: float
    peak_mb: float
    out: str
    err: str


def moppet(*arguments: object, limit_s: float = 60, cwd: Path | None = None) -> Ended:
    """Run `moppet` with these arguments."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder)
        given = ([str(one) for one in arguments], told, cwd)
        process = _FORKS.Process(target=_run, args=given)
        began = time.monotonic()
        process.start()
        process.join(limit_s)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        took_s = time.monotonic() - began
        texts = [
            (told / name).read_text(errors="replace") if (told / name).exists() else ""
            for name in ("out", "err", "peak")
        ]
        return Ended(code, took_s, float(texts[2] or 0) / 1024, texts[0], texts[1])


def _run(arguments: list[str], told: Path, cwd: Path | None) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    os.nice(5)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = ["moppet", *arguments]
    from moppet.commands.main import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (told / "peak").write_text(str(peak))


def faults(ended: Ended, folder: Path | None = None) -> list[str]:
    """Return what is wrong with how a run ended; [] for a result, or for one sentence.

    folder: where its results were to be; a refused run leaves only its log there.
    """
    if ended.code is None:
        return [f"was killed after {ended.seconds:.0f} s"]
    found = []
    if "Traceback" in ended.err + ended.out:
        found.append("traceback")
    if ended.code not in (0, 1, 2):
        found.append(f"exit code {ended.code}")
    if ended.peak_mb > MOST_MB:
        found.append(f"{ended.peak_mb:,.0f} MB of memory")
    told = [line for line in ended.err.splitlines() if line.startswith("moppet:")]
    if ended.code in (1, 2) and not told and "Usage:" not in ended.err:
        found.append("no sentence")
    if ended.code and folder is not None and folder.exists():
        left = [path for path in folder.rglob("*") if path.is_file() and path.name != "error.log"]
        found += [f"left {path.relative_to(folder)}" for path in sorted(left)[:3]]
    return found


class Tally:
    """Counts of runs by kind and ending, printed as a table at the end."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.failed: list[str] = []
        self.began = time.monotonic()
        self.peak_mb = 0.0

    def add(self, kind: str, case: str, ended: Ended, wrong: Sequence[str]) -> None:
        """Count a run. wrong: its faults."""
        how = "failed" if wrong else "read" if ended.code == 0 else "refused"
        self.counts.setdefault(kind, Counter())[how] += 1
        self.peak_mb = max(self.peak_mb, ended.peak_mb)
        if wrong:
            last = ended.err.strip().splitlines()[-1:] or [""]
            self.failed.append(f"{kind}, {case}: {'; '.join(wrong)} | {last[0][:200]}")

    def close(self) -> None:
        """Print the table, and fail the test if a run failed."""
        print(f"\n{'kind':24}{'read':>8}{'refused':>9}{'failed':>8}")
        for kind, counts in self.counts.items():
            print(f"{kind:24}{counts['read']:8}{counts['refused']:9}{counts['failed']:8}")
        tried = sum(sum(counts.values()) for counts in self.counts.values())
        took_s = time.monotonic() - self.began
        print(
            f"{len(self.failed)} of {tried} failed, in {took_s:.0f} s, at most "
            f"{self.peak_mb:.0f} MB each"
        )
        assert not self.failed, "\n".join(self.failed)
