"""Raters' agreement against published and independent figures, and what becomes of their files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from moppet.commands import main as cli
from moppet.datasets.manifest import read_manifest
from moppet.datasets.rater_agreement import (
    fleiss_kappa,
    measure_agreement,
    rated_manifest,
    read_adjudication,
    read_ratings,
    write_disagreements,
)
from moppet.values import MoppetError, UsageError

FLEISS = np.array(  # ten subjects, fourteen raters, five categories; kappa is 0.210
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rater(folder: Path, name: str, rows: dict[str, str], head: str = "path,label") -> Path:
    path = folder / f"{name}.csv"
    lines = [f"{image},{label}" for image, label in rows.items()]
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def three(tmp_path) -> list[Path]:
    """Agreed, tied, two to one, rated by two, rated by one, and rated by nobody."""
    return [
        rater(tmp_path, "ann", dict(a="happy", b="sad", c="fear", d="Anger", e="zeal", f="")),
        rater(tmp_path, "ben", dict(a="joy", b="angry", c="fear", d="anger", e="", f="")),
        rater(tmp_path, "cem", dict(a="happiness", b="fear", c="sad")),
    ]


# ------------------------------------------------------------------------------- the figures


def test_fleiss_kappa_is_the_published_one():
    assert fleiss_kappa(FLEISS) == pytest.approx(0.20993, abs=1e-5)


def test_fleiss_kappa_of_two_raters_is_scott_s_pi():
    r = np.random.default_rng(2)
    first = r.integers(0, 4, 300)
    second = np.where(r.uniform(size=300) < 0.6, first, r.integers(0, 4, 300))
    votes = np.eye(4)[first] + np.eye(4)[second]
    shares = np.bincount(np.concatenate([first, second]), minlength=4) / 600
    by_chance = (shares**2).sum()
    expected = ((first == second).mean() - by_chance) / (1 - by_chance)
    assert fleiss_kappa(votes) == pytest.approx(expected)


def test_fleiss_kappa_is_1_for_one_mind_nan_for_one_class_and_refuses_uneven_raters():
    assert fleiss_kappa(np.array([[3, 0], [0, 3], [3, 0]])) == 1
    assert np.isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])))
    assert np.isnan(fleiss_kappa(np.zeros((0, 3))))
    with pytest.raises(UsageError, match=r"same number of raters.* 2 to 3"):
        fleiss_kappa(np.array([[3, 0], [1, 1]]))


def test_cohen_s_kappas_are_scikit_learn_s_and_lie_in_their_intervals(tmp_path):
    r = np.random.default_rng(1)
    truth = r.integers(0, 3, 150)
    words = ["happy", "sad", "cry"]
    files, said = [], []
    for k in range(3):
        said.append(np.where(r.uniform(size=150) < 0.7, truth, r.integers(0, 3, 150)))
        rows = {f"{i}.png": words[x] for i, x in enumerate(said[-1])}
        files.append(rater(tmp_path, f"rater{k}", rows))
    found = measure_agreement(read_ratings(files), rng(), draws=200)
    assert list(found.cohen) == [
        ("rater0", "rater1"),
        ("rater0", "rater2"),
        ("rater1", "rater2"),
    ]
    for (a, b), kappa in found.cohen.items():
        first, second = said[int(a[-1])], said[int(b[-1])]
        assert kappa.value == pytest.approx(cohen_kappa_score(first, second))
        assert found.equal[a, b].value == pytest.approx((first == second).mean())
        assert kappa.low < kappa.value < kappa.high and kappa.n == 150
    votes = sum(np.eye(3)[x] for x in said)
    assert found.fleiss.value == pytest.approx(fleiss_kappa(votes)) and found.fleiss.n == 150
    again = measure_agreement(read_ratings(files), rng(), draws=200)
    assert again == found


def test_intervals_draw_subjects_where_they_are_known(tmp_path):
    """Thirty copies of five children's images know no more than five children."""
    head = "path,label,subject"
    kids = [("happy", "happy"), ("sad", "sad"), ("happy", "sad"), ("sad", "sad"), ("sad", "happy")]

    def width(with_subject: bool) -> float:
        files = []
        for k in (0, 1):
            rows = {
                f"{c}_{i}.png": kids[c][k] + (f",kid{c}" if with_subject else ",")
                for c in range(5)
                for i in range(30)
            }
            files.append(rater(tmp_path, f"r{k}", rows, head))
        found = measure_agreement(read_ratings(files), rng(), draws=300)
        kappa = found.cohen["r0", "r1"]
        return kappa.high - kappa.low

    assert width(True) > 3 * width(False)


# ------------------------------------------------------------------------------- the files


def test_labels_of_one_meaning_are_one_class_and_missing_ones_no_vote(three):
    ratings = read_ratings(three)
    assert ratings.raters == ("ann", "ben", "cem") and ratings.paths == tuple("abcdef")
    assert ratings.names == ("happiness", "sadness", "fear", "anger", "zeal")
    assert ratings.votes.sum(axis=1).tolist() == [3, 3, 3, 2, 1, 0]
    assert ratings.votes[0].tolist() == [3, 0, 0, 0, 0]
    assert ratings.complete.tolist() == [0, 1, 2] and ratings.disputed.tolist() == [1, 2]
    found = measure_agreement(ratings, rng(), draws=20)
    assert found.cohen["ann", "ben"].n == 4 and found.fleiss.n == 3
    assert found.confused == {
        ("sadness", "fear"): 2,
        ("sadness", "anger"): 1,
        ("fear", "anger"): 1,
    }


def test_the_manifest_has_the_plurality_the_votes_and_what_each_rater_said(three, tmp_path):
    m = rated_manifest(read_ratings(three), {}, root=tmp_path, license="Ours.")
    assert m.column("label").tolist() == ["happiness", None, "fear", "anger", "zeal", None]
    third = dict(zip(m.names, m.soft_labels[2].tolist(), strict=True))
    assert third["fear"] == pytest.approx(2 / 3) and third["sadness"] == pytest.approx(1 / 3)
    assert np.isnan(m.column("votes")[5]).all() and m.license == "Ours."
    assert m.column("label by cem").tolist() == ["happiness", "fear", "sadness", None, None, None]


def test_an_adjudication_decides_and_its_rows_have_no_votes(three, tmp_path):
    ratings = read_ratings(three)
    decisions = rater(tmp_path, "chair", dict(b="disgust", c="sad", d=""))
    decided = read_adjudication(decisions, ratings)
    assert decided == {"b": "disgust", "c": "sadness"}
    m = rated_manifest(ratings, decided, root=tmp_path)
    assert m.names == ("happiness", "sadness", "fear", "disgust", "anger", "zeal")
    assert m.column("label").tolist()[1:3] == ["disgust", "sadness"]
    assert m.column("adjudicated").tolist() == [False, True, True, False, False, False]
    assert m.soft_labels[1].tolist() == [0, 0, 0, 1, 0, 0]
    assert m.soft_labels[3][m.names.index("anger")] == 1 and m.labels[3] == m.names.index("anger")
    assert m.column("label by ann")[1] == "sadness"


def test_the_disagreements_are_a_file_to_fill_in_that_is_read_back(three, tmp_path):
    ratings, out = read_ratings(three), tmp_path / "decide.csv"
    assert write_disagreements(out, ratings, {}) == 2
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["path"], r["label"], r["label by ann"], r["label by cem"]) for r in rows] == [
        ("b", "", "sadness", "fear"),
        ("c", "", "fear", "sadness"),
    ]
    assert read_adjudication(out, ratings) == {}
    out.write_text(out.read_text(encoding="utf-8").replace("b,,", "b,fear,"), encoding="utf-8")
    decided = read_adjudication(out, ratings)
    assert decided == {"b": "fear"} and write_disagreements(out, ratings, decided) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: rater(t, "ben", {"a": "sad"}, "picture,label"), "ben.csv needs the columns"),
        (lambda t: rater(t, "ben", {"a": "sad", "./a": "fear"}), r"ben.csv names a twice"),
        (lambda t: rater(t, "ben", {"x": "sad", "y": "sad"}), "no image was rated in two"),
        (lambda t: rater(t, "ben", {"a": "sad,kid2"}, "path,label,subject"), "kid1, kid2"),
        (lambda t: t / "none.csv", "none.csv cannot be read"),
    ],
)
def test_an_odd_rater_s_file_is_refused_with_its_name(tmp_path, change, said):
    first = rater(tmp_path, "ann", {"a": "happy,kid1"}, "path,label,subject")
    with pytest.raises(MoppetError, match=said) as refused:
        read_ratings([first, change(tmp_path)])
    assert "\n" not in str(refused.value)


def test_one_rater_agrees_with_nobody(three):
    with pytest.raises(UsageError, match="at least two raters, not 1"):
        read_ratings(three[:1])


@pytest.mark.parametrize(
    ("rows", "said"), [({"q": "sad"}, "q, which nobody rated"), ({"b": "sadd"}, "b as 'sadd'")]
)
def test_a_decision_on_nothing_or_for_no_class_is_refused(three, tmp_path, rows, said):
    with pytest.raises(MoppetError, match=said):
        read_adjudication(rater(tmp_path, "chair", rows), read_ratings(three))


# ------------------------------------------------------------------------------- the command


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["moppet", "data", "agreement", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0), *capsys.readouterr()
    return 0, *capsys.readouterr()


def test_the_command_prints_kappas_and_writes_what_it_is_asked_for(
    three, tmp_path, monkeypatch, capsys
):
    chair = rater(tmp_path, "chair", dict(b="sad"))
    out, todo = tmp_path / "out" / "m.parquet", tmp_path / "todo.csv"
    code, said, _ = run(
        *(monkeypatch, capsys, *three, "-o", out, "--adjudication", chair),
        *("--disagreements", todo),
    )
    assert code == 0
    for text in ("ann – ben", "Cohen", "all 3", "Fleiss", "sadness or fear: 2", "1 of them"):
        assert text in said, text
    assert "c: ann fear, ben fear, cem sadness" in said and str(todo) in said
    m = read_manifest(out)
    assert m.root == tmp_path and m.column("label").tolist()[1] == "sadness"


def test_the_command_s_json_has_every_figure_and_disagreement(three, monkeypatch, capsys):
    code, said, _ = run(monkeypatch, capsys, *three, "--json")
    content = json.loads(said)
    assert code == 0 and content["raters"] == ["ann", "ben", "cem"] and content["n"] == 6
    pair = content["pairs"][0]
    assert pair["raters"] == ["ann", "ben"] and pair["cohen_kappa"]["n"] == 4
    assert set(pair["cohen_kappa"]) == {"value", "low", "high", "n"}
    assert [d["path"] for d in content["disagreements"]] == ["b", "c"]
    assert content["disagreements"][0]["labels"]["ben"] == "anger"
    lone, said, err = run(monkeypatch, capsys, three[0])
    assert lone == 2 and "at least two raters" in err
