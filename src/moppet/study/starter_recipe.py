"""A commented recipe of a study for one's own folder of labeled faces."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Final

from moppet.datasets.readers import read_dataset
from moppet.files import render_text, write_text
from moppet.values import MoppetError, UsageError

_LEAST_IMAGES: Final = 6
_MOST_CLASSES: Final = 10
_KINDS: Final = ("classifiers", "networks")


def write_starter_recipe(
    data: Path, recipe: Path, kind: str = "classifiers", subject: str = ""
) -> Path:
    """Write a recipe for a data set with every key explained, and return its path.

    kind: "classifiers" (minutes, from about six images per class) or "networks".
    subject: regular expression whose (group) in a file's path is the person; "" for none.
    Classes with fewer than six images are left out.
    Raises UsageError where the recipe exists or the kind is unknown, and MoppetError where fewer
    than two classes have enough images.
    """
    if kind not in _KINDS:
        raise UsageError(f"a study is of {' or '.join(_KINDS)}, got {kind!r}.")
    if recipe.exists():
        raise UsageError(f"{recipe} exists already. Choose another name, or delete it.")
    options = {"subject_pattern": subject} if subject else {}
    manifest = read_dataset(data, **options)
    counts = Counter(str(name) for name in manifest.column("label") if name)
    classes = [name for name, n in counts.most_common(_MOST_CLASSES) if n >= _LEAST_IMAGES]
    if len(classes) < 2:
        found = ", ".join(f"{name} {n}" for name, n in counts.items()) or "no labeled image"
        raise MoppetError(
            f"a study needs two classes with at least {_LEAST_IMAGES} images each; {data} has "
            f"{found}."
        )
    place = os.path.relpath(data.resolve(), recipe.resolve().parent)
    text = render_text(
        "moppet.study",
        f"starter_{kind}.toml.j2",
        recipe=recipe.name,
        name=recipe.stem.replace(" ", "-"),
        title=json.dumps(f"{data.resolve().name}: a first study", ensure_ascii=False),
        data=json.dumps(place, ensure_ascii=False),
        subject=json.dumps(subject, ensure_ascii=False),
        folds=min(5, counts[classes[-1]] // 2),
        classes=json.dumps(classes, ensure_ascii=False),
    )
    return write_text(recipe, text)
