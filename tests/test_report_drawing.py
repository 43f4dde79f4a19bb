"""The report's charts: honest about gaps, spikes and quality, and small for long recordings."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from moppet.pages.report import write_report
from report_samples import FPS, long_recording, make_row, make_timeline, two_people

CLEAR = [0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(two_people(), path).read_text(encoding="utf-8")


def written(timeline: Any, folder: Path) -> str:
    return write_report(timeline, folder / "r.html").read_text(encoding="utf-8")


def lanes(page: str) -> list[str]:
    return re.findall(r'<figure class="lane".*?</figure>', page, flags=re.S)


def path_of(lane: str, css: str) -> str:
    found = re.search(rf'<path class="{css}" d="([^"]*)"', lane)
    return found[1] if found else ""


def extents(d: str) -> list[tuple[int, int]]:
    """Left and right end of every filled curve in a path, in units across."""
    spans = []
    for part in d.split("M")[1:]:
        left = int(part.split()[0])
        steps = re.findall(r"(\d+)[+-]\d+", part.split("l")[1])
        spans.append((left, left + sum(int(step) for step in steps)))
    return spans


def test_curves_and_ribbon_break_where_the_face_is_away(page):
    first, second = lanes(page)
    units = 24_000 / 20
    assert extents(path_of(first, "area e-happiness")) == [
        pytest.approx((0, 8 * units), abs=30),
        pytest.approx((10.5 * units, 18 * units), abs=30),
        pytest.approx((18.4 * units, 20 * units), abs=30),
    ]
    assert [round(a / units) for a, _ in extents(path_of(second, "area e-fear"))] == [5, 10]
    assert len(re.findall("M", path_of(first, "paper"))) == 3


def test_low_quality_and_unsure_stretches_are_marked(page):
    first, second = lanes(page)
    left, width = re.match(r"M(\d+) \d+h(\d+)v", path_of(first, "low")).groups()
    assert int(left) / 1200 == pytest.approx(14, abs=0.03)
    assert int(width) / 1200 == pytest.approx(2, abs=0.05)
    assert path_of(first, "murky") and not path_of(second, "murky") + path_of(second, "low")
    assert re.search(r'class="g-\w+ unsure" d="M\d+ 150h\d+v150h', first), "half as high"


def test_a_gap_in_the_time_stamps_breaks_the_curve(tmp_path):
    times = [i / FPS for i in range(50)] + [12 + i / FPS for i in range(50)]
    timeline = make_timeline([make_row(i, t, CLEAR) for i, t in enumerate(times)])
    lane = lanes(written(timeline, tmp_path))[0]
    assert len(extents(path_of(lane, "area e-neutral"))) == 2


def test_skipped_frames_are_no_gaps(tmp_path):
    rows = [
        make_row(i, i / FPS, CLEAR) if i % 5 == 0 else make_row(i, i / FPS, status="skipped")
        for i in range(200)
    ]
    lane = lanes(written(make_timeline(rows), tmp_path))[0]
    assert len(extents(path_of(lane, "area e-neutral"))) == 1


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, float]:
    timeline = long_recording(3600)
    path = tmp_path_factory.mktemp("hour") / "hour.html"
    start = time.process_time()
    write_report(timeline, path)
    return timeline, path, time.process_time() - start


def test_an_hour_is_written_quickly_and_stays_small(hour):
    timeline, path, seconds = hour
    assert timeline.table.num_rows == 108_000
    assert path.stat().st_size < 1_500_000
    assert seconds < 3


def test_thinning_keeps_the_height_of_a_spike_of_one_frame(hour):
    timeline, path, _ = hour
    peak = max(v for v in timeline.table.column("s_fear").to_pylist() if v is not None)
    assert peak > 0.9
    lane = lanes(path.read_text(encoding="utf-8"))[0]
    d = path_of(lane, "area e-fear")
    base = int(re.match(r"M\d+ (\d+)V", d)[1])
    y, top = base, base
    for token in re.findall(r"V(\d+)|[l ]\d+([+-]\d+)", d):
        y = int(token[0]) if token[0] else y + int(token[1])
        top = min(top, y)
    assert (base - top) / 320 == pytest.approx(peak, abs=0.005)
    assert f"<li>{peak:.0%}".replace("%", "\N{NO-BREAK SPACE}%") in lane


def test_thinning_keeps_gaps(hour):
    _, path, _ = hour
    lane = lanes(path.read_text(encoding="utf-8"))[0]
    away = len([s for s in range(3600) if s % 97 == 0])
    assert len(extents(path_of(lane, "area e-fear"))) == away


def test_short_tracks_are_folded(tmp_path):
    rows = [
        make_row(i, i / FPS, CLEAR, face_id=face)
        for i in range(100)
        for face in range(30)
        if i >= 3 * face
    ]
    page = written(make_timeline(rows), tmp_path)
    before, fold = page.split('<details class="more">')
    assert [re.search("<h3>(.*?)<", lane)[1] for lane in lanes(before)] == [
        f"Face {i}" for i in range(6)
    ]
    assert len(lanes(fold)) == 18 and "6 even shorter tracks" in fold


def test_a_crowd_for_an_hour_stays_small(tmp_path):
    timeline = long_recording(3600, faces=5, fps=5)
    assert len(written(timeline, tmp_path).encode()) < 1_500_000


def brightness(colour: str) -> float:
    if len(colour) == 4:
        colour = "#" + "".join(2 * c for c in colour[1:])
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((brightness(a), brightness(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_and_curves_stand_out_in_light_and_dark(page):
    style = re.search(r"<style>(.*?)@media print", page, flags=re.S)[1]
    of_dark = r"@media screen and \(prefers-color-scheme:dark\)\{:root\{([^}]*)\}\}"
    of_light = re.findall(r":root\{([^}]*)\}", re.sub(of_dark, "", style))
    light = dict(re.findall(r"--([\w-]+):(#\w+)", "".join(of_light)))
    dark = light | dict(re.findall(r"--([\w-]+):(#\w+)", "".join(re.findall(of_dark, style))))
    assert {"bg", "blue"} <= light.keys() and light["bg"] != dark["bg"] != dark["blue"]
    for colors in (light, dark):
        for ink in ("ink", "soft"):
            for ground in ("bg", "card", "ground"):
                assert contrast(colors[ink], colors[ground]) >= 4.5
        assert contrast(colors["warn-ink"], colors["warn"]) >= 4.5
        for slot in set(re.findall(r"--c:var\(--(\w+)\)", page)) - {"hatch"}:
            assert contrast(colors[slot], colors["card"]) >= 3, slot
