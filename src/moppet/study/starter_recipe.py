"""A commented recipe of a study for one's own folder of labeled faces."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Final

from moppet.datasets.readers import read_dataset
from moppet.files import write_text
from moppet.values import MoppetError, UsageError

_LEAST_IMAGES: Final = 6
_MOST_CLASSES: Final = 10
_HEAD: Final = """\
# {question}
#   moppet study {recipe}
name = "{name}"                  # of the result files
title = {title}
output = "{name}-results"        # folder of the results
work = "{name}-work"             # folder of unfinished runs and of the faces that were found
"""
_TEMPLATES: Final = {
    "classifiers": """\
data = {data}
kind = ""                         # layout of the data; "" recognizes it
subject = {subject}                      # regular expression: its (group) in a path is the person
splits = ["train", "val", "test"] # splits of the data that are used; ignored if it has none
model = "default"                 # of the embedding; must not have been trained on these faces
spaces = ["hog", "embedding"]     # features; also "lbp" and "pixels"
classifiers = ["cart", "logistic"] # also "samme" and "f1_adaboost"
folds = {folds}                         # of the cross-validation
repeats = 1                       # of the cross-validation; more give narrower intervals
seed = 0
reference = "original"            # the method that all others are compared with

[data_sets.all]
classes = {classes}
# only_ages = ["infant", "child"] # keep only these age bands
share = 1.0                       # of each class's training rows; below 1 to try scarce data
min_rows = 5                      # smallest number of training rows per class, with share below 1
methods = []                      # methods to compare; all if empty

[methods.original]                # the training rows as they are

[methods."class weights"]
weights = true                    # weight all classes equally

[methods."random oversampling"]
balance = "random_over"           # see `moppet balance --help` for all methods
space = "pixels"                  # balance the images, or "own": each classifier's features

# [methods.CGAN]                  # synthetic faces of a conditional GAN; takes much longer
# synthesize = "cgan"
#
# [generator]                     # see `moppet synthesize --help` for all settings
# width = 16
# steps = 1200
""",
    "networks": """\
compare = "experiments"           # with the first of each table; or "regimes", with the first one
notes = ""                        # paragraphs for the result page

[common]                          # keys of a training recipe that all experiments share
data = {data}
kind = ""                         # layout of the data; "" recognizes it
subject = {subject}                      # regular expression: its (group) in a path is the person
classes = {classes}
network = "childcnn"              # a small network; "mobilenet_v2" is larger
size = 48                         # width and height of the network's input in pixels
epochs = 4                        # passes over the training rows; 20 or more for real results
batch = 16                        # images per training step
labels = "hard"                   # the label; "soft" uses the shares of the raters' votes
precision = "32-true"             # "bf16-mixed" is faster on recent processors
ema_decay = 0.0                   # moving average of the weights; 0 for none

[regimes.all]                     # all training rows
draws = 2                         # repetitions with other seeds; 3 or more for real results
counts = {{}}                       # images per class, such as {{ happiness = 50 }}; all if empty
val = 0.0                         # share held out for validation; 0 uses the data's own split
synthetic = ""                    # "copies" of the rows, or the name of one of [generators]
ratio = 0.0                       # synthetic rows per real training row

[tables.dropout]                  # a table of experiments
regimes = []                      # regimes that they run in; all if empty

[[tables.dropout.experiments]]
name = "without dropout"
dropout = 0.0

[[tables.dropout.experiments]]
name = "with dropout"
dropout = 0.3
""",
}
_QUESTIONS: Final = {
    "classifiers": "Does balancing help simple classifiers on these faces?",
    "networks": "Which settings train the best network on these faces?",
}


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
    if kind not in _TEMPLATES:
        raise UsageError(f"a study is of {' or '.join(_TEMPLATES)}, got {kind!r}.")
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
    name = recipe.stem.replace(" ", "-")
    place = os.path.relpath(data.resolve(), recipe.resolve().parent)
    text = (_HEAD + "\n" * (kind == "networks") + _TEMPLATES[kind]).format(
        question=_QUESTIONS[kind],
        recipe=recipe.name,
        name=name,
        title=json.dumps(f"{data.resolve().name}: a first study", ensure_ascii=False),
        data=json.dumps(place, ensure_ascii=False),
        subject=json.dumps(subject, ensure_ascii=False),
        folds=min(5, counts[classes[-1]] // 2),
        classes=json.dumps(classes, ensure_ascii=False),
    )
    return write_text(recipe, text.replace("\n\ncompare", "\ncompare"))
