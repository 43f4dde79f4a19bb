"""A photo, and a folder of photos, on the page: no time axis, one row for each image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from browsing import wait_until
from moppet.infer.pipeline import Settings
from moppet.server import worker
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.timeline_view import TimelineView
from moppet.server.workspace import Workspace
from moppet.timeline import read_timeline
from moppet.values import MoppetError
from rendered import read_stills
from serving import serving
from test_report_photos import photos

TOKEN, PORT = "a-token-of-the-test", 8640
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
PICTURES = Path(__file__).parent / "pictures"


def folder_of_photos(root: Path) -> Path:
    folder = root / "visit photos"
    folder.mkdir()
    for name in ("age01_dark_happiness.jpg", "three_people.jpg"):
        shutil.copy(PICTURES / name, folder)
    cv2.imwrite(str(folder / "wall.tiff"), np.full((240, 320, 3), 128, np.uint8))
    return folder


def test_the_head_lists_each_photo_and_its_readings() -> None:
    head = TimelineView(photos()).head()
    assert [one["file"] for one in head["photos"]] == list(photos().photos)
    assert [len(one["faces"]) for one in head["photos"]] == [1, 1, 2, 0, 0]
    assert [one["status"] for one in head["photos"]][3:] == ["no_face", "unreadable"]
    face = head["photos"][1]["faces"][0]
    assert (face["id"], face["unsure"], face["status"]) == (1, True, "low_quality")
    assert head["episodes"] == head["faceless"] == []
    (happy,) = [o for o in head["shares"]["all"]["expressions"] if o["label"] == "happiness"]
    assert (happy["unsure_faces"], happy["time_unsure_s"]) == (1, None)
    assert TimelineView(photos(settings={"sequence": True})).head()["photos"] == []
    json.dumps(head, allow_nan=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, int, Path]:
    """A finished job of a folder of photos, and a client."""
    root = tmp_path_factory.mktemp("photos")
    workspace = Workspace(root / "work")
    queue = Queue(workspace)
    site = build_site(workspace, queue, TOKEN, PORT)
    base = f"http://127.0.0.1:{PORT}"
    client = TestClient(site, base_url=base, headers={"authorization": f"Bearer {TOKEN}"})
    folder = folder_of_photos(root)
    number = client.post("/api/jobs", json={"path": str(folder)}).json()["id"]
    worker.work(queue.job(number).task())
    queue._set(number, state="done")
    return client, number, folder


def test_a_folder_of_photos_is_analyzed_by_its_path(job: tuple[TestClient, int, Path]) -> None:
    client, number, folder = job
    head = client.get(f"/api/jobs/{number}/timeline").json()
    assert [one["file"] for one in head["photos"]] == sorted(p.name for p in folder.iterdir())
    assert [len(one["faces"]) for one in head["photos"]] == [1, 3, 0]
    report = client.get(f"/api/jobs/{number}/results/report.html").text
    assert "facial expressions in photos" in report
    assert client.get(f"/api/jobs/{number}/export/elan").status_code == 400
    answer = client.get(f"/api/jobs/{number}/recording")
    assert answer.status_code == 400 and "is a folder" in answer.json()["error"]


def test_each_photo_is_shown_in_the_pixels_of_its_boxes(
    job: tuple[TestClient, int, Path],
) -> None:
    client, number, folder = job
    (folder / "a new one.jpg").write_bytes((folder / "three_people.jpg").read_bytes())
    sizes = []
    for image in range(3):
        answer = client.get(f"/api/jobs/{number}/photos/{image}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert "sandbox" in answer.headers["content-security-policy"]
        sizes.append(cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1).shape[:2])
    stills = read_stills()
    expected = [stills[n].image.shape[:2] for n in ("age01_dark_happiness.jpg", "three_people.jpg")]
    assert sizes == [*expected, (240, 320)]  # and TIFF, which browsers do not show
    for image in (-1, 3, 10**20):
        assert client.get(f"/api/jobs/{number}/photos/{image}").status_code == 404
    (folder / "a new one.jpg").unlink()
    wall = folder / "wall.tiff"
    kept = wall.read_bytes()
    wall.unlink()
    answer = client.get(f"/api/jobs/{number}/photos/2")
    assert answer.status_code == 400 and "wall.tiff is no longer" in answer.json()["error"]
    wall.write_bytes(kept)


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    with pytest.raises(MoppetError, match="notes cannot be read as a video or image"):
        Workspace(tmp_path / "work").recording(str(tmp_path / "notes"))


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_photos_without_a_time_axis(tmp_path: Path, width: int) -> None:
    from playwright.sync_api import expect, sync_playwright

    workspace = Workspace(tmp_path / "work")
    queue = Queue(workspace)
    number = queue.add(folder_of_photos(tmp_path), Settings())["id"]
    worker.work(queue.job(number).task())
    queue._set(number, state="done")
    path = Path(queue.job(number).folder) / "timeline.parquet"
    shown = read_timeline(path).table.column("expression").to_pylist()
    queue.stop()
    complaints: list[str] = []
    with serving(tmp_path / "work") as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page: Any = browser.new_page(viewport={"width": width, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.address)
        page.goto(f"{server.origin}/review?job={number}")
        rows = page.locator("#photos li")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text(f"age01_dark_happiness.jpg{shown[0]}")
        expect(rows.nth(2)).to_contain_text("wall.tiffno face")
        for film in ("#plot", "#lanes", "#play", "#clock", "#video", "#episodes", "#from"):
            expect(page.locator(film)).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        rows.nth(1).locator("div button").nth(1).click()
        expect(page.locator("#now")).to_contain_text(f"face 2: {shown[2]}")
        wait_until(page, "document.querySelector('#photo').naturalWidth === 640")
        wait_until(page, "document.querySelector('#boxes').width === 640")
        drawn = "document.querySelector('#boxes').getContext('2d').getImageData(0,0,640,360).data"
        wait_until(page, f"{drawn}.some((value) => value > 0)")
        page.select_option("#label", "fear")
        page.fill("#coder", "AB")
        page.get_by_role("button", name="Correct", exact=True).click()
        expect(page.locator("#corrections tbody tr")).to_contain_text("face 2fearAB")
        expect(page.locator("#shares tbody tr", has_text="fear")).to_contain_text("25 %")
        page.fill("#who-name", "Mia")
        page.get_by_role("button", name="Save name").click()
        expect(rows.nth(1)).to_contain_text("Mia: ")
        rows.nth(2).locator("button").first.click()
        expect(page.locator("#now")).to_have_text("no face")
        browser.close()
    assert complaints == []
