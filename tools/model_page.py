"""Write docs/model.md: the default model's figures and what was tried on the way to it.

    python tools/model_page.py runs/default/figures.md
    python tools/model_page.py                            # trials alone; the figures stay

Each trial is a recipe and its log: docs/trials/NAME.toml and NAME.csv, made by
`moppet train docs/trials/NAME.toml -o runs/NAME`, then a copy of runs/NAME/log.csv. Every figure of
the table is of the set-aside rows, which every choice is made on.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from moppet.train.recipe import Recipe, chosen_settings, read_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "model.md"
NAMELESS = {"name", "data", "limits", "licence"}
HEAD = """## What was tried

Each line is one training, `docs/trials/NAME.toml`, against `recipes/default.toml`; figures of
the set-aside rows after its last epoch (`NAME.csv` holds every epoch). Only models meant
to become the default were measured on the rows that report. The loss is against what the trial
learned from: with `labels = hard` the label alone, which no other's compares with.

| trial | what differs | epochs | accuracy | balanced accuracy | loss |
|---|---|---|---|---|---|
"""


def differences(recipe: Recipe, default: Recipe) -> str:
    """Return the settings in which a trial differs from the default recipe, as text."""
    keys = sorted({*chosen_settings(recipe), *chosen_settings(default)} - NAMELESS - {"epochs"})
    pairs = {key: (said(getattr(recipe, key)), said(getattr(default, key))) for key in keys}
    return "; ".join(f"{key} = {mine}" for key, (mine, its) in pairs.items() if mine != its) or (
        "nothing"
    )


def said(value: Any) -> str:
    """Return a setting as a reader takes it in; of a path, the file."""
    if isinstance(value, str):
        return f"`{Path(value).name}`" if value else "none"
    if isinstance(value, tuple):
        return ", ".join(said(item) for item in value) or "none"
    return f"{value}"


def row(path: Path, default: Recipe) -> str:
    """Return a trial's line of the table."""
    recipe = read_recipe(path)
    with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    cells = [path.stem, differences(recipe, default), last["epoch"]]
    figures = ("choose_accuracy", "choose_balanced", "choose_loss")
    cells += [f"{float(last[key]):.4f}" for key in figures]
    return f"| {' | '.join(cells)} |"


def number(name: str) -> int:
    """Return the number that a trial's name begins with."""
    return int(name.split("-")[0])


def main() -> None:
    """Write the page of the trials that were run."""
    default = read_recipe(ROOT / "recipes" / "default.toml")
    run = (ROOT / "docs" / "trials").glob("*.csv")
    paths = sorted((log.with_suffix(".toml") for log in run), key=lambda path: number(path.stem))
    rows = [row(path, default) for path in paths]
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    figures = source.read_text(encoding="utf-8").split(HEAD.splitlines()[0])[0].rstrip()
    PAGE.write_text(f"{figures}\n\n{HEAD}" + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
