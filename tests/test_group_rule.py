"""One rule for the group everywhere: the largest summed probability, not the likeliest class's.

Happiness is the likeliest expression of every row here, and negative the likeliest group.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moppet.coders.time_units import machine_track, make_units
from moppet.datasets.manifest import build_manifest
from moppet.evaluate.predictions import group_predictions, match_classes, take_predictions
from moppet.timeline import read_timeline
from moppet.timeline.downsample import build_drawing
from moppet.timeline.labels import live_rows
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import CausalSmoother
from moppet.timeline.table import Timeline, build_timeline
from moppet.values import EXPRESSIONS, GROUPS, Scores, group_probabilities
from moppet.vocabulary import order_groups

ROW = {"happiness": 0.4, "sadness": 0.3, "anger": 0.3}
P = np.array([ROW.get(name, 0.0) for name in EXPRESSIONS], np.float32)
PLAIN = TimelineSettings(smooth_s=0, unsure_below=0, enter=0.3, leave=0.2)
ROWS = [
    {"frame": i, "time_s": i / 4, "status": "ok", "face_id": 0, "quality": 1.0, "p": P}
    for i in range(8)
]
UNGROUPED = {name: group for name, group in GROUPS.items() if name not in ("sadness", "anger")}


@pytest.fixture
def timeline() -> Timeline:
    return build_timeline(ROWS, names=EXPRESSIONS, group_of=GROUPS, settings=PLAIN)


def test_a_single_image_follows_it() -> None:
    scores = Scores(EXPRESSIONS, P[None], np.empty((1, 0), np.float32), GROUPS)
    assert (scores.expressions, scores.groups) == (["happiness"], ["negative"])
    groups, sums = group_probabilities(P[None], EXPRESSIONS, GROUPS)
    assert groups == ["neutral", "positive", "negative"]
    assert sums[0] == pytest.approx([0, 0.4, 0.6])


def test_the_table_the_live_rows_and_the_episodes_follow_it(timeline: Timeline) -> None:
    assert set(timeline.table["expression"].to_pylist()) == {"happiness"}
    assert set(timeline.table["group"].to_pylist()) == {"negative"}
    smoother = CausalSmoother(PLAIN)
    live = live_rows(ROWS[:1], smoother, names=EXPRESSIONS, group_of=GROUPS, settings=PLAIN)
    assert (live[0]["expression"], live[0]["group"]) == ("happiness", "negative")
    assert [one.label for one in timeline.episodes()] == ["happiness", "negative"]
    face = timeline.summary()["faces"]["0"]
    assert face["groups"]["negative"]["share"] == 1 and face["groups"]["positive"]["share"] == 0


def test_the_page_follows_it(timeline: Timeline) -> None:
    groups = order_groups(timeline.group_of.values())
    (lane,) = build_drawing(timeline, groups).lanes
    assert {groups[code] for code in lane.group.tolist()} == {"negative"}


def test_a_comparison_with_coders_follows_it(timeline: Timeline) -> None:
    units, names = make_units(timeline, 0.5, None, None), ["positive", "neutral", "negative"]
    track = machine_track(timeline, [0], units, names, "group", rename=str)
    assert {names[value] for value in track.value.tolist()} == {"negative"}
    assert [event.label for event in track.events] == ["negative"]


def test_an_evaluation_follows_it(tmp_path: Path) -> None:
    columns = {"path": ["a.png", "b.png"], "label": ["anger", "happiness"], "split": ["test"] * 2}
    manifest = build_manifest(columns, root=tmp_path, names=EXPRESSIONS)
    match = match_classes(EXPRESSIONS, manifest.names)
    predictions = take_predictions(np.stack([P, P]), match, manifest, np.arange(2))
    grouped = group_predictions(predictions, GROUPS)
    assert grouped is not None
    assert [grouped.names[i] for i in grouped.predicted] == ["negative", "negative"]
    assert [predictions.names[i] for i in predictions.predicted] == ["happiness", "happiness"]
    grouped = group_predictions(predictions, UNGROUPED)  # none, as in the timeline below
    assert grouped is not None and len(grouped) == 0


def test_classes_without_a_group_are_summed_too_and_give_none() -> None:
    timeline = build_timeline(ROWS, names=EXPRESSIONS, group_of=UNGROUPED, settings=PLAIN)
    assert set(timeline.table["group"].to_pylist()) == {None}
    scores = Scores(EXPRESSIONS, P[None], np.empty((1, 0), np.float32), UNGROUPED)
    assert scores.groups == [None]


def test_groups_are_read_from_a_table_whose_expression_and_group_differ(tmp_path: Path) -> None:
    sure = np.eye(len(EXPRESSIONS), dtype=np.float32)[EXPRESSIONS.index("happiness")]
    rows = [*ROWS[:2], {**ROWS[2], "p": sure}, *ROWS[3:]]
    mine = dict.fromkeys(EXPRESSIONS, "down") | {"happiness": "up"}
    build_timeline(rows, names=EXPRESSIONS, group_of=mine, settings=PLAIN).write(tmp_path / "t.csv")
    (tmp_path / "t.meta.json").unlink()
    assert read_timeline(tmp_path / "t.csv").group_of["happiness"] == "up"
