"""An evaluation of either reading, under any prior, and of facial movements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_line import Run
from evaluation_sample import N, faces_without_search, make_manifest, write_images
from model_folder import DISPLAY_PRIOR, MOVEMENTS, PRIOR, write_model, write_whole_model
from moppet.datasets.faces import whole_crop
from moppet.datasets.manifest import Manifest
from moppet.evaluate import evaluation as module
from moppet.evaluate import predictions as predictions_module
from moppet.evaluate.evaluation import evaluate
from moppet.infer.expression_model import load_model
from moppet.infer.priors import change_prior, estimate_prior
from moppet.metrics import pearson
from moppet.values import EXPRESSIONS, Scores, UsageError

DRAWS = 20


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions_module, "find_manifest_faces", faces_without_search())
    monkeypatch.setattr(module, "map_embeddings", lambda points, rng: _no_map(len(points)))


def _no_map(n: int) -> Any:
    from moppet.evaluate.chart_data import EmbeddingMap

    return EmbeddingMap(np.arange(n), np.zeros((n, 2)), "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readings")
    write_images(folder)
    write_whole_model(folder / "whole")
    write_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return make_manifest(folder, folder / "whole")


@pytest.fixture(scope="module")
def scores(folder: Path) -> Scores:
    images = np.load(folder / "faces.npz")["images"]
    return load_model(folder / "whole").predict(np.stack([whole_crop(x) for x in images]))


def accuracy(level: Any) -> float:
    return float(level["parts"]["all"]["overall"]["accuracy"]["value"])


def test_each_reading_has_its_own_figures(folder: Path, manifest: Manifest, scores: Scores) -> None:
    label = manifest.labels
    found = {
        reading: evaluate(folder / "whole", manifest, reading=reading, draws=DRAWS).as_json()
        for reading in ("observers", "display", "both")
    }
    observers = (scores.probabilities.argmax(axis=1) == label).mean()
    display = (scores.display.argmax(axis=1) == label).mean()
    assert observers != display
    assert accuracy(found["observers"]["classes"]) == pytest.approx(observers)
    assert accuracy(found["display"]["classes"]) == pytest.approx(display)
    assert accuracy(found["both"]["classes"]) == pytest.approx(observers)
    assert accuracy(found["both"]["display"]["classes"]) == pytest.approx(display)
    assert found["both"]["display"]["groups"]["names"] == ["positive", "neutral", "negative"]
    assert found["observers"]["display"] is None and found["display"]["display"] is None
    assert found["display"]["about"]["reading"] == "display"


def test_a_known_prior_is_the_models(folder: Path, manifest: Manifest, scores: Scores) -> None:
    uniform = dict.fromkeys(EXPRESSIONS, 1 / 7)
    found = evaluate(folder / "whole", manifest, prior="uniform", draws=DRAWS).as_json()
    changed = change_prior(scores.probabilities, PRIOR, uniform, EXPRESSIONS)
    right = changed.argmax(axis=1) == manifest.labels
    assert accuracy(found["classes"]) == pytest.approx(right.mean())
    assert found["about"]["prior"]["kind"] == "uniform"
    assert found["about"]["prior"]["observers"] == pytest.approx(uniform)


def test_the_estimated_prior_is_of_these_faces(
    folder: Path, manifest: Manifest, scores: Scores
) -> None:
    found = evaluate(
        folder / "whole", manifest, reading="both", prior="estimate", draws=DRAWS
    ).as_json()
    own = estimate_prior(scores.probabilities, PRIOR, EXPRESSIONS).prior
    display = estimate_prior(scores.display, DISPLAY_PRIOR, EXPRESSIONS).prior
    told = found["about"]["prior"]
    assert told["observers"] == pytest.approx(own, abs=1e-6)
    assert told["display"] == pytest.approx(display, abs=1e-6)
    changed = change_prior(scores.probabilities, PRIOR, own, EXPRESSIONS)
    right = changed.argmax(axis=1) == manifest.labels
    assert accuracy(found["classes"]) == pytest.approx(right.mean())


def test_a_model_of_today_says_what_it_lacks(folder: Path, manifest: Manifest) -> None:
    found = evaluate(folder / "tiny", manifest, draws=DRAWS).as_json()
    assert found["movements"] is None and found["display"] is None
    assert found["about"]["prior"] == {"kind": "natural", "observers": None, "display": None}
    with pytest.raises(UsageError, match="has no display reading"):
        evaluate(folder / "tiny", manifest, reading="both", draws=DRAWS)
    for prior in ("uniform", "estimate"):
        with pytest.raises(UsageError, match=r"card has no \[prior\]"):
            evaluate(folder / "tiny", manifest, prior=prior, draws=DRAWS)


def test_a_rival_without_display_is_compared_by_its_only_reading(
    folder: Path, manifest: Manifest
) -> None:
    found = evaluate(
        folder / "whole", manifest, reading="display", against=folder / "tiny", draws=DRAWS
    ).as_json()
    assert any("tiny has no display reading" in note for note in found["notes"])
    images = np.load(folder / "faces.npz")["images"]
    theirs = load_model(folder / "tiny").predict(np.stack([whole_crop(x) for x in images]))
    right = theirs.probabilities.argmax(axis=1) == manifest.labels
    second = found["against"]["second"]["overall"]["accuracy"]["value"]
    assert second == pytest.approx(right.mean())


# -------------------------------------------------------------------------------- movements


def measured(scores: Scores, name: str, seed: int = 0) -> np.ndarray:
    """The model's own movement with noise: a measure that agrees in part."""
    x = scores.movements[:, MOVEMENTS.index(name)].astype(np.float64)
    return x + np.random.default_rng(seed).normal(0, x.std(), len(x))


def found_faces(manifest: Manifest) -> np.ndarray:
    return manifest.column("array_row") % 7 != 0  # as faces_without_search has it


def test_movements_are_compared_with_the_datas_own_columns(folder: Path, scores: Scores) -> None:
    left, right = measured(scores, "blink", 1), measured(scores, "blink", 2)
    jaw = measured(scores, "jaw_open")
    jaw[:10] = np.nan
    columns = {"m_jaw_open": jaw, "m_blink_left": left, "m_blink_right": right, "m_dimple": jaw}
    manifest = make_manifest(folder, folder / "whole", **columns)
    found = evaluate(folder / "whole", manifest, by=["room"], draws=DRAWS).as_json()["movements"]
    assert found["names"] == list(MOVEMENTS)
    seen = found_faces(manifest)
    assert found["n"] == seen.sum()
    assert found["parts"]["all"].keys() == {"jaw_open", "blink"}
    at = scores.movements[:, MOVEMENTS.index("jaw_open")]
    known = seen & ~np.isnan(jaw)
    r = found["parts"]["all"]["jaw_open"]
    assert r["value"] == pytest.approx(np.corrcoef(at[known], jaw[known])[0, 1], abs=1e-6)
    assert r["n"] == known.sum() and r["low"] < r["value"] < r["high"]
    blink = scores.movements[:, MOVEMENTS.index("blink")]
    expected = np.corrcoef(blink[seen], ((left + right) / 2)[seen])[0, 1]
    assert found["parts"]["all"]["blink"]["value"] == pytest.approx(expected, abs=1e-6)
    assert {"infant", "child", "adult"} <= found["parts"].keys()
    red = seen & (manifest.column("room") == "red")
    expected = np.corrcoef(blink[red], ((left + right) / 2)[red])[0, 1]
    assert found["by"]["room"]["red"]["blink"]["value"] == pytest.approx(expected, abs=1e-6)


def test_the_means_of_each_label_need_no_measure(
    folder: Path, manifest: Manifest, scores: Scores
) -> None:
    found = evaluate(folder / "whole", manifest, draws=DRAWS).as_json()["movements"]
    assert found["parts"] == {} and found["by"] == {}
    mine = found_faces(manifest) & (manifest.labels == EXPRESSIONS.index("anger"))
    expected = scores.movements[mine].mean(axis=0)
    means = [found["means"]["anger"][name]["value"] for name in MOVEMENTS]
    assert means == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_truth_of_rendered_images_is_read_beside_them(tmp_path: Path, scores: Scores) -> None:
    write_images(tmp_path)
    model = write_whole_model(tmp_path / "whole")
    paths = [f"{i}.jpg" for i in range(N)]
    manifest = make_manifest(tmp_path, model)
    table = {"path": [*reversed(paths), "other.jpg"]}
    left, right = measured(scores, "brow_lower", 3), measured(scores, "brow_lower", 4)
    for side, values in (("left", left), ("right", right)):
        table[f"m_brow_lower_{side}"] = [*values[::-1].tolist(), 0.5]
    pq.write_table(pa.table(table), tmp_path / "truth.parquet")
    from moppet.evaluate.movement_figures import measured_movements

    found = measured_movements(manifest.replace(path=paths), MOVEMENTS)
    assert found.keys() == {"brow_lower", "brow_lower_left", "brow_lower_right"}
    assert found["brow_lower_left"] == pytest.approx(left)
    assert found["brow_lower"] == pytest.approx((left + right) / 2)


def test_pearson_is_numpys_and_undefined_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1e6, 1, 50), rng.normal(0, 1e-6, 50)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, 2 * a + 1) == pytest.approx(1) and pearson(a, -a) == pytest.approx(-1)
    assert np.isnan(pearson(a, np.full(50, 0.3)))
    assert np.isnan(pearson(a[:0], b[:0]))
    b[3] = np.nan
    keep = np.arange(50) != 3
    assert pearson(a, b) == pytest.approx(np.corrcoef(a[keep], b[keep])[0, 1])


def test_the_command_takes_readings_and_priors(
    folder: Path, scores: Scores, tmp_path: Path, moppet: Run
) -> None:
    manifest = make_manifest(folder, folder / "whole", m_blink=measured(scores, "blink"))
    data = manifest.write(folder / "data.parquet")
    options = ("--reading", "both", "--prior", "estimate", "-o", tmp_path / "out")
    done = moppet("evaluate", folder / "whole", data, *options)
    assert done.code == 0, done.err
    assert "display reading, classes" in done.out
    assert "movements: Pearson's r" in done.out and "movements: mean of each label" in done.out
    saved = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert saved["about"]["prior"]["kind"] == "estimate"
    done = moppet("evaluate", folder / "whole", data, "--reading", "mine")
    assert done.code == 2 and "--reading takes any of observers, display, both" in done.err
