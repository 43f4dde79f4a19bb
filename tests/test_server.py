"""The page's server: who may ask, what may come in, and a queue that outlives its server."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from moppet.commands import main as cli
from moppet.infer.pipeline import Settings
from moppet.server import job_queue as queue
from moppet.server import security
from moppet.server.job_queue import Queue
from moppet.server.security import COOKIE
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.timeline import read_timeline
from moppet.values import MoppetError, UsageError

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"
EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
SLOW_WORKER = """
import json, sys, time
asked = json.load(sys.stdin)
from pathlib import Path
folder = Path(asked["folder"]); folder.mkdir(parents=True, exist_ok=True)
mark = folder / "frames"
start = int(mark.read_text()) if mark.exists() else 0
for frame in range(start, 40):
    part = folder / "part"; part.write_text(str(frame)); part.replace(mark)  # whole when killed
    print(json.dumps({"frames": frame, "total": 40}), flush=True)
    time.sleep(0.05)
if "bad" in asked["source"]:
    print(json.dumps({"error": "the recording is bad."}), flush=True)
    sys.exit(1)
print(json.dumps({"done": 40}), flush=True)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    site = build_site(workspace, Queue(workspace), TOKEN, PORT)
    with TestClient(site, base_url=HERE, follow_redirects=False) as client:
        yield client


BEARER = {"authorization": f"Bearer {TOKEN}"}


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come true")


# ------------------------------------------------------------------------------- who may ask


def test_the_opened_address_sets_a_strict_cookie_and_loses_its_token(client: TestClient) -> None:
    opened = client.get(f"/?token={TOKEN}")
    assert opened.status_code == 303 and opened.headers["location"] == "/"
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    page = client.get("/")
    assert page.status_code == 200 and "<h1>moppet</h1>" in page.text
    assert client.get("/static/recordings.js").status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"cookie": f"{COOKIE}=wrong"}, 401),
        ({"cookie": f"{COOKIE}={TOKEN}"}, 200),
        (BEARER, 200),
        ({**BEARER, "host": "evil.example:8640"}, 403),
        ({**BEARER, "host": "127.0.0.1"}, 403),
        ({**BEARER, "host": f"localhost:{PORT}"}, 200),
        ({"cookie": f"{COOKIE}={TOKEN}", "origin": "http://evil.example"}, 403),
        ({"cookie": f"{COOKIE}={TOKEN}", "origin": "null"}, 403),
        ({"cookie": f"{COOKIE}={TOKEN}", "origin": HERE}, 200),
    ],
)
def test_only_the_page_of_this_machine_is_answered(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/api/jobs", headers=headers)
    assert answer.status_code == status
    assert status == 200 or set(answer.json()) == {"error"}


def test_a_change_needs_the_page_s_origin_or_the_token_itself(client: TestClient) -> None:
    cookie = {"cookie": f"{COOKIE}={TOKEN}"}
    asked = {"path": str(EXAMPLE)}
    assert client.post("/api/jobs", json=asked, headers=cookie).status_code == 403
    wrong = {**cookie, "origin": "http://localhost:1"}
    assert client.post("/api/jobs", json=asked, headers=wrong).status_code == 403
    own = {**cookie, "origin": HERE}
    assert client.post("/api/jobs", json={}, headers=own).status_code == 400
    assert client.get("/api/jobs", headers=BEARER).json() == []


def test_a_wrong_token_in_the_address_opens_nothing(client: TestClient) -> None:
    for path in ("/?token=wrong", "/", f"/api/jobs?token={TOKEN}", "/static/recordings.js"):
        assert client.get(path).status_code == 401


def test_a_body_is_bounded_whatever_it_claims(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    claims = {**BEARER, "content-length": str(10 * 10**9)}
    assert client.put("/api/uploads/a.mp4", headers=claims, content=b"x").status_code == 413
    large = b"x" * (security.LARGEST_JSON + 1)
    assert client.post("/api/jobs", headers=BEARER, content=large).status_code == 413

    def pieces() -> Iterator[bytes]:  # without a length
        for _ in range(30):
            yield b"x" * 100_000

    assert client.post("/api/jobs", headers=BEARER, content=pieces()).status_code == 413
    assert list(workspace.recordings.iterdir()) == []


# -------------------------------------------------------------------------- what may come in


def test_a_recording_goes_up_and_is_read(client: TestClient, workspace: Workspace) -> None:
    sent = client.put("/api/uploads/visit 1.mp4", headers=BEARER, content=EXAMPLE.read_bytes())
    assert sent.json() == {"recording": "visit 1.mp4"}
    again = client.put("/api/uploads/visit 1.mp4", headers=BEARER, content=EXAMPLE.read_bytes())
    assert again.json() == {"recording": "visit 1 2.mp4"}
    asked = {"recording": "visit 1.mp4", "settings": {"every": 20}}
    job = client.post("/api/jobs", json=asked, headers=BEARER).json()
    assert job["state"] == "queued" and job["name"] == "visit 1.mp4"
    path = f"/api/jobs/{job['id']}"

    def finished() -> Any:
        found = client.get(path, headers=BEARER).json()
        return found if found["state"] not in queue.OPEN else None

    done = until(finished)
    assert done["state"] == "done" and done["frames"] == done["total"] == 236, done
    made = client.get(f"{path}/results/timeline.parquet", headers=BEARER)
    (workspace.root / "copy.parquet").write_bytes(made.content)
    assert read_timeline(workspace.root / "copy.parquet").metadata["frame_count"] == 236
    report = client.get(f"{path}/results/report.html", headers=BEARER)
    assert report.status_code == 200 and "visit 1.mp4" in report.text
    assert "default-src 'none'" in report.headers["content-security-policy"]
    part = client.get(f"{path}/recording", headers={**BEARER, "range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == EXAMPLE.read_bytes()[10:20]
    for name in ("queue.sqlite", "..%2f..%2fqueue.sqlite", "journal.arrows"):
        assert client.get(f"{path}/results/{name}", headers=BEARER).status_code == 404


@pytest.mark.parametrize(
    "name", ["..%2fescape.mp4", "%2e%2e%2fescape.mp4", "a%00b.mp4", "a.exe", "a", ".mp4", "%0a.mp4"]
)
def test_names_that_are_no_recordings_are_refused(
    client: TestClient, workspace: Workspace, name: str
) -> None:
    answer = client.put(f"/api/uploads/{name}", headers=BEARER, content=EXAMPLE.read_bytes())
    assert answer.status_code in (400, 404) and "error" in answer.json()
    assert {p.name for p in workspace.root.rglob("*")} == {"recordings", "results", "queue.sqlite"}
    assert not (workspace.root.parent / "escape.mp4").exists()


def test_files_that_are_not_what_their_name_says_are_not_kept(
    client: TestClient, workspace: Workspace, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    for content in (Path(sys.executable).read_bytes()[:1_000_000], bomb.read_bytes(), b""):
        answer = client.put("/api/uploads/clip.mp4", headers=BEARER, content=content)
        assert answer.status_code == 400 and "clip.mp4" in answer.json()["error"]
    assert list(workspace.recordings.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "needs an upload"),
        ({"recording": "../queue.sqlite"}, "no such upload"),
        ({"recording": "nobody.mp4"}, "no such upload"),
        ({"path": "clip.mp4"}, "the full path"),
        ({"path": "/nowhere/clip.mp4"}, "There is no file"),
        ({"path": "/etc/passwd"}, "cannot be read as a video"),
        ({"path": str(EXAMPLE), "settings": {"evry": 2}}, "unknown key 'settings.evry'"),
        ({"path": str(EXAMPLE), "settings": {"every": 0}}, "every must be at least 1"),
        ({"path": str(EXAMPLE), "settings": {"every": True}}, "whole number"),
        ({"path": str(EXAMPLE), "settings": 3}, "settings must be a table, got 3"),
    ],
)
def test_a_job_that_cannot_be_is_refused_in_one_sentence(
    client: TestClient, asked: dict[str, Any], said: str
) -> None:
    answer = client.post("/api/jobs", json=asked, headers=BEARER)
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert client.get("/api/jobs", headers=BEARER).json() == []


def test_a_full_disk_refuses_an_upload_and_keeps_nothing(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    answer = client.put("/api/uploads/a.mp4", headers=BEARER, content=EXAMPLE.read_bytes())
    assert answer.status_code == 400 and "too little space" in answer.json()["error"]
    assert list(workspace.recordings.iterdir()) == []


def test_what_breaks_is_said_without_internals(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Queue(workspace)
    monkeypatch.setattr(made, "jobs", lambda: 1 / 0)
    site = build_site(workspace, made, TOKEN, PORT)
    with TestClient(site, base_url=HERE, raise_server_exceptions=False) as client:
        answer = client.get("/api/jobs", headers=BEARER)
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text


# ------------------------------------------------------------------------------- the queue


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    script.write_text(SLOW_WORKER, encoding="utf-8")
    monkeypatch.setattr(queue, "WORKER", (sys.executable, str(script)))


def state(jobs: Queue, number: int) -> str:
    return jobs.job(number).state


@pytest.mark.usefixtures("slow")
def test_jobs_run_one_after_another_and_say_how_far_they_are(workspace: Workspace) -> None:
    jobs = Queue(workspace)
    first = jobs.add(Path("/a/one.mp4"), Settings())["id"]
    second = jobs.add(Path("/a/bad.mp4"), Settings())["id"]
    jobs.start()
    running = until(lambda: (j := jobs.job(first)).speed and j)
    assert running.state == "running" and running.total == 40 and running.left_s is not None
    assert state(jobs, second) == "queued"
    until(lambda: state(jobs, second) == "failed")
    assert state(jobs, first) == "done" and jobs.job(first).frames == 40
    assert jobs.job(second).error == "the recording is bad."
    assert [job["id"] for job in jobs.jobs()] == [second, first]
    assert "folder" not in jobs.jobs()[0] and "source" not in jobs.jobs()[0]
    jobs.stop()


@pytest.mark.usefixtures("slow")
def test_a_canceled_job_stops_at_once_and_goes_on_where_it_was(workspace: Workspace) -> None:
    jobs = Queue(workspace)
    number = jobs.add(Path("/a/one.mp4"), Settings())["id"]
    jobs.start()
    mark = Path(jobs.job(number).folder) / "frames"
    until(lambda: mark.exists() and int(mark.read_text() or 0) > 5)
    assert jobs.cancel(number)["state"] == "canceled"
    until(lambda: jobs._running is None)
    reached = int(mark.read_text())
    assert reached < 39 and state(jobs, number) == "canceled"
    with pytest.raises(UsageError, match="canceled already"):
        jobs.cancel(number)
    assert jobs.resume(number)["state"] in queue.OPEN
    until(lambda: state(jobs, number) == "done")
    with pytest.raises(UsageError, match="is done"):
        jobs.resume(number)
    jobs.stop()


@pytest.mark.usefixtures("slow")
def test_a_restarted_server_goes_on_with_its_queue(workspace: Workspace) -> None:
    jobs = Queue(workspace)
    first = jobs.add(Path("/a/one.mp4"), Settings(every=3))["id"]
    second = jobs.add(Path("/a/two.mp4"), Settings())["id"]
    jobs.start()
    mark = Path(jobs.job(first).folder) / "frames"
    until(lambda: mark.exists() and int(mark.read_text() or 0) > 5)
    jobs.stop()
    later = Queue(workspace)
    assert [state(later, n) for n in (first, second)] == ["queued", "queued"]
    assert json.loads(later.job(first).settings)["every"] == 3
    reached = int(mark.read_text())
    later.start()
    until(lambda: state(later, second) == "done")
    assert reached > 5 and state(later, first) == "done"
    later.stop()


def test_a_workspace_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoppetError, match="cannot be used"):
        Workspace(tmp_path / "file")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        asked = ["serve", "--port", str(port), "--workspace", str(tmp_path / "work")]
        done = CliRunner().invoke(cli.app, asked)
    assert isinstance(done.exception, MoppetError) and f"Port {port} is taken" in str(
        done.exception
    )


def test_a_queue_of_version_0_1_0_opens(workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.database)) as database:
        database.execute(
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, source VARCHAR NOT "
            "NULL, name VARCHAR NOT NULL, folder VARCHAR NOT NULL, settings VARCHAR NOT NULL, "
            "state VARCHAR NOT NULL, frames INTEGER NOT NULL, total INTEGER, speed FLOAT, "
            "left_s FLOAT, error VARCHAR, asked_at VARCHAR NOT NULL)"
        )
        row = ("/a/one.mp4", "one.mp4", "/a/results", "{}", "cancelled", 7, "2026-01-01T00:00:00")
        database.execute(
            "INSERT INTO jobs (source, name, folder, settings, state, frames, asked_at) "
            f"VALUES {row}"
        )
        database.commit()
    (job,) = Queue(workspace).jobs()
    assert (job["state"], job["frames"], job["queued_at"]) == ("canceled", 7, row[-1])


def test_paths_of_version_0_1_0_redirect(client: TestClient) -> None:
    for method, former, path in (
        ("GET", "/look?job=3", "/review?job=3"),
        ("GET", "/api/jobs/3/look", "/api/jobs/3/timeline"),
        ("POST", "/api/jobs/3/again", "/api/jobs/3/resume"),
        ("POST", "/api/jobs/3/corrections/1/back", "/api/jobs/3/corrections/1/remove"),
        ("GET", "/api/labels/visit 1/pictures/5", "/api/labels/visit%201/images/5"),
    ):
        answer = client.request(method, former, headers=BEARER, follow_redirects=False)
        assert answer.status_code == 308 and answer.headers["location"] == f"{HERE}{path}"
    assert "review.js" in client.get("/review?job=3", headers=BEARER).text
