"""The review page: curves and boxes are the timeline's, and a real browser keeps one cursor."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import wait_until
from moppet.server.timeline_view import TimelineView
from moppet.timeline import RawRow, Timeline, build_timeline
from moppet.values import EXPRESSIONS, GROUPS, UsageError

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


def timeline(n: int = 3000, away: tuple[int, int] = (1000, 1200)) -> Timeline:
    """25 frames a second of face 0, away for a while, and face 4 for the first 10 rows."""
    rng = np.random.default_rng(0)
    rows: list[RawRow] = []
    for i in range(n):
        row: dict[str, Any] = {"frame": i, "time_s": i / 25, "status": "no_face", "face_id": None}
        if not away[0] <= i < away[1]:
            p = rng.dirichlet(np.ones(7)).astype(np.float32)
            row |= {"face_id": 0, "status": "ok", "p": p, "quality": 0.9, "detection_score": 0.9}
            row |= {"box_x": 1.0, "box_y": 2.0, "box_w": 30.0, "box_h": 40.0}
        rows.append(row)  # type: ignore[arg-type]
        if i < 10:
            rows.append({**row, "face_id": 4})  # type: ignore[typeddict-item]
    metadata = {"duration_s": n / 25, "width": 64, "height": 48, "source_name": "a.mp4"}
    return build_timeline(rows, names=EXPRESSIONS, group_of=GROUPS, metadata=metadata)


@pytest.fixture(scope="module")
def view() -> TimelineView:
    return TimelineView(timeline())


def test_the_head_names_what_is_there(view: TimelineView) -> None:
    head = view.head()
    assert head["names"] == list(EXPRESSIONS) and head["duration_s"] == 120.0
    assert [(face["id"], face["rows"]) for face in head["faces"]] == [(0, 2800), (4, 10)]
    assert head["faces"][0]["from_s"] == 0 and head["faces"][0]["to_s"] == 2999 / 25
    assert len(head["episodes"]) == len(view.timeline.episodes("expression"))


def test_few_rows_are_drawn_as_they_are(view: TimelineView) -> None:
    found = view.curves(0, 2.0, 4.0, 1000)
    table = view.timeline.table.to_pandas()
    part = table[(table.face_id == 0) & table.time_s.between(2, 4)]
    assert np.allclose(found["time_s"], part.time_s, atol=1e-3)
    for name in EXPRESSIONS:
        assert np.allclose(found["s"][name], part[f"s_{name}"], atol=1e-3)
    assert np.allclose(found["unsure"], part.unsure.astype(float))


def test_many_rows_become_means_that_break_where_the_face_was_away(view: TimelineView) -> None:
    found = view.curves(0, 0.0, 120.0, 60)
    gaps = [i for i, t in enumerate(found["time_s"]) if t is None]
    assert len(gaps) == 1 and len(found["time_s"]) <= 61
    before, after = found["time_s"][gaps[0] - 1], found["time_s"][gaps[0] + 1]
    assert before < 40 < 48 <= after
    means = np.array([[v for v in found["s"][name] if v is not None] for name in EXPRESSIONS])
    assert np.allclose(means.sum(axis=0), 1, atol=0.01)
    whole = view.smoothed[view.face == 0].mean(axis=0)
    assert np.allclose(means.mean(axis=1), whole, atol=0.02)
    assert view.curves(9, 0, 120, 50)["time_s"] == []
    assert len(view.curves(0, 0, 120, 10**9)["time_s"]) <= 4001
    for start, end in ((3, 3), (5, 1), (float("nan"), 1)):
        with pytest.raises(UsageError, match="start must be before the end"):
            view.curves(0, start, end, 50)


def test_boxes_are_the_rows_of_a_stretch_and_of_a_minute_at_most(view: TimelineView) -> None:
    rows = view.boxes(0.0, 0.2)
    assert [row["face_id"] for row in rows] == [0, 4] * 6
    assert rows[0]["box_w"] == 30 and rows[0]["expression"] in EXPRESSIONS
    away = view.boxes(41.0, 41.1)
    assert [row["status"] for row in away] == ["no_face"] * 3 and away[0]["box_x"] is None
    assert view.boxes(0.0, 1e9)[-1]["time_s"] == 60.0
    assert view.boxes(500.0, 501.0) == []


# ------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a real server, with its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    work = tmp_path_factory.mktemp("work")
    program = "from moppet.commands.main import main; main()"
    command = [sys.executable, "-c", program, "serve", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workspace", str(work)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(timeout=20)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_from_a_dropped_file_to_one_cursor_over_video_and_curves(address: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        assert "token" not in page.url
        expect(page.locator("#limits li")).to_have_count(6)
        page.get_by_role("button", name="I have read this").click()
        expect(page.locator("#none")).to_be_visible()
        page.set_input_files("#files", EXAMPLE)
        expect(page.locator("#said")).to_contain_text("is in the queue")
        line = page.locator("#jobs li")
        expect(line.get_by_role("link", name="Review: child.mp4")).to_be_visible(timeout=60_000)
        expect(line).to_contain_text("236 frames analyzed", timeout=120_000)
        page.fill("#path", "nowhere.mp4")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("the full path")

        page.goto(page.url.rstrip("/") + str(line.get_by_role("link").first.get_attribute("href")))
        expect(page.locator("#episodes tbody tr")).to_have_count(4)
        wait_until(page, "document.querySelector('#video').readyState >= 2")
        wait_until(page, "document.querySelector('#plot')._fullLayout !== undefined")
        box = page.locator("#plot .nsewdrag").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 3 / 19.667, box["y"] + box["height"] / 2)
        wait_until(page, "Math.abs(document.querySelector('#video').currentTime - 3) < 0.1")
        expect(page.locator("#now")).to_contain_text("face 0: happiness")
        expect(page.locator("#episodes tr.current")).to_contain_text("happiness")
        at = page.evaluate("document.querySelector('#cursor').getBoundingClientRect().left")
        assert abs(at - (box["x"] + box["width"] * 3 / 19.667)) < 6
        drawn = "document.querySelector('#boxes').getContext('2d').getImageData(0,0,480,360).data"
        assert page.evaluate(f"{drawn}.some((value) => value > 0)")
        time = "document.querySelector('#video').currentTime"
        before = page.evaluate(time)
        page.locator("#now").click()
        page.keyboard.press(".")
        wait_until(page, f"{time} > {before}")
        assert page.evaluate(time) - before == pytest.approx(1 / 12, abs=0.02)
        page.keyboard.press("ArrowRight")
        wait_until(page, f"{time} > {before} + 1")
        page.keyboard.press(" ")
        wait_until(page, "!document.querySelector('#video').paused")
        page.keyboard.press(" ")
        wait_until(page, "document.querySelector('#video').paused")
        page.get_by_role("button", name="go to sadness").click()
        wait_until(page, f"Math.abs({time} - 6.833) < 0.1")
        page.check("#blur")
        assert "blur" in page.evaluate("getComputedStyle(document.querySelector('#video')).filter")
        _name_and_correct(page)
        page.reload()
        expect(page.locator("#limits")).to_have_count(0)
        expect(page.locator("#lanes .lane[data-face]")).to_have_count(2)
        expect(page.locator("#corrections tbody tr")).to_contain_text("surprise")
        page.goto(address.split("/?")[0])
        expect(page.locator("#limits")).to_be_hidden()  # read once
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete: child.mp4").click()
        expect(page.locator("#none")).to_be_visible()
        browser.close()
    assert complaints == []


def _name_and_correct(page: Any) -> None:
    """Name the example's child, be refused, split, join again, correct, take a file away."""
    from playwright.sync_api import expect

    lanes = page.locator("#lanes .lane[data-face]")
    page.get_by_role("button", name="face 1", exact=True).click()
    expect(page.locator("#episodes tbody tr")).to_have_count(3)
    page.fill("#who-name", "Mia")
    page.select_option("#who-role", "child")
    page.get_by_role("button", name="Save name", exact=True).click()
    expect(lanes.nth(1).get_by_role("button")).to_have_text("Mia (child)")
    page.evaluate("document.querySelector('#video').currentTime = 3")
    page.get_by_role("button", name="Split at the cursor").click()
    expect(page.locator("#said")).to_have_text(re.compile("nothing to split"))
    page.evaluate("document.querySelector('#video').currentTime = 15")
    wait_until(page, "Math.abs(document.querySelector('#video').currentTime - 15) < 0.1")
    page.get_by_role("button", name="Split at the cursor").click()
    expect(lanes).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(lanes).to_have_count(2)
    page.get_by_label("Same person as").select_option("face 0")
    page.get_by_role("button", name="Join").click()
    expect(lanes).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(lanes).to_have_count(2)

    page.get_by_role("button", name="Mia (child)").click()
    page.get_by_role("button", name="go to happiness").click()
    expect(page.locator("#from")).to_have_value("15.250")
    page.select_option("#label", "surprise")
    page.fill("#coder", "AB")
    smile = page.locator("#shares tbody tr", has_text="happiness").locator("td")
    expect(smile).to_have_text(["happiness", "27 %", "–", "0.1 s"])  # not corrected yet
    page.get_by_role("button", name="Correct", exact=True).click()
    line = page.locator("#corrections tbody tr")
    expect(line).to_contain_text("Mia")
    expect(smile).to_have_text(["happiness", "27 %", "0 %", "0.1 s"])
    page.get_by_role("button", name="This frame").click()
    page.get_by_role("button", name="Correct", exact=True).click()
    expect(line).to_have_count(2)
    line.nth(1).get_by_role("button").click()
    expect(line).to_have_count(1)
    with page.expect_download() as found:
        page.get_by_role("link", name="ELAN").click()
    text = Path(found.value.path()).read_text(encoding="utf-8")
    assert found.value.suggested_filename == "child.eaf"
    assert 'TIER_ID="Mia corrected by AB"' in text and 'TIER_ID="Mia expression"' in text
    with page.expect_download() as found:
        page.get_by_role("button", name="Image of the chart").click()
    assert Path(found.value.path()).read_bytes().startswith(b"\x89PNG")
