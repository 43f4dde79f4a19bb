"""A whole training run: train, export, choose on the validation rows, measure, write."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray

from moppet.datasets.duplicates import drop_leaking_duplicates
from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import refuse_cleaned
from moppet.datasets.splits import holdout
from moppet.files import write_text
from moppet.infer.expression_model import find_model, load_model, read_card
from moppet.metrics import Labels, accuracy
from moppet.train.callbacks import kept_weights
from moppet.train.checkpoints import LAST, read_log
from moppet.train.data_module import (
    RandomViews,
    TrainingData,
    check_parts,
    evaluation_crops,
    network_input,
    normalize,
    select_training_data,
)
from moppet.train.distillation import with_teachers
from moppet.train.head_measurement import (
    Chosen,
    HeldOut,
    card_validity,
    choose_columns,
    display_figures,
    display_temperature,
    loses_nothing,
    movement_figures,
)
from moppet.train.head_targets import prevalence
from moppet.train.measurement import fit_temperature, measure
from moppet.train.model_folder import (
    Deployed,
    check_parity,
    draw_confusions,
    draw_course,
    export_float,
    export_int8,
    figures_page,
    onnx_logits,
    write_card,
)
from moppet.train.movements import COLUMNS
from moppet.train.networks import Network, save_network
from moppet.train.recipe import Recipe, data_of, read_data, read_recipe
from moppet.train.sources import with_sources
from moppet.train.starting_weights import WEIGHTS, make_network, start_network
from moppet.train.trainer import Machine, train
from moppet.values import Floats, Image, MoppetError
from moppet.vocabulary import groups_of, split_of

INT8_MAY_LOSE: Final = 0.005
MIRROR_MUST_GAIN: Final = 0.002
DETAILS_PX: Final = (0, 64, 48)
CHOICES_NEED: Final = 200
"""With fewer validation rows, half a percentage point of accuracy is less than one row."""
PRIOR_SPREAD: Final = 0.5
_SHARES: Final = {"test": 0.2, "val": 0.15}
_SAMPLE: Final = 512


@dataclass(frozen=True)
class _Choices:
    """What is chosen on the validation rows.

    whole: the float32 file with every column of movements, `columns`; file: the one to use.
    """

    file: Path
    detail_px: int
    mirrored: bool
    temperature: float
    notes: dict[str, Any]
    whole: Path
    display_temperature: float = 1.0
    movements: Chosen | None = None


def run_recipe(
    recipe_path: Path,
    folder: Path,
    machine: Machine | None = None,
    data: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Train by a recipe and return the model folder, `folder`/model.

    data: used instead of the recipe's own. changes: keys to set over those of the recipe.
    The folder also gets figures.md and the images in figures/. A stopped run resumes when the
    same command is run again.
    """
    recipe = read_recipe(recipe_path, changes)
    place = data_of(recipe, recipe_path.parent, data)
    make_network(recipe, classes=2)  # fails on a wrong name or setting before faces are searched
    base = recipe_path.parent
    manifest = read_data(recipe, place)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = with_split(manifest, recipe.seed)
    if recipe.leave_out_copies:
        manifest = drop_leaking_duplicates(manifest)
    faces = find_manifest_faces(manifest, cache=folder / "faces.npz")
    rows = select_training_data(manifest, faces, recipe)
    rows = with_sources(rows, recipe, base, folder / "faces.npz")
    rows = with_teachers(rows, recipe, base)
    start = base / recipe.start if recipe.start and (base / recipe.start).exists() else recipe.start
    return run_training(recipe, folder, rows, start, machine)


def run_training(
    recipe: Recipe,
    folder: Path,
    data: TrainingData,
    start: str | Path = "",
    machine: Machine | None = None,
    groups: Mapping[str, str] | None = None,
) -> Path:
    """Train on data in memory and return the model folder; see `run_recipe` and `finish`."""
    check_parts(data, recipe)
    lightning.seed_everything(recipe.seed, verbose=False)
    network = make_network(recipe, len(data.names))
    if str(start) and not (folder / LAST).is_file():
        fresh = start_network(network, data.names, start, sample_input(data, recipe))
        if fresh and not (machine and machine.quiet):
            rank_zero_only(print)(f"starts from {start}; random: {', '.join(fresh)}", flush=True)
    train(recipe, folder, data, network, machine)
    network.load_state_dict(kept_weights(folder, recipe))
    return finish(recipe, folder, data, network.eval(), groups)


def with_split(manifest: Manifest, seed: int) -> Manifest:
    """Return the manifest with rows for training, validation and test.

    Splits that the data set has are kept; what it lacks is drawn, by groups. Other words for the
    splits, such as "validation", are understood. Where some rows have a split, those without keep
    none: a split that was made leaves rows out that would leak.
    """
    split = _known_parts(manifest)
    rng = np.random.default_rng(seed)
    for part in lacking_parts(manifest):
        refuse_cleaned(manifest)
        rows = np.flatnonzero(split == "train")
        split[rows[holdout(manifest.select(rows), _SHARES[part], rng)]] = part
    return manifest.replace(split=split)


def lacking_parts(manifest: Manifest) -> list[str]:
    """Return which of "test" and "val" no row of the manifest has, in this order."""
    split = _known_parts(manifest)
    return [part for part in _SHARES if not (split == part).any()]


def _known_parts(manifest: Manifest) -> NDArray[np.object_]:
    """Return each row's part in our words; all train where none is given."""
    given = manifest.column("split")
    rest = "train" if all(part is None for part in given) else None
    return np.array([split_of(s) or s if s else rest for s in given], object)


def sample_input(data: TrainingData, recipe: Recipe) -> torch.Tensor:
    """Return some hundred training images, (n, channels, size, size), as network input."""
    views = RandomViews(data, recipe)
    step = len(views) // _SAMPLE + 1
    return normalize(torch.stack([views[i][0] for i in range(0, len(views), step)]))


def finish(
    recipe: Recipe,
    folder: Path,
    data: TrainingData,
    network: Network,
    groups: Mapping[str, str] | None = None,
) -> Path:
    """Export a trained network, choose its settings, measure it and write its model folder.

    groups: class → group; None to derive them from the classes' names.
    """
    choices = _choose(recipe, folder, data, network)
    model_folder = folder / "model"
    model_folder.mkdir(exist_ok=True)
    shutil.copyfile(choices.file, model_folder / "model.onnx")
    save_network(network, model_folder / WEIGHTS)
    if (folder / "log.csv").is_file():
        shutil.copyfile(folder / "log.csv", model_folder / "training.csv")
    rows = {part: len(data.rows(part, labeled=True)) for part in ("train", "val", "test")}
    card: dict[str, Any] = {
        "file": "model.onnx",
        "names": data.names,
        "groups": groups_of(data.names) if groups is None else groups,
        "training_data": data.manifest.license,
        "detail_px": choices.detail_px,
        "mirrored": choices.mirrored,
        "temperature": choices.temperature,
        "rows": rows,
        "prior": _prior(data, prevalence(data.label[data.rows("val")], len(data.names))),
    }
    more = _measure_heads(recipe, data, choices) if data.heads is not None else {}
    card |= _heads_card(recipe, data, choices, more)
    # The card must be there before the model can be loaded as users load it.
    write_card(model_folder, recipe, None, **card)
    figures = measure(load_model(model_folder, threads=2), data) | more
    write_card(model_folder, recipe, figures, **card)
    log = read_log(folder)
    page = figures_page(recipe, figures, choices.notes, rows, log)
    write_text(folder / "figures.md", page)
    draw_confusions(figures, folder / "figures")
    if log:
        draw_course(log, folder / "figures" / "training.png")
    return model_folder


def _prior(data: TrainingData, shares: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(data.names, shares.tolist(), strict=True))


def _measure_heads(recipe: Recipe, data: TrainingData, choices: _Choices) -> dict[str, Any]:
    """Return the figures of the other heads on the test rows: "display" and "movements"."""
    chosen = choices.movements
    columns = chosen.columns if chosen else ()
    figures: dict[str, Any] = {}
    test = HeldOut(choices.file, data, recipe, "test", columns, choices.detail_px)
    if test.found.display is not None:
        figures["display"] = display_figures(test, choices.display_temperature, choices.temperature)
    if chosen:
        whole = HeldOut(choices.whole, data, recipe, "test", COLUMNS, choices.detail_px)
        figures["movements"] = movement_figures(chosen, whole)
    return figures


def _heads_card(
    recipe: Recipe, data: TrainingData, choices: _Choices, figures: dict[str, Any]
) -> dict[str, Any]:
    """Return the card's keys of the other heads."""
    if data.heads is None:
        return {}
    chosen = choices.movements
    return {
        "display_temperature": choices.display_temperature if "display" in figures else None,
        "display_prior": _prior(data, _expected(recipe, data)) if "display" in figures else {},
        "movements": chosen.columns if chosen else (),
        "movement_validity": card_validity(figures["movements"]) if chosen else {},
    }


def _choose(recipe: Recipe, folder: Path, data: TrainingData, network: Network) -> _Choices:
    rows = data.rows("val", labeled=True)
    few = len(rows) < CHOICES_NEED
    crops = evaluation_crops(data, rows, aligned=True)
    label = data.label[rows]
    notes: dict[str, Any] = {}
    plain, quantized = folder / "float32.onnx", folder / "int8.onnx"
    columns = COLUMNS if getattr(network, "movements", None) is not None else ()
    export_float(network, plain, columns=columns)
    if few:
        detail, mirrored = _choices_of(recipe.start)
        whole = folder / "float32_mirrored.onnx" if mirrored else plain
        if mirrored:
            export_float(network, whole, mirrored=True, columns=columns)
        notes["validation rows"] = f"{len(rows)}: only the temperature was chosen on so few rows"
    else:
        detail = _choose_detail(recipe, label, crops, plain, notes)
        whole, mirrored = _choose_mirroring(
            network, label, network_input(crops, recipe, detail), folder, notes
        )
    if recipe.rendered or recipe.unlabeled:
        detail = 0  # their images taught finer detail than the data's, which alone chose
    images = network_input(crops, recipe, detail)
    deployed = Deployed(network, mirrored=mirrored, columns=columns)
    worst = check_parity(deployed, whole, images[:256])
    notes["largest difference between the logits of PyTorch and ONNX"] = f"{worst:.1e}"
    chosen, file = None, whole
    if columns:
        chosen = choose_columns(HeldOut(whole, data, recipe, "val", columns, detail))
        file = folder / "float32_chosen.onnx"
        export_float(network, file, mirrored=mirrored, columns=chosen.columns)
    if not few:
        exact = file
        export_int8(exact, _calibration(data, recipe, detail), quantized)
        file = _choose_file(label, images, exact, quantized, notes)
        if file == quantized and data.heads is not None:
            given = chosen.columns if chosen else ()
            before = HeldOut(exact, data, recipe, "val", given, detail)
            after = HeldOut(quantized, data, recipe, "val", given, detail)
            good, found = loses_nothing(before, after, INT8_MAY_LOSE)
            notes |= found
            file = quantized if good else exact
    notes["bundled file"] = (
        f"{'int8' if file == quantized else 'float32'}, {file.stat().st_size:,} bytes"
    )
    logits, _ = onnx_logits(file, images)
    temperature = fit_temperature(logits, label, spread=PRIOR_SPREAD if few else math.inf)
    notes["temperature"] = round(temperature, 4)
    choices = _Choices(file, detail, mirrored, temperature, notes, whole, movements=chosen)
    return _with_display(choices, recipe, data)


def _with_display(choices: _Choices, recipe: Recipe, data: TrainingData) -> _Choices:
    """Return the choices with the temperature of the display reading."""
    if "display" not in recipe.heads or data.heads is None:
        return choices
    columns = choices.movements.columns if choices.movements else ()
    held = HeldOut(choices.file, data, recipe, "val", columns, choices.detail_px)
    temperature = display_temperature(held, _expected(recipe, data))
    choices.notes["temperature of the display reading"] = round(temperature, 4)
    return dataclasses.replace(choices, display_temperature=temperature)


def _expected(recipe: Recipe, data: TrainingData) -> NDArray[np.float64]:
    assert data.heads is not None
    train = data.part == "train"
    return data.heads.expected_prevalence(train, len(data.names), recipe.display_adjustment)


def _choose_detail(
    recipe: Recipe, label: Labels, crops: Image, path: Path, notes: dict[str, Any]
) -> int:
    by_detail = {
        detail: _accuracy(path, network_input(crops, recipe, detail), label)
        for detail in DETAILS_PX
    }
    good = [d for d, value in by_detail.items() if max(by_detail.values()) - value <= 0.002]
    chosen = min((d for d in good if d), default=0)  # the network never saw finer detail
    notes["validation accuracy by `detail_px`"] = {k: round(v, 4) for k, v in by_detail.items()}
    notes["`detail_px` chosen (the smallest within 0.2 percentage points of the best)"] = chosen
    return chosen


def _choose_mirroring(
    network: Network, label: Labels, images: Image, folder: Path, notes: dict[str, Any]
) -> tuple[Path, bool]:
    plain, mirrored = folder / "float32.onnx", folder / "float32_mirrored.onnx"
    columns = COLUMNS if getattr(network, "movements", None) is not None else ()
    export_float(network, mirrored, mirrored=True, columns=columns)
    once, both = (_accuracy(path, images, label) for path in (plain, mirrored))
    mirrors = both - once >= MIRROR_MUST_GAIN
    notes["validation accuracy, image alone and averaged with its mirror image"] = (
        f"{once:.4f}, {both:.4f}"
    )
    notes["averaged with the mirror image"] = "yes" if mirrors else "no"
    return (mirrored if mirrors else plain), mirrors


def _choose_file(
    label: Labels, images: Image, whole: Path, quantized: Path, notes: dict[str, Any]
) -> Path:
    full, small = (_accuracy(path, images, label) for path in (whole, quantized))
    notes["validation accuracy, float32 and int8"] = f"{full:.4f}, {small:.4f}"
    return quantized if full - small < INT8_MAY_LOSE else whole


def _choices_of(start: str) -> tuple[int, bool]:
    """Return the `detail_px` and the mirroring of the model from which training started."""
    try:
        card = read_card(find_model(start))
    except MoppetError:
        return 0, False
    return int(card["preprocessing"].get("detail_px", 0)), bool(card.get("mirrored", False))


def _accuracy(path: Path, images: Image, label: Labels) -> float:
    return accuracy(label, onnx_logits(path, images)[0].argmax(axis=1))


def _calibration(data: TrainingData, recipe: Recipe, detail_px: int, count: int = 256) -> Floats:
    rows = data.rows("train")
    rows = np.random.default_rng(recipe.seed).choice(rows, min(count, len(rows)), replace=False)
    crops = evaluation_crops(data, np.sort(rows), aligned=True)
    images = torch.from_numpy(network_input(crops, recipe, detail_px))
    return np.asarray(normalize(images).contiguous().numpy(), np.float32)
