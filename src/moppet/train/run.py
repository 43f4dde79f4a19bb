"""A whole training run: train, export, choose on the set-aside rows, measure, write the folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.ferplus import FerPlus, read_ferplus
from moppet.infer.catalogue import load_model
from moppet.infer.expressions import Preprocessing
from moppet.metrics import accuracy
from moppet.train.card import draw_confusion, figures_page, write_card
from moppet.train.dataset import evaluation_crops, find_landmarks, normalise
from moppet.train.export import (
    Deployed,
    check_parity,
    export_float,
    export_int8,
    onnx_logits,
)
from moppet.train.figures import fit_temperature, measure
from moppet.train.loop import load_average, train
from moppet.train.recipe import Recipe, read_recipe
from moppet.values import Floats

INT8_MAY_LOSE: Final = 0.005
MIRROR_MUST_GAIN: Final = 0.002
DETAILS_PX: Final = (0, 64, 48)


@dataclass(frozen=True)
class _Choices:
    """What is decided on the set-aside rows."""

    file: Path
    detail_px: int
    temperature: float
    notes: dict[str, Any]


def run_recipe(recipe_path: Path, folder: Path) -> Path:
    """Train by a recipe and return the model folder, `folder`/model.

    The folder also gets figures.md and figures/confusion.png. A stopped run goes on when the
    command runs again.
    """
    recipe = read_recipe(recipe_path)
    base = recipe_path.parent
    data_path = (base / recipe.data).resolve()
    start = (base / recipe.start).resolve() if recipe.start else None
    train(recipe, folder, data_path, start)
    return finish(recipe, folder, read_ferplus(data_path))


def finish(recipe: Recipe, folder: Path, data: FerPlus) -> Path:
    """Export a trained run, make its choices, measure it and write its model folder."""
    landmarks, attempt = find_landmarks(data, folder / "landmarks.npz")
    choices = _choose(recipe, folder, data, landmarks)
    model_folder = folder / "model"
    model_folder.mkdir(exist_ok=True)
    shutil.copyfile(choices.file, model_folder / "model.onnx")
    rows = {part: len(data.rows(part, labelled=True)) for part in ("train", "choose", "report")}
    card: dict[str, Any] = {
        "file": "model.onnx",
        "detail_px": choices.detail_px,
        "temperature": choices.temperature,
        "rows": rows,
    }
    # The card must be there before the model can be loaded as users load it.
    write_card(model_folder, recipe, figures=None, **card)
    figures = measure(load_model(model_folder, threads=2), data, landmarks, attempt)
    write_card(model_folder, recipe, figures=figures, **card)
    page = figures_page(recipe, figures, choices.notes, rows)
    (folder / "figures.md").write_text(page, encoding="utf-8")
    draw_confusion(figures, folder / "figures" / "confusion.png")
    return model_folder


def _choose(recipe: Recipe, folder: Path, data: FerPlus, landmarks: Floats) -> _Choices:
    network = load_average(folder, recipe)
    rows = data.rows("choose", labelled=True)
    label = data.label[rows]
    crops = evaluation_crops(data, landmarks, rows, aligned=True)

    def pictures(detail_px: int) -> NDArray[np.uint8]:
        prepare = Preprocessing(recipe.size, "grey", detail_px, 0.0, 1.0)
        return prepare.apply(crops)[:, 0].astype(np.uint8)

    plain, mirrored = folder / "float32.onnx", folder / "float32_mirrored.onnx"
    quantised = folder / "int8.onnx"
    export_float(network, recipe.size, plain)
    export_float(network, recipe.size, mirrored, mirrored=True)
    by_detail = {
        detail: accuracy(label, onnx_logits(plain, pictures(detail))[0].argmax(axis=1))
        for detail in DETAILS_PX
    }
    detail = _coarsest_within(by_detail, 0.002)
    chosen = pictures(detail)
    once, both = (
        accuracy(label, onnx_logits(path, chosen)[0].argmax(axis=1)) for path in (plain, mirrored)
    )
    mirrors = both - once >= MIRROR_MUST_GAIN
    whole = mirrored if mirrors else plain
    worst = check_parity(Deployed(network, mirrored=mirrors), whole, chosen[:256])
    notes: dict[str, Any] = {
        "set-aside accuracy by detail_px": {k: round(v, 4) for k, v in by_detail.items()},
        "detail_px chosen (the coarsest within 0.2 points of the best)": detail,
        "set-aside accuracy, once and averaged with the mirror image": f"{once:.4f}, {both:.4f}",
        "averaged with the mirror image": "yes" if mirrors else "no",
        "largest difference of logits, torch to ONNX": f"{worst:.1e}",
    }
    export_int8(whole, _calibration(data, landmarks, recipe, detail), quantised)
    small_logits, _ = onnx_logits(quantised, chosen)
    logits, _ = onnx_logits(whole, chosen)
    small, full = (accuracy(label, z.argmax(axis=1)) for z in (small_logits, logits))
    keeps = full - small < INT8_MAY_LOSE
    notes["set-aside accuracy, float32 and int8"] = f"{full:.4f}, {small:.4f}"
    file = quantised if keeps else whole
    notes["bundled file"] = f"{'int8' if keeps else 'float32'}, {file.stat().st_size:,} bytes"
    temperature = fit_temperature(small_logits if keeps else logits, label)
    notes["temperature"] = round(temperature, 4)
    return _Choices(file, detail, temperature, notes)


def _coarsest_within(by_detail: dict[int, float], tolerance: float) -> int:
    """Fine detail of video is unknown to the network, so the coarsest that costs nothing wins."""
    best = max(by_detail.values())
    good = [detail for detail, value in by_detail.items() if best - value <= tolerance]
    return min((d for d in good if d), default=0)


def _calibration(
    data: FerPlus, landmarks: Floats, recipe: Recipe, detail_px: int, count: int = 256
) -> Floats:
    rows = data.rows("train")
    rows = np.random.default_rng(recipe.seed).choice(rows, min(count, len(rows)), replace=False)
    crops = evaluation_crops(data, landmarks, np.sort(rows), aligned=True)
    prepare = Preprocessing(recipe.size, "grey", detail_px, 0.0, 1.0)
    return normalise(prepare.apply(crops)[:, 0].astype(np.uint8)).numpy()
