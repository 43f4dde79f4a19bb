"""What is served of a recording: its bytes, as the decoder found them, and nothing that can run."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from moppet.server.job_queue import Queue
from moppet.server.security import COOKIE, OpeningCodes
from moppet.server.site import build_site
from moppet.server.workspace import Workspace, media_type
from moppet.values import MediaError
from serving import SERVE, serving

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"
BEARER = {"authorization": f"Bearer {TOKEN}"}
EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
RUNS = b"document.title = 'it ran'; window.ran = true;"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    site = build_site(workspace, Queue(workspace), TOKEN, PORT)
    client = TestClient(site, base_url=HERE, headers=BEARER, follow_redirects=False)
    yield client  # without its lifespan: no job runs
    client.close()


def mp4_that_is_a_page(path: Path) -> Path:
    """A video with a box of HTML before its first frame."""
    html = b"<html><body><script>" + RUNS + b"</script></body></html>"
    data = EXAMPLE.read_bytes()
    path.write_bytes(data + (8 + len(html)).to_bytes(4, "big") + b"free" + html)
    return path


def add(client: TestClient, path: Path) -> int:
    answer = client.post("/api/jobs", json={"path": str(path)})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


@pytest.mark.parametrize("name", ["a.html", "b.js", "c.svg", "d.xml", "ü \u202e.mp4", "e"])
def test_a_recording_is_served_as_what_it_is_whatever_its_name(
    client: TestClient, tmp_path: Path, name: str
) -> None:
    number = add(client, mp4_that_is_a_page(tmp_path / name))
    answer = client.get(f"/api/jobs/{number}/recording")
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["content-disposition"].startswith("inline; filename")


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "webp", "tif"])
def test_images_have_the_type_of_their_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    named = path.rename(tmp_path / "a.html")
    expected = {"jpg": "image/jpeg", "tif": "image/tiff"}.get(kind, f"image/{kind}")
    assert media_type(named) == expected


def test_what_is_no_recording_any_more_is_not_handed_out(
    client: TestClient, workspace: Workspace, tmp_path: Path
) -> None:
    path = mp4_that_is_a_page(tmp_path / "a.mp4")
    number = add(client, path)
    path.write_text("<script>1</script>" * 100)
    assert client.get(f"/api/jobs/{number}/recording").status_code == 400
    path.unlink()
    path.symlink_to("/etc/passwd")
    answer = client.get(f"/api/jobs/{number}/recording")
    assert answer.status_code == 400 and "root" not in answer.text
    (workspace.recordings / "link.mp4").symlink_to("/etc/passwd")
    assert client.post("/api/jobs", json={"recording": "link.mp4"}).status_code == 400
    folder = Path(Queue(workspace).job(number).folder)
    folder.mkdir()
    (folder / "report.html").symlink_to("/etc/passwd")
    assert client.get(f"/api/jobs/{number}/results/report.html").status_code == 404
    with pytest.raises(MediaError, match="no longer"):
        media_type(tmp_path / "nothing.mp4")


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.mp4\n",
        "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 5004 RTP/AVP 96\r\n",
        "<MPD><Period></Period></MPD>",
        "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        "<html><script>1</script>",
    ],
)
def test_an_upload_is_judged_by_its_content(
    client: TestClient, workspace: Workspace, script: str
) -> None:
    shutil.copy(EXAMPLE, workspace.recordings / "other.mp4")
    for name in ("list.mp4", "list.jpg", "%25d.mp4"):
        answer = client.put(f"/api/uploads/{name}", content=script.encode())
        assert answer.status_code == 400, answer.text
    assert [path.name for path in workspace.recordings.iterdir()] == ["other.mp4"]


def test_an_upload_without_a_length_stops_before_the_disk_is_full(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10**12, 10**6, 10**6])
    monkeypatch.setattr("moppet.server.recordings_api._CHECK_ROOM", 1000)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, next(free))
    )
    answer = client.put("/api/uploads/a.mp4", content=(b"x" * 2000 for _ in range(9)))
    assert answer.status_code == 400 and "too little space" in answer.json()["error"]
    assert list(workspace.recordings.iterdir()) == []


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_no_recording_runs_in_a_browser(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    page_file = mp4_that_is_a_page(tmp_path / "a.html")
    script = mp4_that_is_a_page(tmp_path / "b.js")
    with serving(tmp_path / "work", "--no-browser") as server, sync_playwright() as play:
        for path in (page_file, script):
            body = f'{{"path": "{path}", "settings": {{"every": 50}}}}'.encode()
            assert server.ask("POST", "/api/jobs", body)[0] == 201
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(server.address)
        page.evaluate(
            """() => new Promise((done) => {
                const made = document.createElement("script");
                made.onload = made.onerror = done;
                made.src = "/api/jobs/2/recording";
                document.head.append(made);
            })"""
        )
        assert page.evaluate("window.ran") is None and page.title() != "it ran"
        shown = page.evaluate(
            """() => new Promise((done) => {
                const video = document.createElement("video");
                video.onloadeddata = () => done(video.videoWidth);
                video.onerror = () => done(0);
                video.src = "/api/jobs/1/recording";
                document.body.append(video);
            })"""
        )
        page.goto(f"{server.origin}/api/jobs/1/recording")
        assert page.evaluate("window.ran") is None and page.title() != "it ran"
        assert page.evaluate("window.origin") == "null"
        browser.close()
    assert shown > 0


# ------------------------------------------------------------------- other users of this machine


def test_an_address_opens_the_page_once(workspace: Workspace) -> None:
    followed: list[str] = []
    codes = OpeningCodes(TOKEN, followed.append)
    site = build_site(workspace, Queue(workspace), TOKEN, PORT, codes=codes)
    other = codes.new()

    def opened(code: str) -> int:
        fresh = TestClient(site, base_url=HERE, follow_redirects=False)
        return fresh.get(f"/?token={code}").status_code

    assert opened("wrong") == 401 and opened(TOKEN) == 303 and opened(TOKEN) == 401
    assert len(followed) == 1 and opened(followed[0]) == 303 and opened(followed[0]) == 401
    assert opened(other) == 303 and opened(other) == 401 and len(followed) == 2


def test_a_page_of_another_port_is_refused_by_its_own_browser_s_word(client: TestClient) -> None:
    for site in ("same-site", "cross-site"):
        assert client.get("/api/jobs", headers={"sec-fetch-site": site}).status_code == 403
    for site in ("same-origin", "none"):
        assert client.get("/api/jobs", headers={"sec-fetch-site": site}).status_code == 200


def test_the_workspace_is_closed_to_others_also_one_that_was_open(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "results" / "00001 a").mkdir(parents=True)
    (work / "recordings").mkdir()
    open_files = [work / "results" / "00001 a" / "timeline.parquet", work / "recordings" / "a.mp4"]
    outside = tmp_path / "outside.mp4"
    for path in (*open_files, outside):
        path.write_bytes(b"x")
        path.chmod(0o644)
    (work / "recordings" / "link.mp4").symlink_to(outside)
    with serving(work, "--no-browser") as server:
        sent = server.ask("PUT", "/api/uploads/b.mp4", EXAMPLE.read_bytes())
        assert sent[0] == 200, sent
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in (work, *work.rglob("*"))
        if not path.is_symlink()
    }
    assert {mode for name, mode in modes.items() if (tmp_path / name).is_dir()} == {0o700}
    assert {mode for name, mode in modes.items() if (tmp_path / name).is_file()} == {0o600}
    assert {"work/queue.sqlite", "work/recordings/b.mp4"} <= modes.keys()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644  # nothing outside is touched


def test_the_browser_gets_a_code_that_is_not_the_token(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    opener = f"import webbrowser; webbrowser.open = lambda u: open({str(asked)!r}, 'w').write(u)"
    program = (sys.executable, "-c", f"{opener}; {SERVE}")
    with serving(tmp_path / "work", program=program) as server:
        address = asked.read_text()
        assert server.token not in address and address.startswith(f"{server.origin}/?token=")
        path = address.removeprefix(server.origin)
        first = server.ask("GET", path, Authorization="")
        assert first[0] == 303 and "HttpOnly" in first[1]["set-cookie"]
        assert server.ask("GET", path, Authorization="")[0] == 401
        shown = subprocess.run(["ps", "-o", "args=", "-p", str(server.process.pid)],
                               capture_output=True, text=True, check=True).stdout  # fmt: skip
        assert server.token not in shown
        printed = server.token
        assert server.ask("GET", "/api/jobs")[0] == 200
        path = server.address.removeprefix(server.origin)
        opened = server.ask("GET", path, Authorization="")
        assert opened[0] == 303 and printed not in opened[1]["set-cookie"]
        # A click shows the address in the list of processes: it is worth nothing any more.
        for header in ("Authorization", "Cookie"):
            for value in (f"Bearer {printed}", f"{COOKIE}={printed}"):
                given = {"Authorization": "", header: value}
                assert server.ask("GET", "/api/jobs", **given)[0] == 401
        cookie = opened[1]["set-cookie"].split(";")[0]
        assert server.ask("GET", "/api/jobs", Authorization="", Cookie=cookie)[0] == 200
        assert "To open it in another browser" in server.printed
        assert server.token != printed and server.ask("GET", "/api/jobs")[0] == 200
