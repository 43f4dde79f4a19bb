"""An evaluation's figures are those of scikit-learn, on the rows and classes that it names."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

import rendered
from evaluation_sample import (
    N,
    faces_without_search,
    make_manifest,
    two_class_model,
    write_images,
)
from model_folder import linear_network, write_model
from moppet.datasets.duplicates import find_duplicates
from moppet.datasets.faces import find_manifest_faces, whole_crop
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.evaluate import evaluation as module
from moppet.evaluate import predictions as predictions_module
from moppet.evaluate.chart_data import EmbeddingMap, map_embeddings, read_training
from moppet.evaluate.evaluation import evaluate
from moppet.evaluate.predictions import group_predictions, match_classes, take_predictions
from moppet.evaluate.subgroups import column_subgroups
from moppet.infer.expression_model import load_model
from moppet.values import EXPRESSIONS, GROUPS, ModelError, MoppetError, UsageError

GROUP_NAMES = ["positive", "neutral", "negative"]
DRAWS = 40


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No search for faces and no map, but where a test asks for them."""
    monkeypatch.setattr(predictions_module, "find_manifest_faces", faces_without_search())
    monkeypatch.setattr(module, "map_embeddings", no_map)


def no_map(embeddings, rng):
    n = len(embeddings)
    return EmbeddingMap(np.arange(n), np.zeros((n, 2)), "none")


@pytest.fixture
def real_map(monkeypatch):
    monkeypatch.setattr(module, "map_embeddings", map_embeddings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write_images(folder)
    write_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def manifest(folder):
    return make_manifest(folder, folder / "model")


@pytest.fixture(scope="module")
def truth(folder, manifest):
    """Probabilities by the model alone, and labels."""
    images = np.load(folder / "faces.npz")["images"]
    crops = np.stack([whole_crop(image) for image in images])
    return load_model(folder / "model").predict(crops).probabilities, manifest.labels


@pytest.fixture(scope="module")
def found(folder, manifest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions_module, "find_manifest_faces", faces_without_search())
        return evaluate(folder / "model", manifest, by=["room"], draws=DRAWS).as_json()


def value(level, figure, part="all"):
    return level["parts"][part]["overall"][figure]["value"]


def check_against_sklearn(level, p, y, k):
    guess = p.argmax(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(y, guess),
        "balanced_accuracy": reference.balanced_accuracy_score(y, guess),
        "macro_f1": reference.f1_score(y, guess, average="macro"),
        "kappa": reference.cohen_kappa_score(y, guess),
        "macro_auc": reference.roc_auc_score(
            y, p / p.sum(axis=1, keepdims=True), multi_class="ovr"
        ),
        "brier": np.mean(((p - np.eye(k)[y]) ** 2).sum(axis=1)),
    }
    assert {name: value(level, name) for name in expected} == pytest.approx(expected, abs=1e-6)
    whole = level["parts"]["all"]
    assert whole["confusion"] == reference.confusion_matrix(y, guess, labels=range(k)).tolist()
    ours = [whole["per_class"]["f1"][name]["value"] for name in level["names"]]
    assert ours == pytest.approx(list(reference.f1_score(y, guess, average=None)))


def test_the_figures_of_the_classes_are_scikit_learns(found, truth):
    p, y = truth
    assert found["classes"]["names"] == list(EXPRESSIONS)
    assert found["rows"]["evaluated"] == N
    check_against_sklearn(found["classes"], p, y, 7)


def test_a_group_is_the_sum_of_its_classes(found, truth):
    p, y = truth
    group = np.array([GROUP_NAMES.index(GROUPS[name]) for name in EXPRESSIONS])
    sums = np.stack([p[:, group == g].sum(axis=1) for g in range(3)], axis=1)
    assert found["groups"]["names"] == GROUP_NAMES
    check_against_sklearn(found["groups"], sums, group[y], 3)


def test_each_interval_holds_its_figure_and_rests_on_its_rows(found, truth):
    recalls = found["classes"]["parts"]["all"]["per_class"]["recall"]
    for number, name in enumerate(EXPRESSIONS):
        one = recalls[name]
        assert one["low"] <= one["value"] <= one["high"]
        assert one["n"] == (truth[1] == number).sum()
    whole = found["classes"]["parts"]["all"]
    assert (whole["n"], whole["groups"]) == (N, N - 10)
    common = np.bincount(truth[1])
    assert whole["commonest"]["name"] == EXPRESSIONS[common.argmax()]
    assert whole["commonest"]["value"] == pytest.approx(common.max() / N)


def test_a_missed_face_is_counted_and_can_count_as_wrong(found, truth):
    p, y = truth
    seen = np.arange(N) % 7 != 0
    right = p.argmax(axis=1) == y
    level = found["classes"]
    assert found["rows"]["faces_found"] == seen.sum()
    assert level["missed_wrong"]["value"] == pytest.approx((right & seen).mean())
    assert value(level, "accuracy", "face found") == pytest.approx(right[seen].mean())
    assert value(level, "accuracy", "no face found") == pytest.approx(right[~seen].mean())


def test_ages_and_columns_part_the_rows_and_their_figures(found, truth, manifest):
    p, y = truth
    right = p.argmax(axis=1) == y
    band = manifest.column("age_band")
    level = found["classes"]
    masks = {name: band == name for name in ("infant", "child", "adult", "uncertain")}
    masks["infant or child"] = masks["infant"] | masks["child"]
    assert set(level["parts"]) == {"all", "face found", "no face found", *masks}
    for name, mask in masks.items():
        assert level["parts"][name]["n"] == mask.sum()
        assert value(level, "accuracy", name) == pytest.approx(right[mask].mean())
    rooms = level["by"]["room"]
    assert {name: part["n"] for name, part in rooms.items()} == {
        "blue": (manifest.column("room") == "blue").sum(),
        "red": (manifest.column("room") == "red").sum(),
    }


def test_the_gap_is_children_less_adults_and_less_all_whose_age_is_known(found, truth, manifest):
    p, y = truth
    right = p.argmax(axis=1) == y
    band = manifest.column("age_band")
    young = np.isin(band.astype(str), ["infant", "child"])
    old = {"adult": band == "adult"}
    old["all others"] = old["adult"] | (band == "uncertain")
    gaps = {gap["others"]: gap for gap in found["classes"]["gaps"]}
    assert set(gaps) == set(old)
    for name, others in old.items():
        gap = gaps[name]
        assert (gap["n_children"], gap["n_others"]) == (young.sum(), others.sum())
        expected = right[young].mean() - right[others].mean()
        assert gap["figures"]["accuracy"]["value"] == pytest.approx(expected)
        assert "one_rater" not in gap["figures"]  # nobody voted


def test_the_raters_gap_and_ceiling_stand_beside_the_models(folder, manifest):
    rng = np.random.default_rng(3)
    votes = rng.multinomial(9, np.ones(7) / 7, N) + 4 * np.eye(7)[manifest.labels]
    cast = votes.sum(axis=1) + rng.integers(0, 3, N)  # some chose none of the seven
    voted = manifest.replace(votes=votes, weight=votes.sum(axis=1) / cast)
    level = evaluate(folder / "model", voted, draws=DRAWS).as_json()["classes"]
    share = votes[np.arange(N), voted.labels] / cast
    assert level["parts"]["all"]["one_rater"]["value"] == pytest.approx(share.mean())
    pairs = (votes * (votes - 1)).sum(axis=1) / (cast * (cast - 1))
    assert value(level, "human_rater_agreement") == pytest.approx(pairs.mean())
    band = voted.column("age_band").astype(str)
    young = np.isin(band, ["infant", "child"])
    figures = level["gaps"][0]["figures"]
    expected = share[young].mean() - share[band == "adult"].mean()
    assert figures["one_rater"]["value"] == pytest.approx(expected)
    wider = figures["accuracy"]["value"] - expected
    assert figures["accuracy_less_one_rater"]["value"] == pytest.approx(wider)


def test_votes_for_groups_are_sums_and_others_abstain():
    manifest = build_manifest(
        {
            "path": ["a", "b"],
            "label": ["happiness", "odd"],
            "votes": np.array([[3, 2, 1], [0, 1, 4]]),
            "weight": [0.6, 1.0],
        },
        root=Path("."),
        names=("neutral", "happiness", "odd"),
    )
    model = ("happiness", "surprise", "neutral", "odd")
    p = np.array([[0.4, 0.2, 0.3, 0.1], [0.1, 0.1, 0.2, 0.6]], np.float32)
    match = match_classes(model, manifest.names)
    predictions = take_predictions(p, match, manifest, manifest.groups)
    assert match.names == ("happiness", "neutral", "odd") and match.lacking == ("surprise",)
    expected = p[:, [0, 2, 3]] / p[:, [0, 2, 3]].sum(axis=1, keepdims=True)
    assert predictions.probabilities == pytest.approx(expected)
    assert predictions.votes.tolist() == [[2, 3, 1], [1, 0, 4]]
    assert predictions.abstained.tolist() == [4, 0]  # six of ten raters chose a class
    grouped = group_predictions(
        predictions, {"happiness": "good", "neutral": "good", "odd": "other"}
    )
    assert grouped.names == ("good", "other") and len(grouped) == 2
    assert grouped.votes.tolist() == [[5, 1], [1, 4]]
    alone = group_predictions(predictions, {"happiness": "good", "neutral": "calm"})
    assert alone is None  # each group holds one class: nothing new
    partly = group_predictions(
        take_predictions(
            p, match_classes(model, ("happiness", "neutral", "odd")), manifest, np.arange(2)
        ),
        {"happiness": "a", "neutral": "a", "odd": "b"},
    )
    assert partly.probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_faces_without_a_group_are_left_out_of_the_groups_and_counted(
    tmp_path, manifest, folder, truth
):
    groups = {name: group for name, group in GROUPS.items() if name != "anger"}
    model = write_model(tmp_path / "model", groups=groups)
    found = evaluate(model, manifest, draws=2).as_json()
    angry = int((manifest.column("label") == "anger").sum())
    p, y = truth[:2]
    anger = EXPRESSIONS.index("anger")
    sums = [[row[[GROUPS[n] == g for n in EXPRESSIONS]].sum() for g in GROUP_NAMES] for row in p]
    sums = np.array(sums) - p[:, [anger]] * (np.array(GROUP_NAMES) == GROUPS["anger"])
    read_as_none = int(((p[:, anger] > sums.max(axis=1)) & (y != anger)).sum())
    assert read_as_none > 0
    assert found["rows"]["without_group"] == {"label": angry, "prediction": read_as_none}
    assert found["groups"]["parts"]["all"]["n"] == N - angry - read_as_none
    assert any(f"{angry} faces labeled with a class that has no group" in x for x in found["notes"])


def test_words_for_an_expression_match_it(folder):
    words = {"happiness": "happy", "sadness": "Sad", "anger": "angry"}
    manifest = make_manifest(folder, folder / "model", names=words)
    assert "happy" in manifest.names
    found = evaluate(folder / "model", manifest, draws=2).as_json()
    assert found["classes"]["names"] == list(EXPRESSIONS)
    assert found["rows"]["evaluated"] == N and found["notes"][1:] == []


def test_classes_that_the_data_lacks_are_left_out_and_said(folder, manifest, truth):
    p, _ = truth
    kept = manifest.select(np.isin(manifest.labels, [0, 1, 2]))
    few = build_manifest(
        {name: kept.table[name] for name in ("path", "array_row", "label")},
        root=folder,
        names=("neutral", "happiness", "sadness"),
    )
    found = evaluate(folder / "model", few, draws=2).as_json()
    rows = kept.column("array_row")
    expected = np.mean(p[rows][:, :3].argmax(axis=1) == few.labels)
    assert value(found["classes"], "accuracy") == pytest.approx(expected)
    note = found["notes"][0]
    assert "not contain surprise, fear, disgust, anger" in note and "scaled to sum to 1" in note


def test_rows_of_classes_that_the_model_lacks_are_left_out_counted_and_said(tmp_path, manifest):
    model = two_class_model(tmp_path / "two", ["happiness", "sadness"])
    found = evaluate(model, manifest, draws=2).as_json()
    counts = {name: int((manifest.column("label") == name).sum()) for name in EXPRESSIONS}
    kept = counts.pop("happiness") + counts.pop("sadness")
    assert found["rows"]["of_unknown_class"] == counts
    assert found["rows"]["evaluated"] == kept
    assert any("does not know neutral (" in note and "left out" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (("a", "b"), ("c", "d"), "they share none. The model's: a, b; the data's: c, d"),
        (("a", "b"), ("b", "d"), "they share b"),
        (("happiness", "b"), ("happy", "joy", "b"), "'happy' and 'joy' both mean"),
    ],
)
def test_classes_that_do_not_fit_are_refused(model, data, said):
    with pytest.raises(MoppetError, match=said.replace(".", r"\.")):
        match_classes(model, data)


def test_the_report_rows_are_taken_where_there_are_some(folder, manifest):
    split = np.array(["train"] * 70 + ["test"] * 60 + [None] * 10, object)
    found = evaluate(folder / "model", manifest.replace(split=split), draws=2).as_json()
    assert found["about"]["split"] == "test"
    assert (found["rows"]["in_split"], found["rows"]["evaluated"]) == (60, 60)
    assert all(70 <= one["row"] < 130 for one in found["mistakes"])
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("split", "rows", "said"),
    [
        (None, N, "names no split"),
        ("train", 70, "Split 'train' is used"),
        ("all", N, "All rows are used"),
    ],
)
def test_rows_that_may_have_been_learned_from_are_said(folder, manifest, split, rows, said):
    if split:
        manifest = manifest.replace(split=["train"] * 70 + ["test"] * 70)
    found = evaluate(folder / "model", manifest, split=split, draws=2).as_json()
    assert found["rows"]["evaluated"] == rows
    assert any(said in note and "too good" in note for note in found["notes"])


def test_copies_in_another_split_are_said(folder, manifest):
    split = ["train"] * 5 + ["test"] * (N - 5)  # the last ten are copies of the first ten
    found = evaluate(folder / "model", manifest.replace(split=split), draws=2).as_json()
    assert any(
        note.startswith("5 of the rows show a subject, or a duplicate") for note in found["notes"]
    )


def test_copies_that_the_data_does_not_tell_of_are_found_and_drawn_together(
    folder, tmp_path, manifest
):
    images = np.load(folder / "faces.npz")["images"].copy()
    images[60:80], images[80:90] = images[:20], images[10:20, :, ::-1]
    np.savez(tmp_path / "faces.npz", images=images)
    number = np.r_[np.arange(60), np.arange(20), np.arange(10, 20), np.arange(90, N)]
    told = manifest.replace(duplicate_group=number)
    untold = manifest.replace(duplicate_group=[None] * N)
    told, untold = (Manifest(m.names, m.table, tmp_path) for m in (told, untold))
    seen = []
    progress = lambda *done: seen.append(done)  # noqa: E731
    found = evaluate(folder / "model", untold, draws=DRAWS, progress=progress).as_json()
    assert ("reading", N, N) in seen
    known = evaluate(folder / "model", told, draws=DRAWS).as_json()
    assert found["rows"]["duplicates"] == {"faces": 50, "images": 20}
    assert known["rows"]["duplicates"] is None
    assert found["classes"] == known["classes"]
    assert found["classes"]["parts"]["all"]["groups"] == N - 30
    assert any("50 of the faces are exact or near duplicates" in note for note in found["notes"])
    assert not any("duplicates" in note for note in known["notes"])
    searched = find_duplicates(manifest.replace(duplicate_group=[None] * N)).manifest
    assert evaluate(folder / "model", searched, draws=2).as_json()["rows"]["duplicates"] is None


def test_few_faces_are_said_to_be_few(folder, manifest):
    found = evaluate(folder / "model", manifest.select(np.arange(7)), draws=2).as_json()
    assert found["notes"][0].startswith("Only 7 faces were evaluated")


def test_a_split_that_is_not_there_is_refused_with_the_nearest(folder, manifest):
    manifest = manifest.replace(split=["train"] * 70 + ["test"] * 70)
    with pytest.raises(UsageError, match=r"no split 'tests'; did you mean 'test'.*70 rows"):
        evaluate(folder / "model", manifest, split="tests")


def test_rows_without_a_known_label_are_refused(folder, manifest):
    with pytest.raises(MoppetError, match=r"140 rows 140 have no label"):
        evaluate(folder / "model", manifest.replace(label=[None] * N))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("rooms", "Did you mean 'room'"),
        ("xyz", "Known: path"),
        ("votes", "holds lists"),
    ],
)
def test_a_column_that_cannot_part_the_rows_is_refused(manifest, column, said):
    with pytest.raises(UsageError, match=said):
        column_subgroups(manifest, column)


def test_a_column_that_tells_every_row_apart_is_refused(manifest):
    many = build_manifest({"path": [str(i) for i in range(501)]}, root=Path("."))
    with pytest.raises(UsageError, match="501 parts of 501 rows"):
        column_subgroups(many, "path")


def test_every_row_stands_in_one_part_of_a_column(manifest):
    numbers = np.r_[np.linspace(0, 1, N - 4), [np.nan] * 4]
    table = manifest.replace(size=numbers, room=["red"] * 100 + [None] * 40)
    parts = column_subgroups(table, "size")
    assert list(parts)[-1] == "unspecified" and parts["unspecified"].sum() == 4
    assert [int(mask.sum()) for mask in parts.values()] == [34, 34, 34, 34, 4]
    rooms = column_subgroups(table, "room")
    assert {name: int(mask.sum()) for name, mask in rooms.items()} == {
        "red": 100,
        "unspecified": 40,
    }
    for masks in (parts, rooms):
        assert (np.sum(list(masks.values()), axis=0) == 1).all()


def test_bands_of_years_are_in_their_natural_order():
    ages = ["8-12", "18-60", "0", "1-3", "4-7"]
    table = build_manifest({"path": ["x"] * 5, "ages": ages}, root=".", names=())
    assert list(column_subgroups(table, "ages")) == ["0", "1-3", "4-7", "8-12", "18-60"]


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        (["1", "01", "1.0", None], {"01": 1, "1": 1, "1.0": 1, "unspecified": 1}),
        ([1.0, 1.0000001, 2.0, math.nan], {"1.0": 1, "1.0000001": 1, "2.0": 1, "unspecified": 1}),
        (
            [1234567.0, 1234568.0, 3, None],
            {"3.0": 1, "1234567.0": 1, "1234568.0": 1, "unspecified": 1},
        ),
        ([2, 1, None, 1], {"1": 2, "2": 1, "unspecified": 1}),
        (["a", "unspecified", None], {"a": 1, "unspecified": 1, "unspecified at all": 1}),
        (np.linspace(1, 1.0000001, 40), None),
        (np.r_[-np.inf, np.arange(30.0), np.inf, np.nan], None),
        ([2**60 + i for i in range(20)], None),
        ([*range(2**53, 2**53 + 20), None], None),
        ([0.0] * 30 + list(range(20)), None),
    ],
)
def test_no_row_is_lost_where_values_look_alike(values, sizes):
    table = build_manifest({"path": ["x"] * len(values), "it": values}, root=".", names=())
    parts = column_subgroups(table, "it")
    assert (np.sum(list(parts.values()), axis=0) == 1).all()
    if sizes is not None:
        assert {name: int(mask.sum()) for name, mask in parts.items()} == sizes
    else:
        assert all(mask.any() for mask in parts.values())


def test_two_models_are_compared_on_the_same_rows(folder, manifest, truth, tmp_path):
    names = ["joy", "sadness", "neutral"]
    other = two_class_model(tmp_path / "three", names, name="other")
    found = evaluate(folder / "model", manifest, against=other, draws=DRAWS).as_json()["against"]
    shared = [0, 1, 2]
    p, y = truth
    rows = np.isin(y, shared)
    images = np.load(folder / "faces.npz")["images"][rows]
    crops = np.stack([whole_crop(image) for image in images])
    q = load_model(other).predict(crops).probabilities[:, [2, 0, 1]]
    first = p[rows][:, shared] / p[rows][:, shared].sum(axis=1, keepdims=True)
    y = y[rows]
    assert found["names"] == ["neutral", "happiness", "sadness"]
    assert set(found["left_out"]) == {"surprise", "fear", "disgust", "anger"}
    assert found["n"] == rows.sum()
    a, b = first.argmax(axis=1) == y, q.argmax(axis=1) == y
    assert found["mcnemar"]["only_first"] == (a & ~b).sum()
    assert found["mcnemar"]["only_second"] == (b & ~a).sum()
    difference = found["differences"]["all"]
    assert difference["accuracy"]["value"] == pytest.approx(a.mean() - b.mean())
    assert difference["accuracy"]["low"] <= difference["accuracy"]["value"]
    for number, name in enumerate(found["names"]):
        areas = [reference.roc_auc_score(y == number, s[:, number]) for s in (first, q)]
        test = found["auc"][name]
        assert [test["first"], test["second"]] == pytest.approx(areas)
    assert found["first"]["n"] == found["second"]["n"] == rows.sum()
    assert found["faces_left_out"] == N - rows.sum() and found["second_left_out"] == []
    band = manifest.column("age_band")[rows]
    infants = band == "infant"
    assert found["differences"]["infant"]["accuracy"]["value"] == pytest.approx(
        a[infants].mean() - b[infants].mean()
    )


def test_what_a_comparison_leaves_out_of_the_second_model_is_said(folder, manifest, tmp_path):
    names = ["joy", "sadness", "boredom", "anger"]
    other = two_class_model(tmp_path / "four", names, name="other")
    first = two_class_model(tmp_path / "three", ["happiness", "fear", "sadness"])
    found = evaluate(first, manifest, against=other, draws=2).as_json()
    against = found["against"]
    assert against["names"] == ["happiness", "sadness"] and against["left_out"] == ["fear"]
    assert against["second_left_out"] == ["boredom", "anger"]
    afraid = int((manifest.column("label") == "fear").sum())
    assert against["faces_left_out"] == afraid == found["rows"]["evaluated"] - against["n"]


def test_one_subject_gives_no_interval_and_no_p(folder, manifest, tmp_path):
    other = two_class_model(tmp_path / "two", ["happiness", "sadness"])
    young = np.isin(manifest.column("age_band").astype(str), ["infant", "child"])
    lone = manifest.replace(subject=np.where(young, "only", None))
    found = evaluate(folder / "model", lone, against=other, draws=DRAWS).as_json()
    young = found["classes"]["parts"]["infant"]["overall"]["accuracy"]
    assert young["value"] > 0 and young["low"] is None and young["high"] is None
    gap = found["classes"]["gaps"][0]["figures"]["accuracy"]
    assert (gap["low"], gap["high"], gap["p"]) == (None, None, None)
    difference = found["against"]["differences"]
    assert difference["infant"]["accuracy"]["p"] is None
    assert difference["all"]["accuracy"]["p"] is not None
    assert found["against"]["mcnemar"]["p"] is not None
    one = manifest.replace(subject=["only"] * N)
    against = evaluate(folder / "model", one, against=other, draws=DRAWS).as_json()["against"]
    assert against["groups"] == 1
    assert against["mcnemar"]["p"] is None and against["mcnemar"]["p_mid"] is None
    area = against["auc"]["sadness"]
    assert area["value"] is not None and area["low"] is None and area["p"] is None


def test_two_classes_have_one_area(tmp_path, folder, manifest):
    other = two_class_model(tmp_path / "two", ["happiness", "sadness"])
    found = evaluate(folder / "model", manifest, against=other, draws=2).as_json()["against"]
    assert list(found["auc"]) == ["sadness"]


def test_a_model_is_not_compared_with_itself(folder, manifest):
    with pytest.raises(UsageError, match="is the same network as the first"):
        evaluate(folder / "model", manifest, against=folder / "model")


def test_models_without_shared_classes_are_refused_before_any_image_is_read(
    folder, manifest, tmp_path, monkeypatch
):
    monkeypatch.setattr(predictions_module, "find_manifest_faces", None)
    other = two_class_model(tmp_path / "two", ["calm", "odd"])
    with pytest.raises(MoppetError, match="share none"):
        evaluate(folder / "model", manifest, against=other)


def test_thinned_roc_points_lie_on_the_curve(found, truth):
    p, y = truth
    for number, name in enumerate(EXPRESSIONS):
        x, up, _ = reference.roc_curve(y == number, p[:, number], drop_intermediate=False)
        points = np.array(found["classes"]["roc"][name])
        assert points[0].tolist() == [0, 0] and points[-1].tolist() == [1, 1]
        distance = np.abs(points[:, None, :] - np.stack([x, up], 1)[None]).sum(axis=2)
        assert distance.min(axis=1).max() < 1e-4
        area = np.trapezoid(points[:, 1], points[:, 0])
        assert area == pytest.approx(reference.auc(x, up), abs=0.02)


def test_reliability_bins_are_scikit_learns(found, truth):
    p, y = truth
    right = p.argmax(axis=1) == y
    up, across = calibration_curve(right, p.max(axis=1), n_bins=15)
    bins = [one for one in found["classes"]["reliability"] if one["accuracy"]["n"]]
    assert len(found["classes"]["reliability"]) == 15
    assert [one["accuracy"]["value"] for one in bins] == pytest.approx(list(up))
    assert [one["confidence"] for one in bins] == pytest.approx(list(across), rel=1e-5)
    assert sum(one["accuracy"]["n"] for one in bins) == N


def test_the_worst_mistakes_are_the_surest_ones(found, truth):
    p, y = truth
    guess = p.argmax(axis=1)
    wrong = np.flatnonzero(guess != y)
    order = wrong[np.argsort(-p[wrong, guess[wrong]])]
    assert [one["row"] for one in found["mistakes"]] == order[:60].tolist()
    worst = found["mistakes"][0]
    assert (worst["label"], worst["read_as"]) == (
        EXPRESSIONS[y[order[0]]],
        EXPRESSIONS[guess[order[0]]],
    )
    assert worst["confidence"] == pytest.approx(p[order[0]].max())
    assert worst["array_row"] == order[0] and worst["face_found"] == bool(order[0] % 7)


def test_a_model_without_mistakes_has_none(folder, manifest, truth):
    p, y = truth
    found = evaluate(folder / "model", manifest.select(p.argmax(axis=1) == y), draws=2).as_json()
    assert found["mistakes"] == [] and value(found["classes"], "accuracy") == 1


def test_what_is_undefined_is_null_and_the_json_is_valid(folder, manifest):
    only = manifest.select(np.isin(manifest.labels, [0, 1]) & (np.arange(N) < 60))
    found = evaluate(folder / "model", only, draws=4).as_json()
    text = json.dumps(found, allow_nan=False)
    level = json.loads(text)["classes"]
    assert level["parts"]["all"]["per_class"]["recall"]["fear"]["value"] is None
    assert level["parts"]["all"]["per_class"]["auc"]["fear"]["value"] is None
    assert level["roc"]["fear"] is None


def test_images_read_in_blocks_give_the_same(folder, manifest, found, monkeypatch):
    monkeypatch.setattr(predictions_module, "_CHUNK", 33)
    again = evaluate(folder / "model", manifest, by=["room"], draws=DRAWS).as_json()
    assert again["classes"]["parts"] == found["classes"]["parts"]
    assert again["mistakes"] == found["mistakes"]


def test_crops_are_cut_as_video_cuts_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_module, "find_manifest_faces", find_manifest_faces)
    names = ["age05_asian_happiness.jpg", "age05_asian_happiness.jpg"]
    place = Path(rendered.__file__).parent / "pictures"
    manifest = build_manifest(
        {"path": names, "label": ["happiness", "sadness"]}, root=place, names=EXPRESSIONS
    )
    found = evaluate(folder / "model", manifest, draws=2).as_json()
    crops = find_manifest_faces(manifest).aligned()
    p = load_model(folder / "model").predict(crops).probabilities[0]
    assert found["rows"]["faces_found_at_default_thresholds"] == 2
    assert {round(one["confidence"], 5) for one in found["mistakes"]} == {round(float(p.max()), 5)}


@pytest.fixture
def few(folder, tmp_path):
    """Four images in files of their own, two of them damaged."""
    images = np.load(folder / "faces.npz")["images"]
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), images[number])
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(b"damaged")
    labels = ["happiness", "sadness", "anger", "sadness"]
    return {"path": [f"{i}.png" for i in range(4)], "label": labels, "age": [1, 2, 30, 40]}


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_damaged_images_are_left_out_and_named(folder, few, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(predictions_module, "find_manifest_faces", find_manifest_faces)
    monkeypatch.setattr(predictions_module, "_CHUNK", chunk)
    manifest = build_manifest(few, root=tmp_path, names=EXPRESSIONS)
    found = evaluate(folder / "model", manifest, by=["age"], draws=2).as_json()
    assert (found["rows"]["evaluated"], found["rows"]["unreadable"]) == (2, 2)
    assert "2 images cannot be read and are left out: 1.png, 2.png." in found["notes"]
    assert any(note.startswith("Only 2 faces were evaluated") for note in found["notes"])
    whole = evaluate(folder / "model", manifest.select([0, 3]), by=["age"], draws=2).as_json()
    assert found["classes"] == whole["classes"]
    assert {one["row"] for one in found["mistakes"]} <= {0, 3}
    assert whole["rows"]["unreadable"] == 0


def test_no_image_that_can_be_read_is_an_error(folder, few, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_module, "find_manifest_faces", find_manifest_faces)
    manifest = build_manifest(few, root=tmp_path, names=EXPRESSIONS).select([1, 2])
    with pytest.raises(MoppetError, match=r"none of the 2 images .* \(1\.png, 2\.png\)"):
        evaluate(folder / "model", manifest, draws=2)


def test_the_epochs_of_a_training_are_read(tmp_path):
    assert read_training(tmp_path) is None
    text = "epoch,train_loss,val_loss\n1,0.9,0.8\n2,0.7,0.5\n3,0.6,nan\n4,,0.6\n"
    (tmp_path / "training.csv").write_text(text, encoding="utf-8")
    training = read_training(tmp_path)
    assert training["best_epoch"] == 2
    assert training["columns"]["val_loss"] == [0.8, 0.5, None, 0.6]
    assert training["columns"]["train_loss"][3] is None


@pytest.mark.parametrize("text", ["", "epoch,x\n", "a,b\n1,2\n", "epoch,x\n1,red\n"])
def test_a_training_table_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "training.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="not a table of training epochs"):
        read_training(tmp_path)


def test_the_map_keeps_two_islands_apart_and_is_repeatable():
    rng = np.random.default_rng(0)
    island = np.arange(60) % 2
    embeddings = (rng.normal(size=(60, 16)) + 30 * island[:, None]).astype(np.float32)
    made = map_embeddings(embeddings, np.random.default_rng(1))
    again = map_embeddings(embeddings, np.random.default_rng(1))
    assert (made.points == again.points).all() and len(made.rows) == 60
    assert made.points.min() >= 0 and made.points.max() <= 1
    centers = np.array([made.points[island[made.rows] == i].mean(axis=0) for i in (0, 1)])
    nearest = np.linalg.norm(made.points[:, None] - centers[None], axis=2).argmin(axis=1)
    assert (nearest == island[made.rows]).all()


def test_without_scikit_learn_there_is_no_map_and_a_hint(folder, manifest, monkeypatch, real_map):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    found = evaluate(folder / "model", manifest, draws=2).as_json()
    assert found["map"] is None
    assert any("pip install 'moppet[train]'" in note for note in found["notes"])


def test_without_embeddings_there_is_no_map(tmp_path, manifest, real_map):
    model = write_model(tmp_path / "bare", linear_network(embedding=False))
    found = evaluate(model, manifest, draws=2).as_json()
    assert found["map"] is None
    assert any("gives no embedding" in note for note in found["notes"])


def test_the_map_tells_label_and_group_of_each_point(found):
    drawn = found["map"]
    assert len(drawn["x"]) == len(drawn["y"]) == len(drawn["label"]) == drawn["n"] == N
    assert [GROUPS[name] for name in drawn["label"]] == drawn["group"]
    assert not math.isnan(sum(drawn["x"]))


def test_evaluating_loads_no_training_library():
    code = (
        "import sys, moppet.evaluate.evaluation, moppet.commands.evaluate\n"
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
