"""Movements, valence, blinks and the second reading in a report, where a timeline has them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import wait_until
from moppet.pages.movement_lanes import block_height_px, format_values, movement_rows
from moppet.pages.report import write_report
from moppet.timeline import OptionalColumns, Timeline
from moppet.timeline.movements import find_movements
from page_text import text_of
from report_samples import FPS, MOVED, make_row, make_timeline, moving_people, two_people
from test_report_browser import BROWSER

CLEAR = [0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
JOY = [0.01, 0.94, 0.01, 0.01, 0.01, 0.01, 0.01]


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return moving_people()


@pytest.fixture(scope="module")
def path(timeline: Timeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(timeline, tmp_path_factory.mktemp("moves") / "report.html")


@pytest.fixture(scope="module")
def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r'<details class="moves".*?</details>', page, flags=re.S)


def paths_of(block: str, css: str) -> list[str]:
    return re.findall(rf'<path class="{css}" d="([^"]*)"', block)


def one_face(movements: dict[str, list[float]], **more: Any) -> Timeline:
    """A timeline of one happy face with these movements, at 25 frames a second."""
    columns = np.array(list(movements.values())).T
    rows = [make_row(i, i / FPS, JOY, m=m, **more) for i, m in enumerate(columns.tolist())]
    return make_timeline(rows, optional=OptionalColumns("d" in more, tuple(movements)))


def test_a_timeline_without_movements_has_no_block_for_them(tmp_path: Path) -> None:
    page = write_report(two_people(), tmp_path / "r.html").read_text(encoding="utf-8")
    body = page.split("</style>")[1].split("<script")[0]
    assert not blocks(page)
    for word in ("valence", "blink", "movement", 'class="second', "reading stands beside it;"):
        assert word not in body
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert "second" not in data and "moved" not in data
    assert {*data["lanes"]["0"]} == {"first", "flags", "best", "mean"}


def test_every_face_has_a_block_and_only_the_longest_is_open(page: str) -> None:
    found = blocks(page)
    assert [block.startswith('<details class="moves" open') for block in found] == [True, False]
    for block in found:
        assert re.findall(r"<li class=\"(\w+)\"", block).count("sides") == 2 * 4
        assert "lids closed" in block and "gaze, sideways" in block


def test_sides_share_a_lane_and_a_mean_beside_them_has_none() -> None:
    rows = movement_rows(MOVED)
    assert [row.title for row in rows[:4]] == [
        *("valence", "blinks", "inner brow raise", "outer brow raise")
    ]
    sides = next(row for row in rows if row.title == "brow lower")
    assert sides.kind == "sides"
    assert [MOVED[at - 1] for at in sides.at] == ["brow_lower_left", "brow_lower_right"]
    shown = {at for row in rows for at in row.at}
    assert MOVED.index("brow_lower") + 1 not in shown
    assert block_height_px(rows) == sum(row.height_px for row in rows) < 550
    alone = movement_rows(["lip_corner_pull_left", "jaw_sideways"])
    assert [(row.kind, row.title) for row in alone[1:]] == [
        ("plain", "lip corner pull left"),
        ("two_way", "jaw, sideways"),
    ]


def test_blinks_are_ticks_where_they_start(timeline: Timeline, page: str) -> None:
    (ticks,) = paths_of(blocks(page)[0], "tick")
    starts = [one.start_s for one in timeline.blinks() if one.face_id == 0]
    places = [int(x) for x in re.findall(r"M(\d+) ", ticks)]
    assert len(places) == len(starts) > 3
    assert np.array(places) / 24_000 * 20 == pytest.approx(starts, abs=0.01)
    assert f"{len(starts)}\N{NO-BREAK SPACE}×" in blocks(page)[0]


def test_blinks_that_cannot_be_counted_are_a_dash_not_zero(tmp_path: Path) -> None:
    rows = [make_row(i, i / 5, JOY, m=[0.1]) for i in range(50)]
    slow = make_timeline(rows, optional=OptionalColumns(movements=("blink",)))
    page = write_report(slow, tmp_path / "r.html").read_text(encoding="utf-8")
    assert not paths_of(blocks(page)[0], "tick")
    assert "blinks – the frames are too far apart" in text_of(page)


def test_a_short_movement_of_a_long_recording_keeps_its_height(tmp_path: Path) -> None:
    values = [0.05] * 15_000
    values[7000] = 0.97
    path = write_report(one_face({"jaw_open": values}), tmp_path / "r.html")
    (block,) = blocks(path.read_text(encoding="utf-8"))
    assert "97\N{NO-BREAK SPACE}%" in block
    (d,) = paths_of(block, "area move")
    steps = [int(dy) for dy in re.findall(r"\d+([+-]\d+)", d.split("l")[1])]
    assert max(steps) >= 180  # of 200 units
    assert len(d) < 2000  # level stretches are two points


def test_left_goes_up_and_right_down(tmp_path: Path) -> None:
    sides = {"brow_lower_left": [0.8] * 50, "brow_lower_right": [0.2] * 50}
    page = write_report(one_face(sides), tmp_path / "r.html").read_text(encoding="utf-8")
    (block,) = blocks(page)
    (left,), (right,) = paths_of(block, "area move"), paths_of(block, "area move other")
    base, up, down = (
        int(re.match(r"M\d+ (\d+)V(\d+)", d)[i]) for d, i in ((left, 1), (left, 2), (right, 2))
    )
    assert base - up == pytest.approx(0.8 * 160, abs=5)
    assert down - base == pytest.approx(0.2 * 160, abs=5)
    assert "80 / 20\N{NO-BREAK SPACE}%" in block


def test_the_table_counts_the_episodes_that_an_export_writes(timeline: Timeline, page: str) -> None:
    table = re.search(r"<caption><span>Each movement, all faces</span>.*?</table>", page, re.S)[0]
    rows = {
        cells[0]: cells[1:]
        for row in table.split("<tr>")[2:]
        if (cells := [text_of(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)])
    }
    assert len(rows) == len(MOVED)
    found = find_movements(timeline.table, timeline.settings, ["brow_lower_left", "gaze_x"])
    assert rows["brow lower, left"][0] == "AU4"
    for title, name in (("brow lower, left", "brow_lower_left"), ("gaze, sideways", "gaze_x")):
        assert rows[title][2] == str(sum(one.movement == name for one in found)) != "0"
    mean = timeline.summary()["faces"]["all"]["movements"]["gaze_x"]
    assert rows["gaze, sideways"][1] == f"{mean:+.2f}".replace("-", "\N{MINUS SIGN}")


def test_the_second_reading_is_drawn_beside_the_one_that_decides(page: str, tmp_path: Path) -> None:
    lanes = re.findall(r'<figure class="lane".*?</figure>', page, flags=re.S)
    for lane in lanes:
        assert len(re.findall(r'<path class="second e-\w+"', lane)) == 7
    assert "display reading" in text_of(page) and "the observers reading decides" in text_of(page)
    turned = write_report(moving_people(reading="display"), tmp_path / "d.html").read_text()
    assert "the display reading decides; the observers reading stands beside it" in text_of(turned)
    one = write_report(moving_people(reading="observers"), tmp_path / "o.html").read_text()
    assert 'class="second' not in one.split("</style>")[1] and blocks(one)


def test_the_second_reading_is_smoothed_like_the_first(timeline: Timeline) -> None:
    display = moving_people(reading="display")
    found = re.search(r'id="data">(.*?)</script>', write_text_of(timeline))[1]
    lane = json.loads(found)["lanes"]["0"]
    packed = np.frombuffer(base64.b64decode(lane["second"]), np.uint8).reshape(-1, 7)
    table = display.table.to_pylist()
    s = np.array([[row[f"s_{x}"] for x in display.names] for row in table if row["face_id"] == 0])
    known = packed[(packed != 255).all(axis=1)]
    np.testing.assert_allclose(known / 200, s, atol=0.0026)


def write_text_of(timeline: Timeline) -> str:
    from moppet.pages.report import build_page

    return build_page(timeline, [])


def test_a_photo_shows_both_readings_and_its_movements(tmp_path: Path) -> None:
    row = make_row(0, 0.0, CLEAR, face_id=0, d=JOY, m=[0.4, -0.2])
    timeline = make_timeline(
        [row],
        optional=OptionalColumns(True, ("brow_lower", "gaze_x")),
        metadata={"files": ["a.jpg"], "duration_s": None},
    )
    page = write_report(timeline, tmp_path / "r.html").read_text(encoding="utf-8")
    assert re.search(r'aria-label="Display reading: [^"]*happiness 94', page)
    text = text_of(page)
    assert "Each movement, all faces movement action unit mean brow lower AU4 40 %" in text
    assert "gaze, sideways AU61/62 \N{MINUS SIGN}0.20" in text


def test_the_report_repeats_reading_and_prior(tmp_path: Path) -> None:
    priors = {"prior": {"neutral": 0.9, "happiness": 0.1}, "display_prior": {"neutral": 0.5}}
    given = {"settings": {"prior": "estimate"}, **priors}
    page = write_report(moving_people(2, **given), tmp_path / "r.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "moppet analyze child.mp4 --model default --detector mtcnn --reading both" in text
    assert "--prior estimate" in text
    assert "Calibrated for the prior neutral 90 %, happiness 10 %" in text
    assert "Display reading calibrated for the prior neutral 50 %" in text


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("plain", [0.62], "62\N{NO-BREAK SPACE}%"),
        ("sides", [0.62, 0.1], "62 / 10\N{NO-BREAK SPACE}%"),
        ("sides", [0.62, None], "–"),
        ("two_way", [-0.314], "\N{MINUS SIGN}0.31"),
        ("valence", [None], "–"),
    ],
)
def test_values_are_short(kind: Any, values: list[float | None], text: str) -> None:
    assert format_values(kind, values) == text


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_the_cursor_shows_movements_and_the_second_reading(path: Path, timeline: Timeline) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        stage = page.locator(".lane [data-moves]").first
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 20)
        wait_until(page, "document.querySelector('.moves .values').dataset.title === 'here'")
        items = page.locator(".lane .moves .values").first.locator("li").all_text_contents()
        now = page.locator(".lane .now").first.text_content()
        browser.close()
    rows = movement_rows(MOVED)
    row = next(r for r in timeline.table.to_pylist() if r["face_id"] == 0 and r["time_s"] == 2)
    for text, lane in zip(items, rows, strict=True):
        if lane.kind in ("plain", "sides"):
            shown = [float(x) for x in text.replace("\N{NO-BREAK SPACE}%", "").split(" / ")]
            true = [100 * row[f"m_{MOVED[at - 1]}"] for at in lane.at]
            assert shown == pytest.approx(true, abs=8)  # the nearest frame of a few
    assert items[0].startswith("\N{MINUS SIGN}0.") and "display: anger" in now
    assert not wrong
