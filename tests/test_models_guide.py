"""The guide to models: its example writes a folder that loads, and its card is complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from model_folder import linear_network, write_model
from moppet import load_model

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "models.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_the_example_writes_a_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (example,) = re.findall(r"```python\n(from hashlib.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, GUIDE.name, "exec"), {})
    model = load_model("my_model")
    assert model.names == ("calm", "crying") and model.group_of == {"crying": "negative"}
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    probabilities = model.predict(crops).probabilities
    assert probabilities.shape == (3, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_the_card_in_the_guide_has_the_keys_of_a_bundled_card() -> None:
    card, _ = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    shown, bundled = tomllib.loads(card), load_model().card
    assert shown["preprocessing"].keys() == bundled["preprocessing"].keys()
    assert shown.keys() <= bundled.keys()


def test_the_optional_keys_in_the_guide_are_those_of_a_whole_model(tmp_path: Path) -> None:
    _, keys = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    shown = tomllib.loads(keys)
    prior = {"prior": shown["prior"], "display_prior": shown["display_prior"]}
    network = linear_network(classes=2, display=2, movements=len(shown["movements"]))
    folder = write_model(
        *(tmp_path / "whole", network),
        labels=["calm", "crying"],
        groups={"crying": "negative"},
        movements=shown["movements"],
        display_temperature=shown["display_temperature"],
        tables=prior,
    )
    model = load_model(folder)
    assert model.has_display and model.movement_names == tuple(shown["movements"])
    assert {"prior": model.prior, "display_prior": model.display_prior} == prior
    assert shown["movement_validity"].keys() <= {*shown["movements"]}
