"""The local page shows movements, blinks and both readings; jobs get its reading and prior."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from browsing import wait_until
from model_folder import PRIOR, write_model, write_whole_model
from moppet.commands.options import AlertOptions
from moppet.commands.serve import ServeOptions, _analysis_settings
from moppet.infer import expression_model
from moppet.infer.pipeline import LiveReader, Settings
from moppet.server import live_api
from moppet.server.job_queue import Queue
from moppet.server.site import build_site
from moppet.server.timeline_view import TimelineView
from moppet.server.workspace import Workspace
from moppet.timeline import TimelineSettings
from moppet.timeline.movements import find_movements
from moppet.values import UsageError
from report_samples import MOVED, moving_people, two_people
from serving import serving

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
TOKEN, PORT = "a-token-of-the-test", 8640
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def view() -> TimelineView:
    return TimelineView(moving_people())


def finished(root: Path) -> tuple[Workspace, Queue]:
    """A workspace with two finished jobs: one with movements, and one without."""
    workspace = Workspace(root)
    queue = Queue(workspace)
    for timeline in (moving_people(), two_people()):
        number = queue.add(EXAMPLE, Settings())["id"]
        queue._set(number, state="done")
        folder = Path(queue.job(number).folder)
        folder.mkdir(parents=True)
        timeline.write(folder / "timeline.parquet")
    return workspace, queue


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    site = build_site(*finished(tmp_path / "work"), TOKEN, PORT)
    with TestClient(site, base_url=f"http://127.0.0.1:{PORT}", headers=BEARER) as client:
        yield client


# ------------------------------------------------------------------------------- the answers


def test_a_timeline_without_them_has_none() -> None:
    view = TimelineView(two_people())
    head = view.head()
    assert head["second"] is None and head["movements"] == head["blinks"] == []
    assert {*view.curves(0, 0, 20, 100)} == {"time_s", "s", "unsure"}
    assert "second" not in view.boxes(0, 1)[0]


def test_the_head_lists_lanes_and_blinks(view: TimelineView) -> None:
    head = view.head()
    assert head["second"] == "display"
    assert [lane["title"] for lane in head["movements"][:3]] == [
        *("valence", "blinks", "inner brow raise")
    ]
    sides = next(lane for lane in head["movements"] if lane["title"] == "brow lower")
    assert [MOVED[at - 1] for at in sides["at"]] == ["brow_lower_left", "brow_lower_right"]
    blinks = [(one.face_id, round(one.start_s, 3)) for one in view.timeline.blinks()]
    assert [(one["face"], one["start_s"]) for one in head["blinks"]] == blinks
    json.dumps(head)


def test_curves_are_the_columns_of_the_table(view: TimelineView) -> None:
    found = view.curves(0, 2.0, 4.0, 1000)
    rows = [
        r for r in view.timeline.table.to_pylist() if r["face_id"] == 0 and 2 <= r["time_s"] <= 4
    ]
    names = ["valence", *(f"m_{name}" for name in MOVED)]
    for column, name in zip(found["moved"], names, strict=True):
        np.testing.assert_allclose(column, [row[name] for row in rows], atol=1e-3)
    display = moving_people(reading="display").table.to_pylist()
    theirs = [r["s_anger"] for r in display if r["face_id"] == 0 and 2 <= r["time_s"] <= 4]
    np.testing.assert_allclose(found["second"]["anger"], theirs, atol=1e-3)


def test_few_points_keep_the_strongest_movement_and_break_at_gaps(view: TimelineView) -> None:
    found = view.curves(0, 0.0, 20.0, 40)
    assert len({len(column) for column in (found["time_s"], *found["moved"])}) == 1
    gap = found["time_s"].index(None)
    assert all(column[gap] is None for column in found["moved"])
    blink = [v for v in found["moved"][1 + MOVED.index("blink")] if v is not None]
    whole = view.moved[view.face == 0, 1 + MOVED.index("blink")]
    assert max(blink) == pytest.approx(whole.max(), abs=1e-3)
    gaze = found["moved"][1 + MOVED.index("gaze_x")]
    assert min(v for v in gaze if v is not None) < -0.6
    assert view.curves(9, 0, 20, 50)["moved"] == [[]] * (1 + len(MOVED))


def test_boxes_name_the_second_reading(view: TimelineView) -> None:
    row = view.boxes(2.0, 2.01)[0]
    assert row["expression"] == row["second"]["expression"] == "anger"
    assert row["second"]["confidence"] > row["confidence"]
    assert view.boxes(9.5, 9.6)[0]["second"] is None


def test_programs_get_movements_on_request(client: TestClient) -> None:
    plain = client.get("/api/jobs/1/export/elan").text
    asked = client.get("/api/jobs/1/export/elan?movements=brow_lower,blink").text
    assert "brow_lower" not in plain
    assert 'TIER_ID="face 0 brow_lower"' in asked and 'TIER_ID="face 1 blink"' in asked
    whole = client.get("/api/jobs/1/export/boris?movements=all")
    names = zipfile.ZipFile(io.BytesIO(whole.content)).namelist()
    assert "child.boris" in names
    for number, wanted, message in (
        *((1, "smile", "none of that name"), (2, "all", "has no movements")),
    ):
        refused = client.get(f"/api/jobs/{number}/export/elan?movements={wanted}")
        assert refused.status_code == 400 and message in refused.json()["error"]


# ------------------------------------------------------------------------ reading and prior


def options(**given: Any) -> ServeOptions:
    return ServeOptions(alerts=AlertOptions(), **given)


@pytest.fixture
def whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default model has two readings, movements and priors."""
    folder = write_whole_model(tmp_path / "default")
    monkeypatch.setattr(expression_model, "bundled_models", lambda: {"default": folder})
    return folder


def test_nothing_asked_for_changes_nothing() -> None:
    assert _analysis_settings(options()) == (Settings(), None)


def test_reading_and_prior_go_to_jobs_and_to_the_camera(whole_model: Path, tmp_path: Path) -> None:
    settings, live = _analysis_settings(options(reading="both", prior="uniform"))
    assert settings.timeline.reading == live.timeline.reading == "both"
    assert settings.prior == live.prior == "uniform"
    settings, live = _analysis_settings(options(prior="estimate"))
    assert settings.prior == "estimate" and settings.timeline.reading == "observers"
    assert live.prior == "natural" and live.timeline.reading == "display"
    file = tmp_path / "lab.toml"
    file.write_text("".join(f"{name} = {x}\n" for name, x in PRIOR.items()))
    settings, _ = _analysis_settings(options(prior=str(file)))
    assert settings.prior == pytest.approx(PRIOR)


def test_a_job_has_them_beside_what_the_page_offers(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    queue = Queue(workspace)
    given = Settings(prior=PRIOR, timeline=TimelineSettings(reading="both"))
    site = build_site(workspace, queue, TOKEN, PORT, settings=given)
    client = TestClient(site, base_url=f"http://127.0.0.1:{PORT}", headers=BEARER)
    body = {"path": str(EXAMPLE), "settings": {"every": 5}}
    number = client.post("/api/jobs", json=body).json()["id"]
    stored = queue.job(number).task()["settings"]
    assert stored["every"] == 5 and stored["prior"] == PRIOR
    assert stored["timeline"]["reading"] == "both"


def test_the_camera_shows_the_display_reading_if_the_model_has_it(
    whole_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live_api.open_reader(None).settings.reading == "display"
    monkeypatch.undo()
    reader = live_api.open_reader(None)
    assert isinstance(reader, LiveReader)
    assert reader.settings.reading == live_api.open_reader(Settings()).settings.reading


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reading": "display"}, "has no display reading: use --reading observers"),
        ({"prior": "uniform"}, "cannot be changed: its card has no"),
        ({"prior": "estimate"}, "cannot be changed: its card has no"),
        ({"prior": "lab"}, "--prior takes natural, uniform, estimate, or a TOML file"),
        ({"reading": "mine"}, "--reading takes any of observers, display, both"),
    ],
)
def test_what_the_default_model_cannot_do_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], message: str
) -> None:
    folder = write_model(tmp_path / "default")
    monkeypatch.setattr(expression_model, "bundled_models", lambda: {"default": folder})
    with pytest.raises(UsageError, match=message):
        _analysis_settings(options(**given))


# ------------------------------------------------------------------------------- a browser


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_the_review_page_draws_them_and_follows_the_cursor(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    finished(tmp_path / "work")[1].stop()
    complaints: list[str] = []
    with serving(tmp_path / "work", "--no-browser") as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.address)
        page.get_by_role("button", name="I have read this").click()
        page.goto(f"{server.origin}/review?job=2")
        expect(page.locator("#lanes .lane")).to_have_count(3)
        for hidden in ("#movements-box", "#second-box", "#with-movements-box"):
            expect(page.locator(hidden)).to_be_hidden()
        page.goto(f"{server.origin}/review?job=1")
        lanes = page.locator("#movements .movement")
        expect(lanes).to_have_count(18)
        wait_until(page, "document.querySelector('#video').readyState >= 2")
        page.evaluate("document.querySelector('#video').currentTime = 2")
        expect(page.locator("#now")).to_contain_text("(display: anger")
        expect(lanes.first.locator("output")).to_contain_text("\N{MINUS SIGN}0.")
        brow = page.locator(".movement", has_text="brow lower").locator("output")
        expect(brow).to_contain_text(" / ")
        timeline = moving_people()
        blinks = sum(one.face_id == 0 for one in timeline.blinks())
        ticks = lanes.nth(1).locator(".tick").get_attribute("d")
        assert ticks.count("M") == blinks
        expect(page.locator("#legend")).to_contain_text("display reading")
        page.uncheck("#second")
        expect(page.locator("#legend")).not_to_contain_text("display reading")
        page.check("#with-movements")
        with page.expect_download() as found:
            page.get_by_role("link", name="ELAN").click()
        text = Path(found.value.path()).read_text(encoding="utf-8")
        episodes = find_movements(timeline.table, timeline.settings, ["gaze_x"])
        assert text.count(">gaze_left<") + text.count(">gaze_right<") == len(episodes) > 0
        browser.close()
    assert complaints == []
