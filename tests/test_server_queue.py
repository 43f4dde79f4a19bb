"""The queue survives what a disk, a database, a worker or other requests do to it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from moppet.infer.pipeline import Analysis, Settings
from moppet.server import job_queue
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.timeline import read_timeline
from moppet.values import MoppetError, UsageError
from serving import Server, serving

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"
BEARER = {"authorization": f"Bearer {TOKEN}"}
EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
WORKER = """
import json, sys, time
from pathlib import Path
task = json.load(sys.stdin)
print("a library's message")
print("[" * 100_000, flush=True)
for frame in range(10):
    print(json.dumps({"frames": frame, "total": 10}), flush=True)
    time.sleep(0.02)
    while frame == 3 and Path(task["folder"]).with_name("hold").exists():
        time.sleep(0.02)
print(json.dumps({"done": 10}), flush=True)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(job_queue, "WORKER", (sys.executable, str(script)))
    monkeypatch.setattr(job_queue, "_PAUSES_S", (0.02, 0.1))
    monkeypatch.setattr(job_queue, "_SAVE_S", 0.0)


@pytest.fixture
def jobs(workspace: Workspace) -> Iterator[Queue]:
    made = Queue(workspace)
    yield made
    made.stop()


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def full_disk(*_: Any, **__: Any) -> None:
    raise OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full"))


class FullDisk:
    """Lets every write of a queue fail while it is `full`."""

    def __init__(self, queue: Queue) -> None:
        from sqlalchemy import event

        self.full = False
        event.listen(queue._engine, "before_cursor_execute", self._execute)

    def _execute(self, *given: Any) -> None:
        if self.full and not str(given[2]).startswith("SELECT"):
            full_disk()


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_full_disk_makes_the_queue_wait_and_no_longer(
    jobs: Queue, capfd: pytest.CaptureFixture[str], when: str
) -> None:
    first, second = (jobs.add(Path(f"/a/{i}.mp4"), Settings())["id"] for i in range(2))
    disk = FullDisk(jobs)
    disk.full = when == "before"
    hold = jobs.workspace.results / "hold"
    if when == "during":
        hold.write_bytes(b"")
    jobs.start()
    if when == "during":
        until(lambda: jobs.job(first).frames == 3)
        disk.full = True
        hold.unlink()
    reason = until(lambda: jobs.about(first)["waiting"])
    assert "the disk is full" in reason and "Make room" in reason
    with pytest.raises(MoppetError, match="the disk is full"):
        jobs.add(EXAMPLE, Settings())
    time.sleep(0.5)
    assert jobs.job(second).state == "queued" and jobs._thread.is_alive()
    disk.full = False
    until(lambda: jobs.job(second).state == "done")
    assert jobs.job(first).state == "done" and jobs.about(first)["waiting"] is None
    printed = capfd.readouterr().err
    assert printed.count("the queue waits") == 1 and "Traceback" not in printed
    assert printed.count("the queue continues") == 1


def test_a_server_that_stops_while_the_disk_is_full_resumes_the_job(
    workspace: Workspace, jobs: Queue
) -> None:
    number = jobs.add(EXAMPLE, Settings())["id"]
    disk = FullDisk(jobs)
    hold = jobs.workspace.results / "hold"
    hold.write_bytes(b"")
    jobs.start()
    until(lambda: jobs.job(number).frames == 3)
    disk.full = True
    hold.unlink()
    until(lambda: jobs._problem)
    jobs.stop()
    assert not jobs._thread.is_alive()
    assert Queue(workspace).job(number).state in ("queued", "done")


@pytest.mark.parametrize(
    "damage",
    [
        {"settings": "not JSON"},
        {"settings": "[" * 100_000},
        {"settings": "[]"},
        {"settings": b"\xff\xfe"},
        {"source": ""},
        {"folder": ""},
        {"frames": "many", "total": 1e308, "speed": float("inf"), "left_s": "soon"},
        {"name": b"\xff", "error": 3},
    ],
)
def test_an_odd_row_stops_no_other_job(
    workspace: Workspace, jobs: Queue, damage: dict[str, Any]
) -> None:
    odd, good = (jobs.add(Path(f"/a/{i}.mp4"), Settings())["id"] for i in range(2))
    with closing(sqlite3.connect(workspace.database)) as database:
        places = ", ".join(f"{name} = ?" for name in damage)
        database.execute(f"UPDATE jobs SET {places} WHERE id = {odd}", [*damage.values()])
        database.commit()
    json.dumps(jobs.jobs(), allow_nan=False)
    jobs.start()
    until(lambda: jobs.job(good).state == "done")
    assert jobs.job(odd).state in ("failed", "done")
    if "settings" in damage:
        assert "damaged" in str(jobs.job(odd).error)
    assert jobs.delete(odd) == {"deleted": odd}


def test_any_failure_of_the_queue_is_survived(
    jobs: Queue, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also one that nobody foresaw: here, of what reads the progress."""
    calls = iter([ValueError("an odd thing")])
    progress = Queue._progress

    def fails_once(self: Queue, number: int, lines: Any) -> Any:
        for error in calls:
            raise error
        return progress(self, number, lines)

    monkeypatch.setattr(Queue, "_progress", fails_once)
    first, second = (jobs.add(Path(f"/a/{i}.mp4"), Settings())["id"] for i in range(2))
    jobs.start()
    until(lambda: jobs.job(second).state == "done")
    assert jobs.job(first).state == "failed" and jobs.job(first).error
    assert "ValueError" in capfd.readouterr().err  # a mistake of ours: the terminal has it all


def test_a_worker_that_cannot_start_is_tried_again(
    jobs: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, popen = [], subprocess.Popen

    def start(*given: Any, **more: Any) -> Any:
        works.append(1)
        if len(works) < 3:
            raise OSError(24, "Too many open files")
        return popen(*given, **more)

    monkeypatch.setattr(job_queue.subprocess, "Popen", start)
    number = jobs.add(EXAMPLE, Settings())["id"]
    jobs.start()
    assert "Too many open files" in until(lambda: jobs.about(number)["waiting"])
    until(lambda: jobs.job(number).state == "done")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" * 99])
def test_a_damaged_queue_is_one_sentence(workspace: Workspace, content: bytes) -> None:
    workspace.database.write_bytes(content)
    with pytest.raises(MoppetError, match=r"queue\.sqlite is damaged .*Move it"):
        Queue(workspace)


def test_a_queue_of_another_program_is_one_sentence(workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.database)) as database:
        database.execute("CREATE TABLE jobs (number INTEGER)")
    with pytest.raises(MoppetError, match="is damaged"):
        Queue(workspace)


def test_many_at_once_cancel_and_delete_each_job_once(workspace: Workspace, jobs: Queue) -> None:
    numbers = [jobs.add(EXAMPLE, Settings())["id"] for _ in range(20)]
    for number in numbers:
        folder = Path(jobs.job(number).folder)
        folder.mkdir()
        (folder / "report.html").write_text("x")

    def tried(act: Callable[[int], Any], number: int) -> str:
        try:
            act(number)
            return "done"
        except UsageError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        for act in (jobs.cancel, jobs.delete):
            found = list(pool.map(lambda n, act=act: tried(act, n), [n for n in numbers * 3]))
            assert found.count("done") == len(numbers)
            assert found.count("refused") == 2 * len(numbers)
    assert jobs.jobs() == [] and list(workspace.results.iterdir()) == []


def test_deleting_touches_nothing_outside_the_workspace(
    workspace: Workspace, jobs: Queue, tmp_path: Path
) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "a.txt").write_text("x")
    number = jobs.add(EXAMPLE, Settings())["id"]
    jobs._set(number, state="done", folder=str(outside))
    jobs.delete(number)
    assert (outside / "a.txt").exists() and EXAMPLE.exists()


# --------------------------------------------------------------------- workers, kills, summary


def run_worker(task: Any, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "moppet.server.worker"]
    data = task if isinstance(task, bytes) else json.dumps(task).encode()
    return subprocess.run(
        command, input=data, stdout=stdout, stderr=subprocess.PIPE, timeout=120, check=False
    )


def test_a_worker_without_its_server_ends_without_a_word(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    settings = {"model": "default", "every": 5, "timeline": {}}
    task = {"source": str(EXAMPLE), "folder": str(tmp_path / "a"), "settings": settings}
    ended = run_worker(task, theirs)
    os.close(theirs)
    assert ended.returncode == 1 and ended.stderr == b""
    assert not (tmp_path / "a" / "timeline.parquet").exists()
    ended = run_worker(b"")
    assert ended.returncode == 1 and ended.stderr == b"" and ended.stdout == b""


def test_an_unexpected_error_of_a_worker_has_a_log(tmp_path: Path) -> None:
    task = {"source": str(EXAMPLE), "folder": str(tmp_path), "settings": {"timeline": {"x": 1}}}
    ended = run_worker(task)
    assert ended.returncode == 1 and ended.stderr == b""
    report = json.loads(ended.stdout)["error"]
    assert "TypeError" in report and str(tmp_path / "error.log") in report
    assert "Traceback" in (tmp_path / "error.log").read_text()


def test_a_job_that_was_killed_three_times_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = Analysis(str(EXAMPLE), Settings(every=3)).run()
    work = tmp_path / "work"
    body = json.dumps({"path": str(EXAMPLE), "settings": {"every": 3}}).encode()
    printed = ""
    for kill in range(4):
        with serving(work, "--no-browser") as server:
            if not kill:
                assert server.ask("POST", "/api/jobs", body)[0] == 201
            if kill < 3:
                until(lambda at=20 + 50 * kill, server=server: job_of(server)["frames"] > at)
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
            else:
                until(lambda server=server: job_of(server)["state"] == "done")
        printed += server.printed
    (path,) = work.glob("results/*/timeline.parquet")
    assert read_timeline(path).table.equals(whole.table)
    assert "Traceback" not in printed and "BrokenPipe" not in printed


def job_of(server: Server) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(server.ask("GET", "/api/jobs/1")[2])
    assert job["state"] in ("queued", "running", "done"), job
    return job


def test_a_cut_timeline_is_named_in_the_summary_of_all(workspace: Workspace) -> None:
    queue = Queue(workspace)
    whole = Analysis(str(EXAMPLE), Settings(every=20)).run()
    for name in ("first.mp4", "=cut.mp4", "gone.mp4"):
        number = queue.add(EXAMPLE, Settings(), name)["id"]
        queue._set(number, state="done")
        folder = Path(queue.job(number).folder)
        folder.mkdir()
        if name != "gone.mp4":
            whole.write(folder / "timeline.parquet")
    cut = next(workspace.results.glob("00002*")) / "timeline.parquet"
    cut.write_bytes(cut.read_bytes()[:1000])
    site = build_site(workspace, queue, TOKEN, PORT)
    answer = TestClient(site, base_url=HERE, headers=BEARER).get("/api/summary.csv")
    assert answer.status_code == 200
    header, first, second, third = answer.text.splitlines()
    assert header.endswith(",left out") and first.startswith("child.mp4,") and first.endswith(",")
    assert second.startswith("'=cut.mp4,,") and third.startswith("gone.mp4,,")
    assert "timeline.parquet" in second and len({line.count(",") for line in (header, first)}) == 1


def test_a_workspace_has_one_server(tmp_path: Path) -> None:
    with serving(tmp_path / "work", "--no-browser"):
        part = tmp_path / "work" / "recordings" / "a.mp4.part"
        part.write_bytes(b"cut off")
        command = [sys.executable, "-m", "moppet", "serve", "--no-browser"]
        second = subprocess.run(
            [*command, "--workspace", str(tmp_path / "work")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1 and second.stderr.count("\n") == 1
        assert "Another moppet serve uses" in second.stderr and part.exists()
    Workspace(tmp_path / "work").claim()  # as the next server does
    assert not part.exists()


def test_a_worker_waits_for_the_one_of_a_killed_server(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    holder = (
        "import sys, time; from pathlib import Path; "
        "from moppet.server.workspace import claim_folder; "
        f"claim_folder(Path({str(folder)!r}), wait=True); print(1, flush=True); sys.stdin.read()"
    )
    waiter = (
        "from moppet.server import worker; claim = worker.claim_folder\n"
        "def tell(*given, **more):\n    print('claims', flush=True); claim(*given, **more)\n"
        "worker.claim_folder = tell; worker.main()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    settings = {"model": "default", "every": 20, "timeline": {}}
    task = {"source": str(EXAMPLE), "folder": str(folder), "settings": settings}
    with (
        subprocess.Popen([sys.executable, "-c", holder], **pipes) as other,
        subprocess.Popen([sys.executable, "-c", waiter], **pipes) as ours,
    ):
        assert other.stdin and other.stdout and ours.stdin and ours.stdout
        assert other.stdout.readline() == b"1\n"
        ours.stdin.write(json.dumps(task).encode())
        ours.stdin.close()
        assert ours.stdout.readline() == b"claims\n"
        time.sleep(0.5)
        assert ours.poll() is None and not list(folder.iterdir())
        other.stdin.close()  # the killed server's worker has ended
        assert b'"done"' in ours.stdout.read()
    assert ours.returncode == 0
