"""Write the prior of a model whose card has none: how frequent each label was.

    python tools/card_prior.py recipes/default.toml src/moppet/models/default           # print it
    python tools/card_prior.py recipes/default.toml src/moppet/models/default --write

The prior is the share of each label among the validation rows of the recipe, on which the model's
temperature was chosen. Nothing is written if the number of rows is not that on the card.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import numpy as np

from moppet.config import read_toml
from moppet.datasets.duplicates import drop_leaking_duplicates
from moppet.files import write_text
from moppet.train.data_module import select_training_data
from moppet.train.recipe import data_of, read_data, read_recipe
from moppet.train.training_run import with_split
from moppet.values import UsageError


def validation_prior(recipe_path: Path, data: Path | None) -> tuple[dict[str, float], int]:
    """Return class → share of a recipe's labeled validation rows, and their number."""
    recipe = read_recipe(recipe_path)
    manifest = with_split(read_data(recipe, data_of(recipe, recipe_path.parent, data)), recipe.seed)
    if recipe.leave_out_copies:
        manifest = drop_leaking_duplicates(manifest)
    rows = select_training_data(manifest, cast(Any, None), recipe)  # labels need no faces
    label = rows.label[rows.rows("val", labeled=True)]
    shares = np.bincount(label, minlength=len(rows.names)) / len(label)
    return dict(zip(rows.names, shares.tolist(), strict=True)), len(label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("folder", type=Path, help="the model's folder")
    parser.add_argument("--data", type=Path, help="used instead of the recipe's own data")
    parser.add_argument("--write", action="store_true", help="add the prior to card.toml")
    given = parser.parse_args()
    path = given.folder / "card.toml"
    card = read_toml(path, "model card")
    prior, n = validation_prior(given.recipe, given.data)
    rows = card.get("rows", {})
    if n != rows.get("val", rows.get("choose")) or [*prior] != card["labels"]:
        raise UsageError(f"{path} has other validation rows or labels than {given.recipe}: {rows}.")
    lines = [f"# Labels of the {n:,} validation rows, on which the temperature was chosen."]
    lines += ["[prior]", *(f'"{name}" = {share:.6f}' for name, share in prior.items())]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if given.write:
        if "prior" in card:
            raise UsageError(f"{path} has a prior already: remove it first.")
        write_text(path, path.read_text(encoding="utf-8") + "\n" + text)


if __name__ == "__main__":
    main()
