"""Model folders are checked before they run; predictions are those of the card."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime as ort
import pytest

from model_folder import linear_network, write_model
from moppet import EXPRESSIONS, GROUPS, load_model
from moppet.infer.expression_model import Preprocessing
from moppet.values import ModelError, UsageError

CROPS = np.random.default_rng(3).integers(0, 256, (5, 112, 112, 3), np.uint8)


# ------------------------------------------------------------------------- folders that are wrong


def test_an_unknown_name_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no model 'defalut'"):
        load_model("defalut")


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"lacks card\.toml"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe\x00", b"name = 'a'\nname = 'b'"])
def test_a_card_that_is_no_toml_is_refused(tiny_model, content):
    (tiny_model / "card.toml").write_bytes(content)
    with pytest.raises(ModelError, match=r"card\.toml is not valid TOML"):
        load_model(tiny_model)


@pytest.mark.parametrize("key", ["name", "labels", "sha256"])
def test_a_card_without_a_needed_key_is_refused_by_the_key(tmp_path, key):
    with pytest.raises(ModelError, match=f"the key '{key}' is needed"):
        load_model(write_model(tmp_path / "m", **{key: None}))


def test_a_card_without_preprocessing_is_refused(tiny_model):
    card = tiny_model / "card.toml"
    card.write_text(card.read_text().partition("[preprocessing]")[0])
    with pytest.raises(ModelError, match="the key 'preprocessing' is needed"):
        load_model(tiny_model)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size = 32\n", ""),
        ("size = 32", "size = 4"),
        ("size = 32", "size = 'large'"),
        ('color = "gray"', 'color = "sepia"'),
        ("mean = 127.5", "mean = 'none'"),
        ("scale = 127.5", "scale = 0"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(tiny_model, old, new):
    card = tiny_model / "card.toml"
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(ModelError, match="preprocessing"):
        load_model(tiny_model)


def test_the_keys_of_earlier_cards_are_read(tmp_path):
    folder = write_model(tmp_path / "m", license="CC0")
    card = folder / "card.toml"
    old = (
        card.read_text().replace("license", "licence").replace('color = "gray"', 'colour = "grey"')
    )
    card.write_text(old)
    model = load_model(folder)
    assert model.preprocessing.color == "gray"
    assert model.card["license"] == "CC0"


@pytest.mark.parametrize("temperature", [0, -1, "hot", float("nan")])
def test_a_temperature_that_is_no_positive_number_is_refused(tmp_path, temperature):
    folder = write_model(tmp_path / "m", temperature=1.5)
    card = folder / "card.toml"
    value = f"'{temperature}'" if isinstance(temperature, str) else str(temperature)
    card.write_text(card.read_text().replace("temperature = 1.5", f"temperature = {value}"))
    with pytest.raises(ModelError, match="temperature"):
        load_model(folder)


@pytest.mark.parametrize("groups", ['groups = "none"', "groups = 3"])
def test_groups_that_are_no_table_are_refused(tiny_model, groups):
    card = tiny_model / "card.toml"
    before, _, rest = card.read_text().partition("[groups]")
    card.write_text(f"{before}{groups}\n[preprocessing]{rest.partition('[preprocessing]')[2]}")
    with pytest.raises(ModelError, match="groups"):
        load_model(tiny_model)


@pytest.mark.parametrize("labels", [[], ["joy"], ["joy", "joy"]])
def test_labels_must_be_two_or_more_different_ones(tmp_path, labels):
    with pytest.raises(ModelError, match=r"at least 2 texts|two or more different"):
        load_model(write_model(tmp_path / "m", labels=labels))


def test_a_network_that_is_not_the_cards_is_refused(tiny_model):
    network = tiny_model / "model.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"SHA-256 .* damaged or was replaced"):
        load_model(tiny_model)


def test_a_missing_network_is_named(tiny_model):
    (tiny_model / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read"):
        load_model(tiny_model)


def test_what_is_no_network_is_refused_though_its_hash_is_right(tmp_path):
    with pytest.raises(ModelError, match="cannot be run by onnxruntime"):
        load_model(write_model(tmp_path / "m", b"not a network"))


def test_a_network_with_another_number_of_classes_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has 8 classes, but its card names 7"):
        load_model(write_model(tmp_path / "m", linear_network(classes=8)))


@pytest.mark.parametrize("network", [{"size": 48}, {"channels": 3}])
def test_a_network_of_another_input_is_refused(tmp_path, network):
    with pytest.raises(ModelError, match="takes input"):
        load_model(write_model(tmp_path / "m", linear_network(**network)))


def test_a_network_without_logits_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"outputs p, embedding; 'logits' is needed"):
        load_model(write_model(tmp_path / "m", linear_network(output="p")))


# ------------------------------------------------------------------------------------ predict


def test_a_models_names_groups_and_hash_are_its_cards(tmp_path):
    labels = ("crying", "joy", "calm")
    groups = {"crying": "negative", "joy": "positive"}
    model = load_model(
        write_model(tmp_path / "m", linear_network(classes=3), labels=labels, groups=groups)
    )
    assert (model.name, model.names, model.group_of) == ("tiny", labels, groups)
    scores = model.predict(CROPS)
    best = scores.probabilities.argmax(axis=1)
    assert scores.names == labels and scores.expressions == [labels[i] for i in best]
    assert scores.groups == [groups.get(labels[i]) for i in best]


def test_a_class_without_a_group_belongs_to_none(tmp_path):
    model = load_model(write_model(tmp_path / "m", groups={}))
    assert model.predict(CROPS).groups == [None] * 5


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(tiny_model):
    model = load_model(tiny_model)
    session = ort.InferenceSession(
        (tiny_model / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    crops = CROPS[:, :32, :32]
    gray = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops])
    image = (gray[:, None].astype(np.float32) - 127.5) / 127.5
    logits, embedding = session.run(["logits", "embedding"], {"image": image})
    odds = np.exp(logits.astype(np.float64) / 1.5)
    scores = model.predict(crops)
    np.testing.assert_allclose(
        scores.probabilities, odds / odds.sum(axis=1, keepdims=True), rtol=1e-4
    )
    np.testing.assert_allclose(scores.embeddings, embedding, rtol=1e-4, atol=1e-5)
    assert scores.group_of == GROUPS and scores.names == EXPRESSIONS


def test_a_higher_temperature_is_less_sure_of_the_same_class(tmp_path):
    low, high = (
        load_model(write_model(tmp_path / str(t), temperature=t)).predict(CROPS) for t in (1, 3)
    )
    assert low.expressions == high.expressions
    assert (low.probabilities.max(axis=1) > high.probabilities.max(axis=1)).all()


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (48, 60), (112, 112), (300, 200)])
def test_crops_of_any_size_give_probabilities_that_sum_to_1(tiny_model, size):
    crops = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    scores = load_model(tiny_model).predict(crops)
    assert scores.probabilities.shape == (3, 7) and scores.embeddings.shape == (3, 128)
    assert scores.probabilities.dtype == scores.embeddings.dtype == np.float32
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)


def test_many_crops_give_what_each_gives_alone(tiny_model):
    model = load_model(tiny_model)
    crops = np.random.default_rng(0).integers(0, 256, (131, 32, 32, 3), np.uint8)
    together = model.predict(crops).probabilities
    alone = np.concatenate([model.predict(crops[i : i + 1]).probabilities for i in range(131)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_crops_give_no_rows(tiny_model):
    scores = load_model(tiny_model).predict(CROPS[:0])
    assert scores.probabilities.shape == (0, 7) and scores.embeddings.shape == (0, 128)
    assert scores.expressions == []


def test_a_model_without_an_embedding_gives_empty_ones(tmp_path):
    model = load_model(write_model(tmp_path / "m", linear_network(embedding=False)))
    assert model.predict(CROPS).embeddings.shape == (5, 0)


def test_extreme_logits_stay_probabilities(tmp_path):
    model = load_model(write_model(tmp_path / "m", temperature=1e-4))
    p = model.predict(CROPS).probabilities
    assert np.isfinite(p).all() and p.max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("crops", "text"),
    [
        (CROPS.astype(np.float32) / 255, "uint8 pixels.*float32"),
        (CROPS[0], r"\(112, 112, 3\)"),
        (CROPS[..., 0], r"\(5, 112, 112\)"),
        (CROPS[..., :1], r"\(5, 112, 112, 1\)"),
        ([CROPS[0]], "list"),
    ],
)
def test_what_are_no_rgb_crops_is_refused_by_what_it_is(tiny_model, crops, text):
    with pytest.raises(UsageError, match=text):
        load_model(tiny_model).predict(crops)


# ------------------------------------------------------------------------------ preprocessing


def test_gray_input_is_the_luma_of_the_crop():
    crop = np.zeros((1, 8, 8, 3), np.uint8)
    crop[0, :, :4], crop[0, :, 4:] = (200, 100, 50), (255, 255, 255)
    ready = Preprocessing(8, "gray", 127.5, 64, 0).apply(crop)
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert ready.shape == (1, 1, 8, 8) and ready.dtype == np.float32
    np.testing.assert_allclose(ready[0, 0, :, :4], (luma - 127.5) / 64)
    np.testing.assert_allclose(ready[0, 0, :, 4:], (255 - 127.5) / 64)


def test_rgb_input_keeps_the_channels_in_order():
    crop = np.empty((1, 8, 8, 3), np.uint8)
    crop[:] = (10, 20, 30)
    ready = Preprocessing(8, "rgb", 5, 2, 0).apply(crop)
    assert ready.shape == (1, 3, 8, 8) and ready.flags.c_contiguous
    np.testing.assert_allclose(ready[0, :, 3, 3], [2.5, 7.5, 12.5])


def test_a_larger_crop_is_averaged_to_the_input():
    crop = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    ready = Preprocessing(16, "rgb", 0, 1, 0).apply(crop)[0].transpose(1, 2, 0)
    blocks = crop[0].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(ready, blocks, atol=0.51)


def test_detail_is_averaged_away_before_the_crop_is_enlarged():
    crop = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    ready = Preprocessing(64, "gray", 0, 1, 24).apply(crop)[0, 0]
    gray = cv2.cvtColor(crop[0], cv2.COLOR_RGB2GRAY).reshape(24, 4, 24, 4).mean(axis=(1, 3))
    expected = cv2.resize(gray.round().astype(np.uint8), (64, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ready, expected, atol=1.01)
    sharp = Preprocessing(64, "gray", 0, 1, 0).apply(crop)[0, 0]
    assert ready.std() < 0.7 * sharp.std()


def test_a_crop_smaller_than_the_detail_is_left_alone():
    crop = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    np.testing.assert_array_equal(
        Preprocessing(32, "gray", 0, 1, 24).apply(crop),
        Preprocessing(32, "gray", 0, 1, 0).apply(crop),
    )
