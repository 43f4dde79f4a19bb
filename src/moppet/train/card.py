"""Writes a model folder: the network, its card, its figures and its page of documentation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from moppet.train.recipe import Recipe
from moppet.values import EXPRESSIONS, GROUPS

_DATA: Final = (
    "FER+ votes (Microsoft, MIT licence) on FER2013's pictures. Those pictures were collected "
    "from web searches and carry no licence from an owner; moppet learned from them and ships "
    "none of them."
)
_LIMITS: Final = (
    "Learned from posed and spontaneous web pictures, mostly of adults (about 13 % of the "
    "looked-at training rows are infants or children), grey, 48 pixels. Disgust and fear are rare "
    "in them and poorly read. It reads what a face shows, not what a person feels; it is no "
    "diagnosis."
)


def write_card(
    folder: Path,
    recipe: Recipe,
    *,
    file: str,
    detail_px: int,
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
        'licence = "Apache-2.0"',
        f"labels = {json.dumps(list(EXPRESSIONS))}",
        f"temperature = {temperature:.4f}",
        f"training_data = {_text(_DATA)}",
        f"limits = {_text(_LIMITS)}",
        "",
        "[preprocessing]",
        f"size = {recipe.size}",
        'colour = "grey"',
        f"detail_px = {detail_px}",
        "mean = 128.0",
        "scale = 128.0",
        "",
        "[groups]",
        *(f"{name} = {_text(GROUPS[name])}" for name in EXPRESSIONS),
        "",
        "[rows]",
        *(f"{name} = {count}" for name, count in rows.items()),
    ]
    if figures is not None:
        lines += _score_lines(figures)
        text = json.dumps(figures, indent=1, allow_nan=False)
        (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    (folder / "card.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _score_lines(figures: dict[str, Any]) -> list[str]:
    aligned = figures["aligned"]["all"]
    lines = [
        "",
        "# FER+ report rows, found and aligned as in video: value, 95 % interval, n.",
        "[scores]",
    ]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        lines.append(f"{name} = {_estimate(aligned[name])}")
    for name in EXPRESSIONS:
        lines.append(f"recall_{name} = {_estimate(aligned['recall'][name])}")
    for band in ("infant", "child", "infant or child"):
        key = band.replace(" ", "_")
        lines.append(f"accuracy_{key} = {_estimate(figures['aligned'][band]['accuracy'])}")
    return lines


def figures_page(
    recipe: Recipe, figures: dict[str, Any], export: dict[str, Any], rows: dict[str, int]
) -> str:
    """Return the figures as a Markdown page."""
    lines = [
        f"# The model `{recipe.name}`",
        "",
        "Made by `moppet train`, not by hand. Rows: FER+'s development rows by the unique",
        "plurality of all ten vote columns. Training "
        f"{rows['train']}, set aside for choices {rows['choose']} (temperature, int8 or not, "
        f"detail), reported on {rows['report']}, which neither trained nor chose anything.",
        "Intervals: 95 %, bootstrap over groups of duplicate pictures, 1,000 draws.",
        "",
        "*raw*: the data set's crop as it is. *aligned*: found by MTCNN and aligned as in video,",
        "the whole crop where no face is found.",
        "",
        "| rows | n | raw | aligned | balanced (aligned) | macro-F1 (aligned) | one rater |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("all", "infant", "child", "infant or child", "not a child"):
        raw, aligned = figures["raw"][name], figures["aligned"][name]
        cells = [
            name,
            str(aligned["n"]),
            _cell(raw["accuracy"]),
            _cell(aligned["accuracy"]),
            _cell(aligned["balanced_accuracy"]),
            _cell(aligned["macro_f1"]),
            _cell(figures["human"][name]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    n = figures["rows"]
    wrong = figures["aligned_missed_wrong"]["accuracy"]
    lines += [
        "",
        '"One rater": how often one of the ten raters votes for the plurality.',
        "",
        f"A face was found in {figures['faces_found']} of {n} crops "
        f"({figures['faces_found_at_default_thresholds']} at the detector's default thresholds). "
        f"With every missed face counted as wrong the accuracy is {_cell(wrong)}.",
        "",
        "Recall of each expression, with n:",
        "",
        "| expression | all, raw | all, aligned | infant, aligned | child, aligned |",
        "|---|---|---|---|---|",
    ]
    columns = [("raw", "all"), ("aligned", "all"), ("aligned", "infant"), ("aligned", "child")]
    for name in EXPRESSIONS:
        recalls = [figures[view][rows_of]["recall"][name] for view, rows_of in columns]
        cells = [f"{_cell(recall)}, n = {recall['n']}" for recall in recalls]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| expected calibration error | before scaling | after |",
        "|---|---|---|",
        *(
            f"| {rows_of}, {view} | {_cell(figures[view][rows_of]['ece_before_scaling'])} "
            f"| {_cell(figures[view][rows_of]['ece'])} |"
            for view, rows_of in columns
        ),
        "",
        "![Confusion matrix](figures/confusion.png)",
        "",
        "## The file",
        "",
        *(f"- {key}: {value}" for key, value in export.items()),
        "",
    ]
    return "\n".join(lines)


def draw_confusion(figures: dict[str, Any], path: Path) -> None:
    """Draw the aligned rows' confusion matrix: counts, shaded by share of the true class."""
    import matplotlib
    import numpy as np

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    counts = np.array(figures["aligned"]["all"]["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(EXPRESSIONS)), EXPRESSIONS, rotation=35, ha="right")
    axes.set_yticks(range(len(EXPRESSIONS)), EXPRESSIONS)
    axes.set_xlabel("read by the model")
    axes.set_ylabel("voted by most raters")
    axes.set_title(f"FER+ report rows, aligned as in video (n = {counts.sum()})")
    for i, j in np.ndindex(*counts.shape):
        colour = "white" if shares[i, j] > 0.55 else "black"
        text = f"{counts[i, j]}\n{100 * shares[i, j]:.0f} %" if counts[i, j] else "0"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


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
    return f"{text} ({estimate['low']:.3f}-{estimate['high']:.3f})"
