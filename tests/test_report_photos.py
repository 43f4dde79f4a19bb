"""Photos are drawn as photos: one row for each, without a time axis, and counted in faces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command_line import run_moppet
from moppet.coders.timeline_coding import coding_of
from moppet.pages import photo_rows
from moppet.pages.report import read_thumbnails, write_report
from moppet.timeline import Timeline, summary_lines
from moppet.timeline.annotations import (
    add_correction,
    corrections_path,
    read_annotated,
)
from moppet.timeline.people import People, Person, Piece, name_people, people_path
from moppet.timeline.summary import summary_rows
from moppet.values import TimelineError
from page_text import text_of
from report_samples import make_row, make_timeline

FILES = ["IMG <1>.jpg", "blurred.jpg", "group.png", "empty room.jpg", "cut.jpg"]
HAPPY, SAD, NEUTRAL = ([0.9 if i == k else 0.1 / 6 for i in range(7)] for k in (1, 2, 0))
VAGUE = [0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1]


def photos(**metadata: Any) -> Timeline:
    """Five images: a face, an unsure one, two of which the right one comes first, none, broken."""
    rows = [
        make_row(0, 0.0, HAPPY, face_id=0),
        make_row(1, 1.0, VAGUE, face_id=1, quality=0.2, status="low_quality"),
        make_row(2, 2.0, SAD, face_id=2, box_x=500.0),
        make_row(2, 2.0, NEUTRAL, face_id=3, box_x=20.0),
        make_row(3, 3.0),
        make_row(4, 4.0, status="unreadable"),
    ]
    return make_timeline(
        rows, metadata={"source_name": "visit", "files": FILES, "duration_s": None, **metadata}
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photos") / "report.html"
    return write_report(photos(), path).read_text(encoding="utf-8")


def rows_of(page: str) -> list[str]:
    (found,) = re.findall(r'<ul class="photos">(.*?)</ul>', page, flags=re.S)
    found = re.sub("<title>.*?</title>", "", found)
    return [text_of(one) for one in re.findall(r"<li>(.*?)</li>", found, flags=re.S)]


def test_each_image_has_a_row_with_its_name_reading_and_doubt(page: str) -> None:
    one, blurred, group, empty, broken = rows_of(page)
    assert one.split() == ["IMG", "<1>.jpg", "happiness", "90", "%", "positive"]
    assert "happiness 40" in blurred and "unsure low quality" in blurred
    assert re.search("Face 3, 1 of 2 from left neutral 90.*Face 2, 2 of 2 from left sadness", group)
    assert empty.split() == ["empty", "room.jpg", "no", "face"]
    assert broken.split() == ["cut.jpg", "unreadable"]


def test_nothing_on_the_page_has_a_time(page: str) -> None:
    text = text_of(page)
    assert not re.search(r"\d s\b|\d:\d\d|second|Episode|duration|over time", text)
    for css in ("axis", "lane", "stage", "tools"):
        assert f'class="{css}' not in page
    assert "5 images" in text and "4 faces" in text and "facial expressions in photos" in text
    assert "there are no episodes" in text


def test_bars_hold_the_probabilities_and_unsure_ones_are_half_as_high(page: str) -> None:
    (found,) = re.findall(r'<ul class="photos">(.*?)</ul>', page, flags=re.S)
    bars = re.findall(r'<svg class="bar".*?</svg>', found, flags=re.S)
    widths = [[float(w) for w in re.findall(r' width="([\d.]+)%" y', bar)] for bar in bars]
    assert [round(sum(each), 1) for each in widths] == [100, 100, 100, 100, 0, 0]
    heights = [set(re.findall(r'height="(\d+)"><title', bar)) for bar in bars]
    assert heights == [{"18"}, {"9"}, {"18"}, {"18"}, set(), set()]
    assert 'aria-label="neutral 1.7\xa0%, happiness 90\xa0%' in bars[0]


def test_figures_count_faces_and_images(page: str) -> None:
    summary = photos().summary()
    assert summary["images"] == {"total": 5, "with_face": 3, "without_face": 1, "unsure": 1}
    everyone = summary["faces"]["all"]
    times = [k for k, v in everyone.items() if k.endswith("_s") and v is not None]
    assert times == [] and summary["analyzed_s"] is summary["duration_s"] is None
    assert summary["faceless"] == summary["unreadable"] == []
    assert (everyone["sure_faces"], everyone["unsure_faces"]) == (3, 1)
    happy = everyone["expressions"]["happiness"]
    assert (happy["share"], happy["share_with_unsure"]) == (pytest.approx(1 / 3), 0.5)
    assert (happy["sure_faces"], happy["unsure_faces"], happy["episodes"]) == (1, 1, None)
    text = text_of(page)
    assert "positive 33 % of the sure faces unsure: another 1 face" in text.replace("\xa0", " ")
    assert "no face 1 image 20 % of the images" in text.replace("\xa0", " ")
    lines = summary_lines(summary)
    assert lines[:2] == [
        "visit: 5 images, 3 with a face, 1 without",
        "all faces: 4 faces, unsure 1 (not in the shares)",
    ]
    assert "  happiness    33 %    2 faces, unsure 1" in lines
    (row,) = summary_rows(summary)
    assert (row["images"], row["sure_faces"], row["happiness unsure_faces"]) == (5, 3, 1)
    assert row["time_s"] is None


def test_photos_have_no_episodes_no_smoothing_and_no_export_to_coding_programs() -> None:
    one = photos()
    assert one.episodes() == []
    mia = People((Person("Mia", "child", (Piece(0), Piece(2))),))
    named = name_people(one, mia)
    for name in one.names:
        assert named.table[f"s_{name}"].equals(one.table[f"p_{name}"])
    with pytest.raises(TimelineError, match=r"visit is a set of photos.*photos\.csv.*--sequence"):
        coding_of(one)
    assert "5 images" in str(one._repr_html_()) and "<svg" not in str(one._repr_html_())
    film = photos(settings={"sequence": True})
    assert film.photos == () and "images" not in film.summary() and coding_of(film).lanes


def test_an_image_that_the_metadata_does_not_name_is_refused() -> None:
    with pytest.raises(TimelineError, match="names 2 images, but the table has image number 5"):
        photos(files=FILES[:2])


def test_names_and_corrections_stand_at_their_photo(tmp_path: Path) -> None:
    path = photos().write(tmp_path / "timeline.parquet")
    People((Person("Mia", "child", (Piece(0), Piece(2))),)).write(people_path(path))
    for face_id, start_s in ((2, 2.0), (1, 1.0)):
        add_correction(
            *(corrections_path(path),),
            **{"face_id": face_id, "start_s": start_s, "end_s": start_s + 0.5, "label": "fear"},
            **{"by": "AB", "at": "2026-11-30"},
        )
    annotated = read_annotated(path)
    page = write_report(annotated, tmp_path / "r.html").read_text(encoding="utf-8")
    one, blurred, group, *_ = rows_of(page)
    assert "Mia" in one and "fear" not in one
    assert "corrected: fear by AB" in blurred
    assert re.search("neutral 90.*Mia, 2 of 2 from left.*corrected: fear by AB", group)
    assert "With 2 corrections by AB The same" in text_of(page)
    corrected = annotated.summary()["corrected"]
    assert corrected["time_corrected_s"] is None
    assert corrected["faces"]["all"]["expressions"]["fear"]["sure_faces"] == 2
    assert "with 2 corrections by AB:" in summary_lines(annotated.summary())


def test_many_photos_are_drawn_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_rows, "MAX_PHOTOS", 3)
    page = write_report(photos(), tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(rows_of(page)) == 3 and "2 more images: photos.csv" in text_of(page)


def test_faces_are_shown_in_the_rows_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "visit"
    folder.mkdir()
    for shade, name in enumerate(["a.png", "b.png", "c.png", "d.png", "e.png"]):
        cv2.imwrite(str(folder / name), np.full((720, 1280, 3), 40 * shade, np.uint8))
    made = photos(files=[f"{c}.png" for c in "abcde"], source_sha256=None)
    found = read_thumbnails(folder, made, blur=False)
    assert [(one.face_id, one.time_s) for one in found] == [(0, 0), (1, 1), (2, 2), (3, 2)]
    path = made.write(tmp_path / "timeline.parquet")
    assert run_moppet(capsys, "report", path, "--show-faces", folder).code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    images = [row.count("<img") for row in re.findall(r"<li><h3>.*?</li>", page, flags=re.S)]
    assert images == [1, 1, 2, 0, 0] and "Moments" not in page
