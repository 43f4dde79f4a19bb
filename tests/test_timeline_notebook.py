"""The chart that a notebook shows of a timeline."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from moppet.palette import EXPRESSION_COLORS as COLORS
from moppet.timeline import TimelineSettings, notebook
from moppet.timeline.notebook import LEFT_PX, RIGHT_PX, WIDTH_PX
from moppet.timeline.time_axis import format_time
from moppet.values import EXPRESSIONS
from report_samples import drift, long_recording, make_row, make_timeline, two_people

SVG = "{http://www.w3.org/2000/svg}"


def drawn(timeline):
    """The chart as XML; what fails to draw raises here, not in the notebook."""
    html = notebook.timeline_html(
        timeline.table, timeline.names, timeline.settings, timeline.metadata
    )
    assert timeline._repr_html_() == html
    return ET.fromstring(html)


def lanes(root):
    return [
        group
        for group in root.iter(f"{SVG}g")
        if (group.findtext(f"{SVG}title") or "").startswith("Face ")
    ]


def areas(lane):
    """Colour → path of every class that is drawn in a lane."""
    return {path.get("fill"): path.get("d") for path in lane.findall(f"{SVG}g/{SVG}path")}


def words(root):
    return " ".join("".join(root.itertext()).split())


def pieces(path):
    """Each piece of an area as x and y of its upper edge, px below the lane's top."""
    found = []
    for start, floor, first, line in re.findall(r"M(\d+) (\d+)V(\d+)l([\d\s-]+)V\2Z", path):
        steps = np.array([int(one) for one in re.findall(r"-?\d+", line)]).reshape(-1, 2)
        points = np.vstack(([int(start), int(first)], steps)).cumsum(axis=0)
        assert points[:, 1].max() <= int(floor)
        found.append((points[:, 0] / 10, points[:, 1] / 10))
    assert path == "" or path.count("M") == len(found)
    return found


def steady(p, n=100, **more):
    return [make_row(i, i / 25, p, **more) for i in range(n)]


def test_each_face_has_a_lane_and_the_longest_comes_first():
    assert [lane.findtext(f"{SVG}text") for lane in lanes(drawn(two_people()))] == [
        "Face 0",
        "Face 1",
    ]


def test_of_many_faces_the_longest_six_are_drawn_and_the_others_counted():
    rows = []
    for face in range(9):
        rows += [
            make_row(i, i / 25, [0.4, *[0.1] * 6], face_id=face) for i in range(20 + 10 * face)
        ]
    root = drawn(make_timeline(rows))
    assert [lane.findtext(f"{SVG}text") for lane in lanes(root)] == [
        f"Face {number}" for number in (8, 7, 6, 5, 4, 3)
    ]
    assert "9 faces" in words(root) and "and 3 more faces" in words(root)


def test_areas_are_the_smoothed_probabilities_stacked_in_the_classes_order():
    p = [0.5, 0.25, 0.0, 0.125, 0.0, 0.0, 0.125]
    (lane,) = lanes(drawn(make_timeline(steady(p))))
    found = areas(lane)
    # Painted over one another, so the tallest comes first; what has no height is left out.
    order = ["anger", "surprise", "happiness", "neutral"]
    assert list(found) == [COLORS[name] for name in order]
    tops = [pieces(found[COLORS[name]])[0][1] for name in order]
    assert [set(top.tolist()) for top in tops] == [{0.0}, {5.5}, {11.0}, {22.0}]


def test_the_legend_names_the_classes_beside_their_colors():
    root = drawn(two_people())
    shown = [
        (span.get("style").rsplit(":", 1)[1], span.tail)
        for span in root.iter("span")
        if "background:#" in (span.get("style") or "")
    ]
    assert shown == [(COLORS[name], name) for name in EXPRESSIONS]


def test_curves_break_where_the_face_is_away_for_longer_than_max_gap_s():
    found = areas(lanes(drawn(two_people()))[0])
    (before, after) = pieces(found[COLORS["anger"]])
    across = WIDTH_PX - LEFT_PX - RIGHT_PX
    # Face 0 is away from 8 s to the first frame after 10.5 s, of 20; 18 to 18.4 s, unreadable, is
    # short enough to bridge.
    ends = [before[0][0], before[0][-1], after[0][0], after[0][-1]]
    seconds = (np.array(ends) - LEFT_PX) / across * 20
    assert seconds == pytest.approx([0, 8, 10.52, 20], abs=0.01)


def test_a_short_absence_does_not_break_a_curve():
    rows = [row for row in steady([0.4, *[0.1] * 6]) if not 1 < row["time_s"] < 1.9]
    rows += [make_row(i, i / 25) for i in range(26, 48)]
    (lane,) = lanes(drawn(make_timeline(rows)))
    assert len(pieces(areas(lane)[COLORS["anger"]])) == 1


def bars(root, title):
    """Start and length in seconds of a 4 s recording's bars."""
    across = WIDTH_PX - LEFT_PX - RIGHT_PX
    (group,) = [
        g for g in root.iter(f"{SVG}g") if (g.findtext(f"{SVG}title") or "").startswith(title)
    ]
    return {
        path.get("fill-opacity"): [
            ((float(x) - LEFT_PX) / across * 4, float(w) / across * 4)
            for x, w in re.findall(r"M([\d.]+) \d+h([\d.]+)", path.get("d"))
        ]
        for path in group.findall(f"{SVG}path")
    }


def test_unsure_faceless_and_unreadable_stretches_have_bars():
    sure, doubt = [0.94, *[0.01] * 6], [0.22, *[0.13] * 6]
    rows = steady(sure, 25)
    rows += [make_row(i, i / 25, doubt) for i in range(25, 50)]
    rows += [make_row(i, i / 25) for i in range(50, 75)]
    rows += [make_row(i, i / 25, status="unreadable") for i in range(75, 100)]
    root = drawn(make_timeline(rows, settings=TimelineSettings(smooth_s=0)))
    ((unsure,),) = bars(root, "Face 0").values()
    assert unsure == pytest.approx((1, 1), abs=0.01)
    no_face, unreadable = bars(root, "Frames without").values()
    assert no_face == [pytest.approx((2, 1), abs=0.01)]
    assert unreadable == [pytest.approx((3, 1), abs=0.01)]
    for word in ("unsure", "no face", "unreadable"):
        assert word in words(root.findall("div")[-1])


def test_marks_that_do_not_occur_are_not_in_the_legend():
    legend = words(drawn(make_timeline(steady([0.94, *[0.01] * 6]))).findall("div")[-1])
    assert legend.split() == list(EXPRESSIONS)


@pytest.mark.parametrize("key", ["source_name", "model_name"])
def test_metadata_is_shown_as_text_never_as_markup(key):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>&\x00\ud800'
    html = make_timeline(steady([0.4, *[0.1] * 6]), metadata={key: evil})._repr_html_()
    root = ET.fromstring(html)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("div", "span", "svg", "g", "title", "text", "rect", "path")
    }
    assert "<script" not in html and "<img" not in html
    assert '<script>alert("1")</script>' in words(root)
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)


def test_class_names_are_escaped_too():
    names = ("<b>joy</b>", "a&b")
    root = drawn(make_timeline(steady([0.5, 0.5]), names=names, group_of={}))
    assert "<b>joy</b>" in words(root) and not list(root.iter("b"))


def test_a_line_above_says_what_it_is():
    assert (
        words(drawn(two_people())[0]) == "child.mp4 · 20.0 s · model default · 737 rows · 2 faces"
    )
    part = make_timeline(steady([0.4, *[0.1] * 6]), metadata={"complete": False})
    assert words(drawn(part)[0]).endswith("1 face · interrupted")


def test_the_text_and_the_ground_are_the_notebooks_own():
    html = two_people()._repr_html_()
    assert 'fill="currentColor"' in html
    painted = set(re.findall(r'(?:fill|stroke|background|color)(?:=|:)"?(#\w+|white|black)', html))
    assert painted == set(COLORS.values())
    # No ids and no style sheet: two charts in one notebook cannot change each other.
    assert " id=" not in html and "<style" not in html and "url(" not in html


def test_an_hour_stays_small_and_quick():
    timeline = long_recording(3600, 1, 25)
    start = time.process_time()
    html = timeline._repr_html_()
    assert time.process_time() - start < 1
    assert len(html.encode()) < 200_000


def test_six_faces_of_many_classes_stay_small():
    times = np.arange(25 * 120) / 25
    curves = [np.hstack((drift(times, face), drift(times, face + 50))) / 2 for face in range(8)]
    rows = [
        make_row(i, t, curve[i], face_id=face)
        for i, t in enumerate(times.tolist())
        for face, curve in enumerate(curves)
    ]
    names = tuple(f"{'x' * 90} {i}" for i in range(14))
    timeline = make_timeline(
        rows, names=names, group_of={}, metadata={"source_name": "y" * 100_000}
    )
    assert len(lanes(drawn(timeline))) == 6
    assert len(timeline._repr_html_().encode()) < 200_000


def test_a_face_that_comes_and_goes_all_the_time_stays_small():
    rows = [make_row(i, i * 1.5, [0.4, *[0.1] * 6]) for i in range(5000)]
    assert len(make_timeline(rows)._repr_html_().encode()) < 200_000


def test_curves_are_means_when_points_hold_several_frames():
    # 25 frames/s for 80 s in 600 points: every second frame is happy, unsmoothed.
    p = ([1.0, *[0.0] * 6], [0.0, 1.0, *[0.0] * 5])
    rows = [make_row(i, i / 25, p[i % 2]) for i in range(3000)]
    timeline = make_timeline(rows, settings=TimelineSettings(smooth_s=0))
    (lane,) = lanes(drawn(timeline))
    ((_, top),) = pieces(areas(lane)[COLORS["neutral"]])
    assert len(top) <= 602 and top == pytest.approx(22, abs=44 / 5 / 2 + 0.1)


def test_a_timeline_without_rows_is_one_line_of_text():
    root = drawn(make_timeline([], metadata={"source_name": None, "duration_s": None}))
    assert words(root) == "Timeline · model default · 0 rows · 0 faces"
    assert not list(root.iter(f"{SVG}svg"))


def test_skipped_frames_alone_draw_nothing():
    rows = [make_row(i, i / 25, status="skipped") for i in range(5)]
    assert not list(drawn(make_timeline(rows)).iter(f"{SVG}svg"))


def test_a_recording_without_a_face_shows_that_and_no_expression():
    root = drawn(make_timeline([make_row(i, i / 25) for i in range(100)]))
    assert lanes(root) == [] and "0 faces" in words(root)
    assert bars(root, "Frames without") == {".3": [pytest.approx((0, 4), abs=0.01)]}
    assert "neutral" not in words(root)


def test_a_single_image_fills_its_lane_and_has_no_time():
    root = drawn(
        make_timeline([make_row(0, 0.0, [0.4, *[0.1] * 6])], metadata={"duration_s": None})
    )
    (lane,) = lanes(root)
    ((x, _),) = pieces(areas(lane)[COLORS["anger"]])
    assert (x[0], x[-1]) == (LEFT_PX, WIDTH_PX - RIGHT_PX)
    assert not re.search(r"\d s\b", words(root))


def test_a_face_that_was_not_classified_has_an_empty_lane():
    rows = [make_row(i, i / 25, None, status="low_quality", face_id=0) for i in range(50)]
    (lane,) = lanes(drawn(make_timeline(rows)))
    assert areas(lane) == {}


def test_classes_of_its_own_have_colors_that_differ_and_the_smallest_are_one():
    rng = np.random.default_rng(3)
    names = ("calm", "neutral", *(f"c{i}" for i in range(10, 24)))
    weight = np.array([5.0, 5.0, *np.linspace(0.1, 3, 14)])
    rows = [make_row(i, i / 25, rng.dirichlet(weight)) for i in range(50)]
    root = drawn(make_timeline(rows, names=names, group_of={}))
    (lane,) = lanes(root)
    found = areas(lane)
    assert len(found) == 12 and COLORS["neutral"] in found
    assert "calm" in words(root) and "c23" in words(root) and "5 others" in words(root)
    assert "c10" not in words(root)
    tallest = next(iter(found))  # with the others, all classes sum to 1
    assert set(pieces(found[tallest])[0][1].tolist()) == {0.0}


def test_what_cannot_be_drawn_leaves_the_text_form(monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("moppet.timeline.table.timeline_html", fail)
    assert two_people()._repr_html_() is None


@pytest.mark.parametrize(
    ("seconds", "step_s", "text"),
    [(0, 1, "0 s"), (59, 1, "59 s"), (65, 5, "1:05"), (3723, 1, "1:02:03"), (0.25, 0.05, "0.25 s")],
)
def test_moments_read_as_seconds_or_minutes(seconds, step_s, text):
    assert format_time(seconds, step_s) == text


def test_a_recording_may_start_late():
    rows = [make_row(i, 7200 + i / 25, [0.4, *[0.1] * 6]) for i in range(100)]
    root = drawn(make_timeline(rows))
    assert "2:00:00" in words(root) and "0 s" not in words(root).split("face", 1)[1]
