"""Write the pages of the bundled models, docs/models/default.md and docs/models/adults.md.

    python tools/model_page.py                               # introduction and experiments
    python tools/model_page.py default runs/default          # the figures of a run as well
    python tools/model_page.py --check                       # whether the pages are up to date

A page has an introduction, the figures written by `moppet train` (figures.md and figures/ in the
folder of the run), and for the default model a table of training experiments. Each experiment is a
recipe and its log, docs/trials/NAME.toml and NAME.csv: run `moppet train docs/trials/NAME.toml -o
runs/NAME` and copy runs/NAME/log.csv. The figures of that table are those of the validation rows.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

from moppet.train.recipe import Recipe, chosen_settings, read_recipe
from moppet.vocabulary import current_key

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "models"
IMAGES = ROOT / "docs" / "figures"
START = "<!-- figures: written by moppet train -->"
END = "<!-- end of figures -->"
IGNORED = {"name", "data", "limits", "licence", "epochs"}
IMAGE_PREFIX = {"default": "", "adults": "adults_"}
INTRODUCTION = {
    "default": """# Model `default`

`default` is the model that moppet uses unless you choose another one. It reads seven expressions,
which its card groups into positive (happiness), neutral (neutral, surprise) and negative (sadness,
fear, disgust, anger).

It was trained on FER+: posed and spontaneous images from the web, in gray, 48 pixels wide. Most of
them show adults; about 13 % of the training rows checked for age show infants or children.
Fear and disgust are rare in the data and are recognized poorly. The training started from a network
that had learned to tell the faces of adults apart (on VGGFace2). The model reads what a face shows,
not what a person feels, and it is not a diagnosis.
""",
    "adults": """# Model `adults`

`adults` is a model for studies on children, not for use on recordings. It was trained like
[`default`](default.md), but on none of the infants and children that are marked in FER+, and on no
copy of their images. Use it as a starting point or for its embeddings when a study must not start
from a network that has already learned from children's labels. Some children are left among the
rows whose age nobody judged, about 13 % of all children there.
""",
}
EXPERIMENTS = """## Training experiments

Each row is one training run with the recipe `docs/trials/NAME.toml`, compared with
`recipes/default.toml`. The figures are those of the validation rows after the last epoch;
`NAME.csv` has every epoch. Only candidates for the default model were measured on the test rows.
The loss is computed against the targets used in training. With `labels = hard` these are the labels
alone, so that loss cannot be compared with the others.

| experiment | difference from the default | epochs | accuracy | balanced accuracy | loss |
|---|---|---|---|---|---|
"""


def differences(recipe: Recipe, default: Recipe) -> str:
    """Return the settings in which a recipe differs from the default recipe, as text."""
    keys = sorted({*chosen_settings(recipe), *chosen_settings(default)} - IGNORED)
    pairs = {key: (shown(getattr(recipe, key)), shown(getattr(default, key))) for key in keys}
    return "; ".join(f"{key} = {mine}" for key, (mine, its) in pairs.items() if mine != its) or (
        "none"
    )


def shown(value: Any) -> str:
    """Return a setting as text; of a path, only the file name."""
    if isinstance(value, str):
        return f"`{Path(value).name}`" if value else "none"
    if isinstance(value, tuple):
        return ", ".join(shown(item) for item in value) or "none"
    return f"{value}"


def row(path: Path, default: Recipe) -> str:
    """Return the row of an experiment."""
    recipe = read_recipe(path)
    with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        last = {current_key(k): v for k, v in list(csv.DictReader(file))[-1].items()}
    cells = [path.stem, differences(recipe, default), last["epoch"]]
    figures = ("val_accuracy", "val_balanced", "val_loss")
    cells += [f"{float(last[key]):.4f}" for key in figures]
    return f"| {' | '.join(cells)} |"


def experiments() -> str:
    """Return the section on the experiments that have a log, in the order of their numbers."""
    default = read_recipe(ROOT / "recipes" / "default.toml")
    logs = (ROOT / "docs" / "trials").glob("*.csv")
    paths = sorted(
        (log.with_suffix(".toml") for log in logs), key=lambda path: int(path.stem.split("-")[0])
    )
    return EXPERIMENTS + "\n".join(row(path, default) for path in paths) + "\n"


def figures_of(name: str, run: Path) -> str:
    """Return a run's figures as the page of this model shows them, and copy their images."""
    _, text = (run / "figures.md").read_text(encoding="utf-8").split("\n", 1)
    for image in sorted((run / "figures").glob("*.png")):
        copied = IMAGE_PREFIX[name] + image.name
        shutil.copy(image, IMAGES / copied)
        text = text.replace(f"(figures/{image.name})", f"(../figures/{copied})")
    return text.replace("(metrics.md)", "(../reference/metrics.md)").strip()


def page(name: str, figures: str) -> str:
    """Return the whole page of a model."""
    text = f"{INTRODUCTION[name]}\n{START}\n\n{figures}\n\n{END}\n"
    return f"{text}\n{experiments()}" if name == "default" else text


def main() -> None:
    """Write the pages, or with --check exit with a message if one is out of date."""
    arguments = sys.argv[1:]
    for name in INTRODUCTION:
        path = PAGES / f"{name}.md"
        old = path.read_text(encoding="utf-8")
        if arguments[:1] == [name]:
            figures = figures_of(name, Path(arguments[1]))
        else:
            figures = old.split(START)[1].split(END)[0].strip()
        if arguments != ["--check"]:
            path.write_text(page(name, figures), encoding="utf-8")
        elif page(name, figures) != old:
            sys.exit(f"docs/models/{name}.md is out of date: run python tools/model_page.py.")


if __name__ == "__main__":
    main()
