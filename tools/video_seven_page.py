"""Write docs/studies/video-seven.md: the training of Marin & Grijalva (2024), repeated on FER+.

    moppet train recipes/video-seven.toml -o runs/video-seven
    moppet evaluate runs/video-seven/model ../shared/data/ferplus/ferplus_dev.npz --split test \
        --against default -o runs/video-seven/evaluation
    python tools/video_seven_page.py runs/video-seven

All figures except those of the publication are read from the files of these two commands.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from model_page import ROOT, differences
from moppet.evaluate.saved_results import current_results
from moppet.palette import EXPRESSION_COLORS, GROUP_COLORS
from moppet.train.checkpoints import read_log
from moppet.train.recipe import read_recipe

PAGE = ROOT / "docs" / "studies" / "video-seven.md"
PAPER = {
    "training accuracy": "0.779",
    "validation accuracy": "0.771",
    "test accuracy, seven classes": "0.754",
    "recall, neutral": "0.818, the best class",
    "recall, disgust": "0.276, the worst class",
    "grouped, positive": "0.746",
    "grouped, neutral": "0.574",
    "grouped, negative": "0.942",
}
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "ece": "calibration error",
}
COLORS = {**GROUP_COLORS, **EXPRESSION_COLORS}


def said(figure: dict[str, Any]) -> str:
    """Return a figure with its interval."""
    if figure["value"] is None:
        return "–"
    text = f"{figure['value']:.3f}"
    if figure["low"] is None:
        return text
    if figure["low"] == figure["high"]:
        return f"{text} (no spread)"
    return f"{text} ({figure['low']:.3f} to {figure['high']:.3f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def beside_the_paper(run: Path, evaluation: dict[str, Any]) -> str:
    """Return the figures of the publication and ours."""
    log = read_log(run)
    kept = min(log, key=lambda row: row["val_loss"])
    seven, three = evaluation["classes"]["parts"]["all"], evaluation["groups"]["parts"]["all"]
    recall, grouped = seven["per_class"]["recall"], three["per_class"]["recall"]
    ours = [
        f"{kept['train_accuracy']:.3f}, random views, epoch {kept['epoch']:.0f} of {len(log)}",
        f"{kept['val_accuracy']:.3f}, the same epoch, which is kept",
        said(seven["overall"]["accuracy"]),
        said(recall["neutral"]),
        said(recall["disgust"]),
        *(said(grouped[name]) for name in ("positive", "neutral", "negative")),
    ]
    rows = [[name, paper, mine] for (name, paper), mine in zip(PAPER.items(), ours, strict=True)]
    head = ["", "publication, AffectNet", f"here, FER+ (n = {seven['n']:,})"]
    return table(head, rows)


def beside_the_default(evaluation: dict[str, Any]) -> str:
    """Return both models' figures on the same rows."""
    against = evaluation["against"]
    rows = []
    for name, title in FIGURES.items():
        gap = against["differences"]["all"][name]
        p = "under 0.001" if gap["p"] < 0.001 else f"{gap['p']:.3f}"
        first, second = (against[which]["overall"][name] for which in ("first", "second"))
        more = f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        rows.append([title, said(first), said(second), more, p])
    test = against["mcnemar"]
    names = evaluation["about"]["model"]["name"], against["model"]["name"]
    head = ["seven classes", f"`{names[0]}`", f"`{names[1]}`", "difference", "p"]
    return (
        table(head, rows) + f"\n\nOf {against['n']:,} faces, only `{names[0]}` is right on "
        f"{test['only_first']}, and only `{names[1]}` on {test['only_second']}."
    )


def draw_maps(found: dict[str, Any], levels: dict[str, Sequence[str]], path: Path) -> None:
    """Draw the embedding map twice, colored by class and by group."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    places = figure.subplots(1, 2)
    for axes, (level, names) in zip(places, levels.items(), strict=True):
        of = found[level]
        for name in names:
            rows = [i for i, value in enumerate(of) if value == name]
            xy = [[found[axis][i] for i in rows] for axis in ("x", "y")]
            label = f"{name} ({len(rows)})"
            axes.scatter(*xy, s=7, alpha=0.75, linewidths=0, color=COLORS[name], label=label)
        axes.set_axis_off()
        axes.set_aspect("equal")
        columns = 4 if len(names) > 4 else len(names)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns, frameon=False,
            fontsize=9, markerscale=2.5, handletextpad=0.2, columnspacing=1.2,
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def body(run: Path) -> str:
    """Return the page of the run with lower headings and with paths that work in the documents."""
    text = (run / "figures.md").read_text(encoding="utf-8")
    text = re.sub(r"^(#+) ", r"#\1 ", text, flags=re.M)
    return text.replace("](figures/", "](video-seven/").replace(
        "](metrics.md", "](../reference/metrics.md"
    )


def main() -> None:
    """Write the page and its images."""
    run = Path(sys.argv[1])
    written = (run / "evaluation" / "evaluation.json").read_text(encoding="utf-8")
    evaluation = current_results(json.loads(written))
    recipes = [read_recipe(ROOT / "recipes" / f"{x}.toml") for x in ("video-seven", "default")]
    images = PAGE.with_suffix("")
    shutil.copytree(run / "figures", images, dirs_exist_ok=True)
    levels = {"label": evaluation["classes"]["names"], "group": evaluation["groups"]["names"]}
    draw_maps(evaluation["map"], levels, images / "maps.png")
    command = f"moppet train recipes/{recipes[0].name}.toml -o runs/{recipes[0].name}"
    text = f"""# The training of Marin & Grijalva (2024), repeated on FER+

Written by `python tools/video_seven_page.py` from the results of `{command}`
and `moppet evaluate`. The network is MobileNetV2, pretrained on ImageNet, with the head and the
settings of the publication; `recipes/video-seven.toml` lists the differences. The data differ, too:
AffectNet's images are not freely available. The two columns therefore show whether the training
works similarly, not which model is better. Intervals are 95 %.

{beside_the_paper(run, evaluation)}

## Compared with the default model

Both models on the same {evaluation["against"]["n"]:,} rows, which were used in the training
of neither; paired bootstrap over groups.

{beside_the_default(evaluation)}

Differences from `recipes/default.toml`: {differences(*recipes)};
epochs = {recipes[0].epochs} instead of {recipes[1].epochs}.

## Map of the embeddings

The map shows {evaluation["map"]["n"]:,} of the faces; faces with similar embeddings are close
to each other. The colors are the labels, by class and by group. Method:
{evaluation["map"]["method"]}. Directions, long distances and the sizes of clusters have no meaning.

![Map of the embeddings](video-seven/maps.png)

{body(run)}"""
    PAGE.write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
