"""A training's pictures: confusion matrices and the course of its epochs, as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

_CURVES: Final = {
    "Loss": {"train_loss": "training, random views", "choose_loss": "set aside"},
    "Accuracy": {
        "train_accuracy": "training, random views",
        "choose_accuracy": "set aside",
        "choose_balanced": "set aside, balanced",
    },
}
_COLOURS: Final = {"train": "#8a8f98", "choose": "#1f6fb4", "balanced": "#d9822b"}


def draw_confusions(figures: dict[str, Any], folder: Path) -> None:
    """Draw the aligned rows' confusion matrices, of the classes and of the groups if there are."""
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
    axes.set_xlabel("read by the model")
    axes.set_ylabel("label")
    axes.set_title(f"Report rows, aligned as in video (n = {counts.sum()})", fontsize=10)
    for i, j in np.ndindex(*counts.shape):
        colour = "white" if shares[i, j] > 0.55 else "black"
        text = f"{counts[i, j]}\n{100 * shares[i, j]:.0f} %" if counts[i, j] else "0"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_course(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch; what was never measured is left out.

    log: the epochs, as `checkpoint.read_log` gives them.
    """
    plt = _pyplot()
    figure, places = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in log]
    for axes, (title, curves) in zip(places, _CURVES.items(), strict=True):
        for name, label in curves.items():
            values = [row[name] for row in log]
            if all(math.isnan(value) for value in values):
                continue
            colour = _COLOURS["balanced" if "balanced" in name else name.split("_")[0]]
            dot = "o" if len(epochs) == 1 else None
            axes.plot(epochs, values, color=colour, label=label, linewidth=1.8, marker=dot)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_xlim(0, epochs[-1] + 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot
