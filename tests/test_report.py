"""The report: one calm page that needs nothing else and says what the timeline says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from moppet.pages.report import Thumbnail, write_report
from moppet.values import GROUPS, MoppetError
from report_samples import (
    FPS,
    make_row,
    make_timeline,
    two_people,
)

CLEAR = [0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(two_people(), path) == path
    return path.read_text(encoding="utf-8")


def written(timeline: Any, folder: Path, **options: Any) -> str:
    return write_report(timeline, folder / "r.html", **options).read_text(encoding="utf-8")


def text_of(page: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body).replace("&nbsp;", " "))


def lanes(page: str) -> list[str]:
    return re.findall(r'<figure class="lane".*?</figure>', page, flags=re.S)


def test_the_page_asks_for_nothing_from_outside(page):
    asked = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']?[^\s"'>]+""", page, flags=re.I)
    assert asked == []
    assert "@import" not in page
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#hatch"}
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|fetch\(|XMLHttp|WebSocket|sendBeacon", page)


def test_the_policy_admits_only_the_pages_own_style_and_script(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "'none'"
    style = re.search(r"<style>(.*?)</style>", page, flags=re.S)[1]
    script = re.search(r"<script>(.*?)</script>", page, flags=re.S)[1]
    for rule, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page), "the policy would block it"


class Nesting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_element_is_closed_and_every_id_is_used_once(page):
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))


def test_charts_sections_and_tables_have_names(page):
    for attributes in re.findall(r"<svg([^>]*)>", page):
        nested = 'class="zoomed"' in attributes
        assert nested or "aria-hidden" in attributes or "aria-label" in attributes
    sections = re.findall(r'<section id="(\w+)" aria-labelledby="([\w-]+)"', page)
    assert [name for name, _ in sections] == [
        *("figures", "time", "episodes", "summary", "made", "notes")
    ]
    assert all(f'<h2 id="{title}">' in page for _, title in sections)
    assert page.count("<table") == page.count("<caption>") > 5
    assert "<main>" in page and "<header>" in page and '<html lang="en">' in page


def test_text_from_outside_is_escaped(tmp_path):
    nasty = '<script>alert("x")</script>&.mp4'
    metadata = {"source_name": nasty, "detector": nasty, "note": [nasty]}
    names = ("</script><b>", "calm")
    rows = [make_row(i, i / FPS, [0.9, 0.1]) for i in range(50)]
    timeline = make_timeline(rows, names=names, group_of={names[0]: "<i>"}, metadata=metadata)
    page = written(timeline, tmp_path)
    assert "<script>alert" not in page and "<b>" not in page and "<i>" not in page
    assert page.count("<script") == page.count("</script>") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["names"] == list(names)


def test_key_figures_are_those_of_the_summary(page):
    summary = two_people().summary()
    text = text_of(page)
    for group, figures in summary["faces"]["all"]["groups"].items():
        assert f"{group} {100 * figures['share']:.0f} % of the sure time with a face" in text
        assert f"unsure: another {figures['time_unsure_s']:.1f} s" in text
    assert f"no face {summary['time_without_face_s']:.1f} s" in text
    assert "10 frames (0.4 s) could not be read" in text


def test_every_episode_stands_in_the_table(page):
    episodes = [e for e in two_people().episodes() if e.kind == "expression"]
    table = re.search(r"Episodes by expression: (\d+).*?<tbody>(.*?)</tbody>", page, re.S)
    rows = [text_of(row).split() for row in table[2].split("</tr>")[:-1]]
    assert int(table[1]) == len(rows) == len(episodes) > 3
    for row, episode in zip(rows, sorted(episodes, key=lambda e: e.start_s), strict=True):
        assert row[:4] == [*(episode.label, str(episode.face_id), f"{episode.start_s:.1f}", "s")]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([make_row(i, i / FPS) for i in range(50)], "No face was found"),
        ([make_row(i, i / FPS, status="unreadable") for i in range(50)], "None of the frames"),
        ([make_row(i, i / FPS, status="skipped") for i in range(50)], "Every frame was skipped"),
        ([], "has no frames"),
    ],
)
def test_a_timeline_without_a_face_says_so(tmp_path, rows, words):
    page = written(make_timeline(rows), tmp_path)
    text = text_of(page)
    assert words in text and not lanes(page)
    assert "positive \N{EN DASH}" in text
    assert not re.search(r"\b(nan|None|inf)\b", text.replace("None of the frames", ""))


def test_a_single_image_has_values_and_no_invented_length(tmp_path):
    page = written(
        make_timeline([make_row(0, 0.0, CLEAR)], metadata={"duration_s": None}), tmp_path
    )
    text = text_of(page)
    assert "a single image has no length" in text and "neutral \N{EN DASH}" in text
    assert "94 %" in text_of(lanes(page)[0])
    assert re.findall(r"<text [^>]*>([^<]*)<", page) == ["0.00 s", "0.00 s"]


def test_a_face_that_was_not_classified_keeps_its_lane(tmp_path):
    rows = [make_row(i, i / FPS, CLEAR) | {"p": None} for i in range(50)]
    page = written(make_timeline(rows), tmp_path)
    assert len(lanes(page)) == 1 and "area e-neutral" not in page.split("</style>")[1]


def test_other_classes_and_groups_come_from_the_timeline(tmp_path):
    rows = [make_row(i, i / FPS, [0.2, 0.7, 0.1]) for i in range(50)]
    groups = {"cry": "distress", "happiness": "positive"}
    timeline = make_timeline(rows, names=("calm", "cry", "happiness"), group_of=groups)
    text = text_of(written(timeline, tmp_path))
    assert "distress 100 % of the sure time with a face" in text
    assert "negative \N{EN DASH} the model has no class here" in text
    none = text_of(written(make_timeline(rows, names=("a", "b", "c"), group_of={}), tmp_path))
    assert "does not assign its classes to groups" in none
    assert "positive" not in none.split("Notes")[0]


def test_how_it_was_made_names_everything(page):
    made = page.split('<section id="made"')[1]
    assert "<code>moppet analyze child.mp4 --model default --detector mtcnn</code>" in made
    for fact in (
        "ab" * 32,
        "cd" * 32,
        "0.1.0",
        "Smoothing, seconds",
        "positive: happiness",
    ):
        assert fact in made
    assert set(GROUPS) <= set(re.findall(r"\w+", made))


def test_the_command_keeps_what_was_asked_for(tmp_path):
    options = {"settings": {"every": 3, "start_s": 2.5}, "source_name": "my child.mp4"}
    page = written(make_timeline([make_row(0, 0.0, CLEAR)], metadata=options), tmp_path)
    assert "moppet analyze &#39;my child.mp4&#39;" in page
    assert "--every 3 --start 2.5</code>" in page


def test_a_partial_timeline_is_called_one(tmp_path, page):
    rows = [make_row(i, i / FPS, CLEAR) for i in range(50)]
    partial = make_timeline(rows, metadata={"complete": False})
    assert "partial: the analysis stopped at 2.0 s" in text_of(written(partial, tmp_path))
    assert "partial" not in text_of(page)


def test_images_of_faces_appear_only_when_they_are_passed(tmp_path, page):
    assert "<img" not in page and "data:" not in page
    thumb = Thumbnail(0, 4.2, "happiness", "data:image/jpeg;base64,AAAA", True)
    shown = written(two_people(), tmp_path, thumbnails=[thumb])
    assert shown.count("<img") == 1 and "img-src data:;" in shown
    assert 'alt="Blurred face: happiness at 4.2\N{NO-BREAK SPACE}s, face 0"' in shown


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path):
    (tmp_path / "missing").write_text("a file")
    with pytest.raises(MoppetError, match="Cannot write"):
        write_report(two_people(), tmp_path / "missing" / "r.html")


def test_what_was_assumed_stands_in_plain_words_and_cuts_are_marked(tmp_path):
    rows = [make_row(i, i / FPS, [0.1, 0.9, 0, 0, 0, 0, 0]) for i in range(250)]
    plain = written(make_timeline(rows), tmp_path)
    assert "hard cut" not in plain and 'class="cut"' not in plain
    metadata = {
        "clock": {"joints_s": [2.0], "odd_stamps": 1},
        "cuts_s": [3.0, 6.0, 6.0001],
        "files": [f"{i:04d}.jpg" for i in range(250)],
        "settings": {"sequence": True},
    }
    page = written(make_timeline(rows, metadata=metadata), tmp_path)
    text = text_of(page)
    assert "The time stamps start anew at 2.00 s: the parts follow each other." in text
    assert "1 time stamp is far from the others" in text
    assert "3 hard cuts: after a cut, a face that changes has a new number. Lines mark them" in text
    assert "a folder of 250 images: 0000.jpg, 0001.jpg, 0002.jpg, …." in text
    assert "0003.jpg" not in page and "Cuts s" not in text and "Joints s" not in text
    places = re.findall(r'<path class="cut" d="(M7200 0v\d+M14400 0v\d+)"/>', page)
    assert len(places) == 2, "on the recording's strip and on the face's lane"


def test_cuts_outside_of_the_axis_are_not_drawn(tmp_path):
    rows = [make_row(i, 10 + i / FPS, [0.1, 0.9, 0, 0, 0, 0, 0]) for i in range(250)]
    page = written(make_timeline(rows, metadata={"cuts_s": [2.0, 99.0]}), tmp_path)
    assert 'class="cut" d=' not in page.replace('class="cut" d="M9 0v14"', "")
