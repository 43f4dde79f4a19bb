"""The finished model folder: network, card, test figures and plots."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from moppet.files import replacing, write_text
from moppet.palette import LIGHT
from moppet.train.data_module import MEAN, SCALE
from moppet.train.recipe import Recipe

_CURVES: Final = {
    "Loss": {"train_loss": "training, augmented", "val_loss": "validation"},
    "Accuracy": {
        "train_accuracy": "training, augmented",
        "val_accuracy": "validation",
        "val_balanced": "validation, balanced",
    },
}
_COLORS: Final = {"train": LIGHT["gray"], "val": LIGHT["blue"], "balanced": LIGHT["green"]}


def draw_confusions(figures: dict[str, Any], folder: Path) -> None:
    """Draw the aligned rows' confusion matrices, of the classes and of any groups."""
    names, found = figures["names"], figures["aligned"]["all"]
    _draw_confusion(names, found["confusion"], folder / "confusion.png")
    if "grouped" in figures:
        grouped = figures["grouped"]
        path = folder / "confusion_groups.png"
        _draw_confusion(grouped["names"], grouped["all"]["confusion"], path)


def _draw_confusion(names: list[str], confusion: list[list[int]], path: Path) -> None:
    """Draw counts, shaded by share of the true class."""
    plt = _pyplot()
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 3.5 + 0.5 * len(names)
    figure, axes = plt.subplots(figsize=(side, side - 1), layout="constrained")
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(f"Test rows, aligned as in video (n = {counts.sum()})", fontsize=10)
    for i, j in np.ndindex(*counts.shape):
        color = "white" if shares[i, j] > 0.55 else "black"
        text = f"{counts[i, j]}\n{100 * shares[i, j]:.0f} %" if counts[i, j] else "0"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    with replacing(path) as part:
        figure.savefig(part, dpi=110)
    plt.close(figure)


def draw_course(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch, as far as they were measured.

    log: the epochs, from `read_log`.
    """
    plt = _pyplot()
    figure, places = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in log]
    for axes, (title, curves) in zip(places, _CURVES.items(), strict=True):
        for name, label in curves.items():
            values = [row[name] for row in log]
            if all(math.isnan(value) for value in values):
                continue
            color = _COLORS["balanced" if "balanced" in name else name.split("_")[0]]
            dot = "o" if len(epochs) == 1 else None
            axes.plot(epochs, values, color=color, label=label, linewidth=1.8, marker=dot)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_xlim(0, epochs[-1] + 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    with replacing(path) as part:
        figure.savefig(part, dpi=110)
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def write_card(
    folder: Path,
    recipe: Recipe,
    *,
    file: str,
    names: tuple[str, ...],
    groups: Mapping[str, str],
    training_data: str,
    detail_px: int,
    mirrored: bool,
    temperature: float,
    figures: dict[str, Any] | None,
    rows: dict[str, int],
) -> None:
    """Write card.toml, and figures.json if there are figures, beside the network `file`."""
    network = (folder / file).read_bytes()
    lines = [
        "# Made by `moppet train`; every figure from figures.json beside it.",
        f"name = {_text(recipe.name)}",
        f"file = {_text(file)}",
        f"sha256 = {_text(hashlib.sha256(network).hexdigest())}",
        f"license = {_text(recipe.license)}",
        f"network = {_text(recipe.network)}",
        f"labels = {json.dumps(list(names), ensure_ascii=False)}",
        f"temperature = {temperature:.4f}",
        f"mirrored = {json.dumps(mirrored)}  # averages its answers to a face and its mirror image",
        f"training_data = {_text(training_data)}",
        f"limits = {_text(recipe.limits)}",
        "",
        "[preprocessing]",
        f"size = {recipe.size}",
        f"color = {_text(recipe.color)}",
        f"detail_px = {detail_px}",
        f"mean = {MEAN}",
        f"scale = {SCALE}",
        "",
        "[groups]",
        *(f"{_text(name)} = {_text(group)}" for name, group in groups.items()),
        "",
        "[rows]",
        *(f"{name} = {count}" for name, count in rows.items()),
    ]
    if figures is not None:
        lines += _score_lines(figures)
        text = json.dumps(figures, indent=1, allow_nan=False)
        write_text(folder / "figures.json", text + "\n")
    write_text(folder / "card.toml", "\n".join(lines) + "\n")


def _score_lines(figures: dict[str, Any]) -> list[str]:
    whole = figures["aligned"]["all"]
    lines = [
        "",
        "# Test rows, found and aligned as in video: value, 95 % interval, n.",
        "[scores]",
    ]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        lines.append(f"{name} = {_estimate(whole[name])}")
    for name in figures["names"]:
        lines.append(f"{_text('recall_' + name)} = {_estimate(whole['recall'][name])}")
    for band, part in figures["aligned"].items():
        if band != "all":
            key = _text("accuracy_" + band.replace(" ", "_"))
            lines.append(f"{key} = {_estimate(part['accuracy'])}")
    return lines


def figures_page(
    recipe: Recipe,
    figures: dict[str, Any],
    export: dict[str, Any],
    rows: dict[str, int],
    log: Sequence[Mapping[str, float]] = (),
) -> str:
    """Return the figures as a Markdown page.

    log: the epochs, from `read_log`.
    """
    n = figures["rows"]
    lines = [
        f"# Model `{recipe.name}`",
        "",
        "This section was written by `moppet train`. The model was trained on "
        f"{rows['train']} rows.",
        f"{rows['val']} validation rows were used for choices (temperature, int8 or float32,",
        f"`detail_px`). All figures are computed on {rows['test']} test rows, which were used",
        "neither for training nor for any choice. Intervals are 95 % bootstrap intervals from",
        "1,000 draws of groups (the images of one subject, the copies of one image); for shares",
        "of 0 or 1 they are exact binomial intervals. [Metrics](metrics.md) defines each figure.",
        "",
        "*aligned*: the face is found by MTCNN and aligned as in video; if no face is found, the",
        "whole image is used. *raw*: the crop of the data set as it is. *One rater*: how often a",
        "single rater voted for the label.",
        "",
        *_age_table(figures),
        *_gap_lines(figures),
        "",
        f"A face was found in {figures['faces_found']} of {n} images "
        f"({figures['faces_found_at_default_thresholds']} at the detector's default thresholds). "
        "If every image without a face",
        "found counts as an error, accuracy is "
        f"{_cell(figures['aligned_missed_wrong']['accuracy'])}.",
        "",
        "Recall of each class, with the number of rows n:",
        "",
        *_recall_table(figures),
        "",
        *_overall_table(figures),
        "",
        "![Confusion matrix](figures/confusion.png)",
        "",
        *_group_lines(figures),
        *_course_lines(log),
        "## Model file",
        "",
        *(f"- {key}: {value}" for key, value in export.items()),
        "",
    ]
    return "\n".join(lines)


def _age_table(figures: dict[str, Any]) -> list[str]:
    views = [view for view in ("raw", "aligned") if view in figures]
    head = ["rows", "n", *views, "balanced accuracy (aligned)", "macro-F1 (aligned)", "one rater"]
    lines = _table_head(head)
    for name, aligned in figures["aligned"].items():
        cells = [name, str(aligned["n"])]
        cells += [_cell(figures[view][name]["accuracy"]) for view in views]
        cells += [_cell(aligned[key]) for key in ("balanced_accuracy", "macro_f1")]
        lines.append(_row([*cells, _cell(figures["human"][name])]))
    return lines


def _gap_lines(figures: dict[str, Any]) -> list[str]:
    gap = figures["gap"]
    if gap is None:
        return []
    return [
        "",
        f"Gap ({gap['of'].replace(' less ', ' minus ')}): model {_cell(gap['model'])}, "
        f"one rater {_cell(gap['one_rater'])}.",
    ]


def _columns(figures: dict[str, Any]) -> list[tuple[str, str]]:
    views = [view for view in ("raw", "aligned") if view in figures]
    columns: list[tuple[str, str]] = [(view, "all") for view in views]
    return columns + [
        ("aligned", band) for band in ("infant", "child") if band in figures["aligned"]
    ]


def _recall_table(figures: dict[str, Any]) -> list[str]:
    columns = _columns(figures)
    lines = _table_head(["class", *(f"{part}, {view}" for view, part in columns)])
    for name in figures["names"]:
        recalls = [figures[view][part]["recall"][name] for view, part in columns]
        lines.append(_row([name, *(f"{_cell(r)}, n = {r['n']}" for r in recalls)]))
    return lines


_OVERALL: Final = {
    "macro_precision": "macro precision",
    "macro_f1": "macro-F1",
    "g_mean": "G-mean",
    "macro_auc": "macro AUC",
    "kappa": "Cohen's kappa",
    "brier": "Brier score",
    "ece_before_scaling": "calibration error before temperature scaling",
    "ece": "calibration error after temperature scaling",
}


def _overall_table(figures: dict[str, Any]) -> list[str]:
    columns = _columns(figures)
    lines = _table_head(["figure", *(f"{part}, {view}" for view, part in columns)])
    for key, title in _OVERALL.items():
        cells = [_cell(figures[view][part][key]) for view, part in columns]
        lines.append(_row([title, *cells]))
    return lines


def _group_lines(figures: dict[str, Any]) -> list[str]:
    if "grouped" not in figures:
        return []
    grouped = figures["grouped"]
    names = grouped["names"]
    head = ["rows", "n", "accuracy", "balanced accuracy", "macro-F1"]
    head += [f"recall, {name}" for name in names]
    lines = [
        f"Grouped into {', '.join(names)} (aligned; the probability of a group is the sum of its "
        "classes):",
        "",
    ]
    lines += _table_head(head)
    for part, found in grouped.items():
        if part == "names":
            continue
        cells = [_cell(found[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1")]
        cells += [_cell(found["recall"][name]) for name in names]
        lines.append(_row([part, str(found["n"]), *cells]))
    return [*lines, "", "![Confusion matrix of the groups](figures/confusion_groups.png)", ""]


def _course_lines(log: Sequence[Mapping[str, float]]) -> list[str]:
    if not log:
        return []
    last = log[-1]
    lines = ["## Training", ""]
    measured = [row for row in log if not math.isnan(row["val_loss"])]
    if measured:
        best = min(measured, key=lambda row: row["val_loss"])
        lines += [
            f"{len(log)} epochs; the validation loss was lowest after epoch "
            f"{best['epoch']:.0f}: {best['val_loss']:.4f}, accuracy "
            f"{best['val_accuracy']:.4f}. After the last epoch: loss "
            f"{last['train_loss']:.4f} on random views of the training rows, "
            f"{last['val_loss']:.4f} on the validation rows; accuracy "
            f"{last['train_accuracy']:.4f} and {last['val_accuracy']:.4f}.",
            "",
        ]
    return [*lines, "![Loss and accuracy by epoch](figures/training.png)", ""]


def _table_head(cells: list[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _estimate(estimate: dict[str, Any]) -> str:
    pairs = (
        f"{key} = {value:.4f}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in estimate.items()
        if value is not None
    )
    return "{ " + ", ".join(pairs) + " }"


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.3f}"
    if estimate["low"] is None:
        return text
    if estimate["low"] == estimate["high"]:  # all draws were alike, which is no proof
        return f"{text} (no spread)"
    return f"{text} ({estimate['low']:.3f}-{estimate['high']:.3f})"
