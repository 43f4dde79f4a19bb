"""Networks of several heads: sources, targets, losses, training, export and what is chosen."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import head_samples as samples
from ferplus_sample import training_data, write_ferplus
from moppet.infer.expression_model import load_model
from moppet.train import head_measurement, losses, sources
from moppet.train.checkpoints import read_log
from moppet.train.data_module import (
    EpochSampler,
    RandomViews,
    SourceSampler,
    TrainingData,
    evaluation_crops,
    network_input,
)
from moppet.train.head_targets import DATA, RENDERED, UNLABELED, prevalence
from moppet.train.model_folder import Deployed, onnx_heads
from moppet.train.module import predict_heads
from moppet.train.movements import (
    COLUMNS,
    correlation,
    exact_targets,
    landmarker_targets,
    mirror,
    mixing,
)
from moppet.train.recipe import RandomViewSettings, Recipe, chosen_settings
from moppet.train.starting_weights import load_model_network, make_network
from moppet.train.trainer import Machine
from moppet.train.training_run import run_training
from moppet.values import EXPRESSIONS, MoppetError, UsageError
from moppet.vocabulary import MOVEMENT_CHANNELS

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RECIPE = Recipe(
    "two readings",
    heads=("display", "movements"),
    blendshapes="shapes.npz",
    rendered=("rendered",),
    unlabeled=("web.npz",),
    rendered_share=0.25,
    unlabeled_share=0.25,
    size=32,
    batch=16,
    epochs=2,
    precision="32-true",
    random_views=RandomViewSettings(color_cast=0.5, cover=0.2, compression=0.2, framing=0.2),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    samples.add_own_labels(write_ferplus(folder / "ferplus.npz"))
    samples.write_blendshapes(folder / "shapes.npz", folder / "ferplus.npz")
    samples.write_rendered(folder / "rendered")
    samples.write_web_faces(folder / "web.npz")
    return folder


@pytest.fixture(scope="module")
def data(place: Path) -> TrainingData:
    return joined(place, RECIPE)


def joined(place: Path, recipe: Recipe) -> TrainingData:
    own = training_data(place / "ferplus.npz", recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "find_manifest_faces", samples.marked_faces)
        return sources.with_sources(own, recipe, place, place / "faces.npz")


# ------------------------------------------------------------------------------------- movements


def test_a_plain_column_is_the_mean_of_both_sides() -> None:
    values = np.zeros((1, len(MOVEMENT_CHANNELS)), np.float32)
    values[0, MOVEMENT_CHANNELS.index("blink_left")] = 1.0
    values[0, MOVEMENT_CHANNELS.index("gaze_x")] = -0.5
    found = dict(zip(COLUMNS, (values @ mixing(COLUMNS).T)[0].tolist(), strict=True))
    assert (found["blink"], found["blink_left"], found["blink_right"]) == (0.5, 1.0, 0.0)
    assert found["gaze_x"] == -0.5 and "gaze_x_left" not in found


def test_a_mirror_image_swaps_the_sides_and_turns_the_gaze() -> None:
    values = np.arange(1, len(COLUMNS) + 1, dtype=np.float32)
    order, signs = mirror(COLUMNS)
    found = dict(zip(COLUMNS, (values[order] * signs).tolist(), strict=True))
    was = dict(zip(COLUMNS, values.tolist(), strict=True))
    assert found["brow_lower_left"] == was["brow_lower_right"]
    assert found["brow_lower"] == was["brow_lower"] and found["gaze_y"] == was["gaze_y"]
    assert found["gaze_x"] == -was["gaze_x"] and found["jaw_sideways"] == -was["jaw_sideways"]
    np.testing.assert_array_equal((values[order] * signs)[order] * signs, values)


def test_face_landmarkers_answers_are_put_into_our_columns() -> None:
    names = samples.BLENDSHAPES
    shapes = np.zeros((3, len(names)), np.float32)
    shapes[0, names.index("eyeBlinkLeft")] = 0.8
    shapes[0, names.index("browInnerUp")] = 0.4
    shapes[1, names.index("eyeLookOutLeft")] = shapes[1, names.index("eyeLookInRight")] = 0.6
    shapes[2] = np.nan
    found = landmarker_targets(shapes, names)
    blink, gaze = (COLUMNS.index(name) for name in ("blink", "gaze_x"))
    assert found[0, blink] == pytest.approx(0.4) and found[1, gaze] == pytest.approx(0.6)
    assert found[0, COLUMNS.index("blink_left")] == pytest.approx(0.8)
    assert found[0, COLUMNS.index("inner_brow_raise")] == pytest.approx(0.4)
    # It measures the inner brows together, and never the cheeks.
    assert np.isnan(found[0, COLUMNS.index("inner_brow_raise_left")])
    assert np.isnan(found[:, COLUMNS.index("cheek_raise")]).all()
    assert np.isnan(found[2]).all()


def test_the_correlation_is_numpys_and_undefined_without_spread() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 50)).astype(np.float32)
    gone = b.copy()
    gone[:10] = np.nan
    assert correlation(a, gone) == pytest.approx(np.corrcoef(a[10:], b[10:])[0, 1], abs=1e-6)
    assert math.isnan(correlation(a, np.full(50, 0.3, np.float32)))


def test_the_movement_loss_counts_known_targets_in_squares_of_their_spread() -> None:
    found = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    targets = torch.tensor([[0.0, torch.nan], [1.0, 0.3]])
    loss = losses.movement_loss(found, targets, torch.tensor([0.5, 0.1]))
    assert float(loss) == pytest.approx((1.0 + 0.0 + 9.0) / 3)
    none = losses.movement_loss(found, torch.full((2, 2), torch.nan), torch.ones(2))
    assert float(none) == 0.0


# --------------------------------------------------------------------------------------- sources


def test_each_source_teaches_what_it_knows(data: TrainingData) -> None:
    heads = data.heads
    assert heads is not None
    own, rendered, web = (heads.rows(s) for s in (DATA, RENDERED, UNLABELED))
    assert (data.label[own] == heads.display[own]).all()  # the sample's labels are alike
    assert (data.label[~own] == -1).all() and not data.soft[~own].any()
    assert (heads.display[rendered] >= 0).all()
    assert (heads.display[web] >= 0).tolist() == (data.part[web] == "test").tolist()
    jaw = heads.movements[:, COLUMNS.index("jaw_open")]
    assert np.isfinite(jaw[rendered]).all() and np.isfinite(jaw[own]).mean() == pytest.approx(
        0.86, abs=0.05
    )
    assert np.isnan(jaw[web]).sum() == 1
    assert np.isfinite(heads.movements[rendered]).all()


def test_rows_that_only_report_never_train(data: TrainingData) -> None:
    views = RandomViews(data, RECIPE)
    assert set(data.part[views.rows]) == {"train"}
    assert sum(views.counts) == len(views) and all(views.counts)


def test_a_recipe_without_new_keys_keeps_its_name_and_its_data(place: Path) -> None:
    plain = Recipe("plain", size=32)
    assert chosen_settings(plain) == {"name": "plain", "size": 32}
    own = training_data(place / "ferplus.npz", plain)
    assert sources.with_sources(own, plain, place, place / "faces.npz") is own


def test_other_targets_are_other_data(data: TrainingData, place: Path) -> None:
    plain = training_data(place / "ferplus.npz", RECIPE)
    other = joined(place, Recipe("x", heads=("display",), rendered=("rendered",)))
    assert len({data.fingerprint, plain.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rendered": ("nowhere",)}, "no folder of rendered faces"),
        ({"display_label": "x", "rendered": (), "rendered_share": 0.0}, "nothing teaches the head"),
        ({"rendered": ()}, "rendered names no folder"),
        ({"blendshapes": "web.npz"}, "are not of the data's images"),
    ],
)
def test_what_teaches_nothing_is_refused(place: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        joined(place, Recipe(**{**vars(RECIPE), **changes}))


def test_ages_left_out_are_left_out_of_rendered_faces_too(place: Path) -> None:
    found = joined(place, Recipe(**{**vars(RECIPE), "without_ages": ("infant", "child")}))
    band = found.manifest.column("age_band").astype(str)
    assert found.heads is not None
    rendered = found.heads.rows(RENDERED)
    assert set(band[rendered & (found.part != "test")]) == {"adult"}
    assert {"infant", "child"} < set(band[rendered & (found.part == "test")])


def test_a_batch_holds_the_recipes_share_of_each_source(data: TrainingData) -> None:
    views = RandomViews(data, RECIPE)
    assert data.heads is not None
    order = list(SourceSampler(EpochSampler(views), RECIPE, RECIPE.batch))
    assert len(order) % 16 == 0 and len(order) == views.counts[0] // 8 * 16
    source = data.heads.source[views.rows[np.array(order) % len(views)]].reshape(-1, 16)
    assert all(np.bincount(batch, minlength=3).tolist() == [8, 4, 4] for batch in source)
    web = [i for i in order if data.heads.source[views.rows[i % len(views)]] == UNLABELED]
    assert len(set(web)) == len(web)  # what comes again comes in another view


def test_a_mirrored_view_has_mirrored_targets(data: TrainingData) -> None:
    views = RandomViews(data, RECIPE)
    assert data.heads is not None
    first = views.counts[0]  # a rendered row: only its left brow moves
    left, right = (COLUMNS.index(f"brow_lower_{side}") for side in ("left", "right"))
    true = data.heads.movements[views.rows[first], left]
    seen = set()
    for time in range(20):
        _, _, _, more = views[first + time * len(views)]
        pair = (float(more["movements"][left]), float(more["movements"][right]))
        assert sorted(pair) == [0.0, pytest.approx(float(true))]
        seen.add(pair[0] > 0)
    assert seen == {True, False}


def test_the_balance_of_rendered_faces_is_not_learned(data: TrainingData) -> None:
    assert data.heads is not None
    train = data.part == "train"
    natural = data.heads.expected_prevalence(train, 7, 0.0)
    even = data.heads.expected_prevalence(train, 7, 1.0)
    assert even == pytest.approx(np.full(7, 1 / 7))
    shifts = data.heads.display_shifts(train, 7, 0.0)
    assert shifts[DATA] == pytest.approx(np.zeros(7), abs=1e-6)
    shown = prevalence(data.heads.display[train & data.heads.rows(RENDERED)], 7)
    assert shifts[RENDERED] == pytest.approx(np.log(shown) - np.log(natural), abs=1e-5)
    shifts = data.heads.display_shifts(train, 7, 1.0)
    assert shifts[DATA] == pytest.approx(np.log(natural * 7), abs=1e-5)


# ------------------------------------------------------------------------------ training, export


@pytest.fixture(scope="module")
def finished(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RENDERED_R": -1.0,
            "REAL_R": -1.0,
            "SIDES_R": -1.0,
            "LEAST_ROWS": 3,
        }.items():
            patch.setattr(head_measurement, name, value)
        run_training(RECIPE, folder, data, machine=Machine(quiet=True))
    return folder


def images_of(data: TrainingData, part: str) -> np.ndarray:
    rows = np.flatnonzero(data.part == part)
    return network_input(evaluation_crops(data, rows, aligned=True), RECIPE)


def test_the_exported_network_gives_every_head(finished: Path, data: TrainingData) -> None:
    network = load_model_network(finished / "model")
    card = tomllib.loads((finished / "model" / "card.toml").read_text())
    columns = card["movements"]
    assert "jaw_open" in columns and {"blink", "blink_left", "blink_right"} <= set(columns)
    # Face Landmarker gave no answer for the cheeks, and no rendered face raised them.
    assert "cheek_raise" not in columns
    images = images_of(data, "test")
    deployed = Deployed(network, columns=columns).eval()
    assert deployed.outputs == ["logits", "embedding", "display_logits", "movements"]
    found, expected = (
        onnx_heads(finished / "model" / "model.onnx", images),
        predict_heads(network, images),
    )
    assert found.display is not None and found.movements is not None
    assert expected.display is not None and expected.movements is not None
    assert np.abs(found.logits - expected.logits).max() < 0.02  # weights kept in half precision
    assert np.abs(found.display - expected.display).max() < 0.02
    plain = expected.movements @ mixing(columns).T
    assert np.abs(found.movements - plain).max() < 0.01
    assert load_model(finished / "model").predict(
        evaluation_crops(data, np.arange(3), aligned=True)
    )


def test_the_card_states_the_priors_and_the_validity(finished: Path) -> None:
    card = tomllib.loads((finished / "model" / "card.toml").read_text())
    for key in ("prior", "display_prior"):
        assert list(card[key]) == list(EXPRESSIONS) and sum(card[key].values()) == pytest.approx(
            1, abs=1e-5
        )
        assert min(card[key].values()) > 0
    assert card["display_temperature"] > 0
    assert set(card["movement_validity"]) == set(card["movements"])
    assert set(card["movement_validity"]["jaw_open"]) == {"rendered", "rendered_lowest", "real"}


def test_the_page_lists_each_movement_exported_or_not(finished: Path) -> None:
    page = (finished / "figures.md").read_text()
    assert "## The display reading" in page and "## Facial movements" in page
    assert page.count("| `") == len(COLUMNS)
    assert "| no: too few rendered faces show it |" in page
    log = read_log(finished)
    assert all(math.isfinite(log[-1][name]) for name in ("val_display_balanced", "val_movements_r"))


def test_a_mirrored_file_gives_the_mirror_image_mirrored_movements(data: TrainingData) -> None:
    torch.manual_seed(0)
    network = make_network(RECIPE, 7).eval()
    columns = ("gaze_x", "blink", "blink_left", "blink_right")
    deployed = Deployed(network, mirrored=True, columns=columns)
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        *_, plain = deployed(images)
        *_, mirrored = deployed(images.flip(3))
    torch.testing.assert_close(plain[:, 0], -mirrored[:, 0])
    torch.testing.assert_close(plain[:, 2], mirrored[:, 3])
    torch.testing.assert_close(plain[:, 1], (plain[:, 2] + plain[:, 3]) / 2)


def test_a_column_that_falls_short_anywhere_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = head_measurement.Validity
    good = made(0.9, 0.88, "infant", 0.8)
    found = {name: good for name in COLUMNS}
    found["jaw_open"] = made(0.9, 0.80, "tones 7-10", 0.9)
    found["dimple"] = made(0.9, 0.9, "adult", 0.5)
    found["blink_left"] = made(0.9, 0.7, "child", 0.9)
    found["cheek_puff"] = made(0.95, 0.9, "adult", math.nan)

    class Held:
        columns = COLUMNS

        def validity(self, column: str) -> head_measurement.Validity:
            return found[column]

        def sides_apart(self, movement: str) -> float:
            return 0.3 if movement == "brow_lower" else 0.9

    chosen = head_measurement.choose_columns(Held())  # type: ignore[arg-type]
    assert chosen.left_out["jaw_open"] == "rendered faces, tones 7-10: 0.80"
    assert chosen.left_out["dimple"] == "real faces: 0.50" and "dimple_left" in chosen.columns
    assert "Face Landmarker does not measure" in chosen.left_out["cheek_puff"]
    assert chosen.left_out["blink_right"] == "the other side is left out"
    assert "brow_lower" in chosen.columns and "not read apart" in chosen.left_out["brow_lower_left"]
    assert set(chosen.columns) | set(chosen.left_out) == set(COLUMNS)


def test_the_heads_need_random_views_and_the_data_a_part_of_each_batch() -> None:
    wrong = Recipe(
        "x",
        heads=("display",),
        augmentations=("geometry",),
        rendered_share=0.5,
        unlabeled_share=0.5,
    )
    problems = " ".join(wrong.problems())
    assert "heads need random views" in problems and "less than 0.1 of a batch" in problems


def test_a_truth_of_other_images_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(MoppetError, match="is not that of its images"):
        exact_targets(place / "rendered", ["images/none.png"])
    with pytest.raises(MoppetError, match="no truth of facial movements"):
        exact_targets(tmp_path, ["images/0.png"])
    (tmp_path / "truth.parquet").write_bytes(b"no")
    with pytest.raises(MoppetError, match="not a complete Parquet file"):
        exact_targets(tmp_path, ["images/0.png"])
