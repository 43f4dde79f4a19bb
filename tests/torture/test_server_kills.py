"""Kills of the server and of its worker, anywhere in a job: the result is the unbroken one."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from moppet.infer.pipeline import Analysis, Settings
from moppet.timeline import read_timeline
from serving import Server, serving

RUNS = 20
HOWS = ("server", "worker", "both", "stopped", "server, twice")
EXAMPLE = Path(__file__).parents[2] / "examples" / "child.mp4"


def job(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.ask("GET", "/api/jobs/1")[2])
    return found


def worker_of(server: Server) -> list[int]:
    """The processes that the server started."""
    path = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    return [
        int(child)
        for task in Path(path).parents[1].iterdir()
        for child in (task / "children").read_text().split()
    ]


def end(server: Server) -> dict[str, Any]:
    """Wait until the job has ended, and return it."""
    limit = time.monotonic() + 120
    while (found := job(server))["state"] in ("queued", "running"):
        assert time.monotonic() < limit, found
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def whole() -> Any:
    return Analysis(str(EXAMPLE), Settings()).run()


@pytest.mark.parametrize("number", range(RUNS))
def test_a_killed_job_equals_an_unbroken_one(tmp_path: Path, number: int, whole: Any) -> None:
    rng, how = random.Random(number), HOWS[number % len(HOWS)]
    work = tmp_path / "work"
    body = json.dumps({"path": str(EXAMPLE)}).encode()
    printed = ""
    for round_number in range(2 if how == "server, twice" else 1):
        with serving(work, "--no-browser") as server:
            if not round_number:
                assert server.ask("POST", "/api/jobs", body)[0] == 201
            time.sleep(rng.uniform(0.2, 5.0))
            workers = worker_of(server)
            if how in ("worker", "both"):
                for worker in workers:
                    with suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
            if how == "worker":
                if end(server)["state"] == "failed":
                    assert server.ask("POST", "/api/jobs/1/resume", b"")[0] == 200
                assert end(server)["state"] == "done"
            elif how == "stopped":
                server.process.send_signal(signal.SIGINT)
                server.process.wait(30)
            else:
                server.process.kill()
                server.process.wait()
        printed += server.printed
    with closing(sqlite3.connect(work / "queue.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with serving(work, "--no-browser") as server:
        assert end(server)["state"] == "done"
    printed += server.printed
    (path,) = work.glob("results/*/timeline.parquet")
    assert read_timeline(path).table.equals(whole.table), f"{how} differs"
    assert "Traceback" not in printed and "BrokenPipe" not in printed, printed
