"""Cells that prepare one fold's training rows and compare classifiers in several feature spaces."""

from __future__ import annotations

import base64
import math
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.class_weight import compute_sample_weight

from moppet.balance import BALANCERS, Balanced, Neighbors, balance
from moppet.balance.resampling import CleaningSpace
from moppet.balance.spaces import Pixels
from moppet.datasets.manifest import Manifest
from moppet.datasets.readers import read_dataset
from moppet.datasets.splits import kfold
from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.study.engine import StudyContext, find_study_faces
from moppet.study.executors import Json
from moppet.study.f1_adaboost import F1AdaBoostClassifier
from moppet.study.features import describe_crops
from moppet.study.plan import SIDE_PX, ClassifierCell, ClassifierPlan, DataSet, Method
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.training import measure_budget, plan_tasks, train_generator
from moppet.synthesis.training_images import LEAST_IMAGES, TrainingImages
from moppet.values import Floats, Image, MoppetError

Values = NDArray[np.float64]
Labels = NDArray[np.int64]

TREES: Final = 50
_SEEDS_PER_REPEAT: Final = 1000
_LEAST: Final = 1e-12
"""Smaller probabilities are stored as this one."""
_STEPS: Final = 65535
_FEATURES: Final = "sqrt"
"""Features that a split of a boosted tree considers, as in random forests: all would take thirty
times as long. Both boosters are treated alike."""


def _boosted_trees(classes: int, seed: int) -> Any:
    depth = 1 + math.ceil(math.log2(classes))  # F1AdaBoostClassifier's own choice
    tree = DecisionTreeClassifier(max_depth=depth, max_features=_FEATURES)
    return AdaBoostClassifier(tree, n_estimators=TREES, random_state=seed)


CLASSIFIERS: Final[dict[str, Callable[[int, int], Any]]] = {
    "cart": lambda classes, seed: DecisionTreeClassifier(random_state=seed),
    "samme": _boosted_trees,
    "f1_adaboost": lambda classes, seed: F1AdaBoostClassifier(
        TREES, max_features=_FEATURES, random_state=seed
    ),
    "logistic": lambda classes, seed: LogisticRegression(max_iter=5000),
}
"""Name → function from the number of classes and a seed to a scikit-learn estimator: a full-grown
CART, SAMME and F1-AdaBoost over CARTs of the same depth, and logistic regression on standardized
features. All other settings are scikit-learn's defaults; none was chosen by its result."""


def classify(
    classifier: str,
    x: Floats,
    label: Labels,
    weight: Values | None,
    unseen: Floats,
    classes: int,
    seed: int,
) -> Values:
    """Return (m, classes) probabilities of unseen rows, after training on (n, d) x, (n,) labels.

    A class without training rows gets 0.
    """
    if classifier == "logistic":
        scaler = StandardScaler().fit(x)
        x, unseen = scaler.transform(x), scaler.transform(unseen)
    model = CLASSIFIERS[classifier](classes, seed).fit(x, label, sample_weight=weight)
    found = np.zeros((len(unseen), classes))
    found[:, model.classes_] = model.predict_proba(unseen)
    return found


@dataclass(frozen=True)
class FoldedRows:
    """A data set's rows and their folds.

    rows: (n,) row numbers in the context. label: (n,) indices into the data set's classes.
    groups: (n,) duplicates and images of one person share a number.
    fold: (repeats, n) the fold of each row, the same for every method.
    """

    rows: Labels
    label: Labels
    groups: Labels
    fold: Labels


@dataclass(frozen=True)
class PreparedRows:
    """What a classifier is trained on.

    rows: (n,) numbers of real training rows, repeated ones repeatedly.
    images: (m, 48, 48) gray uint8 synthetic faces. label: (m,) their classes.
    notes: sentences on what could not be done as asked.
    """

    rows: Labels
    images: Image
    label: Labels
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassifierContext(StudyContext):
    """The real rows of all data sets of a study of classifiers, and their features.

    images: (n, 48, 48) gray uint8 aligned faces. features: by space, (n, d) float32.
    folded: by the name of the data set.
    """

    plan: ClassifierPlan
    images: Image
    features: dict[str, Floats]
    folded: dict[str, FoldedRows]

    @classmethod
    def open(cls, plan: ClassifierPlan) -> ClassifierContext:
        """Read the study's images, find their faces, and compute their features."""
        options = {"subject_pattern": plan.subject} if plan.subject else {}
        manifest = read_dataset(plan.data, plan.kind or None, **options)
        manifest = manifest.select(np.flatnonzero(_used_rows(plan, manifest)))
        if not len(manifest):
            raise MoppetError("no image of the data set has these splits, classes and age bands.")
        manifest, faces = find_study_faces(manifest, plan.work)
        space = Pixels(SIDE_PX)
        images = space.images(space.features(faces.aligned()))
        spaces: tuple[str, ...] = plan.spaces
        features = {name: describe(images, name, plan.model) for name in spaces}
        folded = {name: _fold(plan, manifest, data) for name, data in plan.data_sets.items()}
        return cls(plan, images, features, folded)

    def parts(self, cell: ClassifierCell) -> tuple[Labels, Labels]:
        """Return the numbers of a cell's training rows and test rows."""
        folded = self.folded[cell.data.name]
        test = folded.fold[cell.repeat] == cell.fold
        rng = np.random.default_rng((self.plan.seed, cell.repeat, cell.fold))
        train = draw_rows(folded.rows[~test], folded.label[~test], cell.data, rng)
        return train, folded.rows[test]

    def label(self, data: DataSet) -> Labels:
        """Return (n,) every row's index into the data set's classes, -1 for other rows."""
        folded = self.folded[data.name]
        label = np.full(len(self.images), -1, np.int64)
        label[folded.rows] = folded.label
        return label

    def run(self, cell: ClassifierCell) -> Json:
        """Prepare a fold, train and test every classifier on it, and return the cell's line."""
        plan, names = self.plan, cell.data.classes
        train, test = self.parts(cell)
        label = self.label(cell.data)
        seed = plan.seed + _SEEDS_PER_REPEAT * cell.repeat + cell.fold
        folder = self.folder_of(cell)
        started = time.process_time()
        cleaning = partial(self.embed, train) if cell.method.clean_space else None
        ready = prepare(
            cell.method, self.images, label, train, names, plan.synthesis, folder, seed, cleaning
        )
        seconds = time.process_time() - started
        found = []
        for space in plan.spaces:
            started = time.process_time()
            x, y = self.training_features(ready, label, cell, space, seed)
            weight = compute_sample_weight("balanced", y) if cell.method.weights else None
            described = time.process_time() - started
            for classifier in plan.classifiers:
                started = time.process_time()
                unseen = self.features[space][test]
                predicted = classify(classifier, x, y, weight, unseen, len(names), seed)
                taken = seconds + described + time.process_time() - started
                found.append(
                    {
                        "space": space,
                        "classifier": classifier,
                        "n_train": np.bincount(y, minlength=len(names)).tolist(),
                        "seconds": round(taken, 2),
                        **pack(predicted),
                    }
                )
        return {
            **self.line(cell),
            "names": list(names),
            "n_before": np.bincount(label[train], minlength=len(names)).tolist(),
            "n_test": len(test),
            "notes": list(ready.notes),
            "found": found,
        }

    def training_features(
        self, ready: PreparedRows, label: Labels, cell: ClassifierCell, space: str, seed: int
    ) -> tuple[Floats, Labels]:
        """Return (n, d) features and (n,) classes that a classifier is trained on in a space."""
        x, y = self.features[space][ready.rows], label[ready.rows]
        if len(ready.images):
            x = np.concatenate([x, describe(ready.images, space, self.plan.model)])
            y = np.concatenate([y, ready.label])
        if cell.method.balance and cell.method.space == "own":
            done = balance_rows(cell.method, x, y, cell.data.classes, seed)
            x = np.concatenate([x[done.kept], done.features])
            y = np.concatenate([y[done.kept], done.labels])
        return x, y

    def embed(self, rows: Labels, new: Floats) -> Floats:
        """Return (n + m, d) embeddings of real rows (n,) and then of new ones (m, 48 * 48)."""
        images = np.concatenate([self.images[rows], Pixels(SIDE_PX).images(new)])
        return describe(np.asarray(images, np.uint8), "embedding", self.plan.model)

    def estimate(self, todo: Sequence[ClassifierCell], finished: Mapping[Any, Json]) -> str:
        """Return how long the cells will take, from a few timed steps of the generator.

        The classifiers' time is that of the finished cells, if there are any.
        """
        parts = []
        synthesized = [cell for cell in todo if cell.method.synthesize]
        if synthesized and self.plan.synthesis is not None:
            rows, _ = self.parts(synthesized[0])
            data = synthesized[0].data
            images = TrainingImages(self.images[rows], self.label(data)[rows], data.classes, rows)
            enough = [n for n, count in images.counts().items() if count >= LEAST_IMAGES]
            tasks = plan_tasks(self.plan.synthesis, images, enough)
            minutes = measure_budget(self.plan.synthesis, tasks).minutes * len(synthesized)
            parts.append(f"about {minutes:.0f} minutes in one process to train generators")
        first = next(iter(self.plan.methods))
        lines = [line["found"] for line in finished.values() if line["method"] == first]
        if not lines:
            return ", ".join([*parts, "the classifiers' time is estimated after the first cells"])
        minutes = sum(found["seconds"] for line in lines for found in line) / 60 / len(lines)
        return ", ".join([*parts, f"{minutes * len(todo):.0f} CPU minutes for the classifiers"])

    def progress(self, line: Json) -> str:
        seconds = max(found["seconds"] for found in line["found"])
        name = f"{line['data']}, {line['method']}, repeat {line['repeat']}, fold {line['fold']}"
        return f"{name}: at most {seconds:.0f} CPU seconds"

    def summarize(self, finished: Mapping[Any, Json]) -> list[Json]:
        from moppet.study.results import summarize_classifiers

        return summarize_classifiers(self, finished)


def _used_rows(plan: ClassifierPlan, manifest: Manifest) -> NDArray[np.bool_]:
    split = manifest.column("split")
    used = np.isin(split.astype(str), plan.splits) if any(split) else np.ones(len(split), bool)
    classes = {name for data in plan.data_sets.values() for name in data.classes}
    used &= np.isin(manifest.column("label").astype(str), list(classes))
    bands = {band for data in plan.data_sets.values() for band in data.only_ages}
    if bands and all(data.only_ages for data in plan.data_sets.values()):
        used &= np.isin(manifest.column("age_band").astype(str), list(bands))
    return np.asarray(used)


def _fold(plan: ClassifierPlan, manifest: Manifest, data: DataSet) -> FoldedRows:
    wanted = np.isin(manifest.column("label").astype(str), data.classes)
    if data.only_ages:
        wanted &= np.isin(manifest.column("age_band").astype(str), data.only_ages)
    rows = np.flatnonzero(wanted)
    part = manifest.select(rows)
    number = {name: i for i, name in enumerate(data.classes)}
    label = np.array([number[str(name)] for name in part.column("label")], np.int64)
    missing = [name for name in data.classes if number[name] not in label]
    if missing:
        raise MoppetError(f"data set {data.name!r} has no image of {missing[0]!r}.")
    fold = [
        kfold(part, plan.folds, np.random.default_rng((plan.seed, repeat)))
        for repeat in range(plan.repeats)
    ]
    return FoldedRows(rows, label, part.groups, np.stack(fold))


def describe(images: Image, space: str, model: str) -> Floats:
    """Return (n, d) features of (n, 48, 48) gray faces in one of SPACES."""
    crops = np.stack([cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in images])
    return describe_crops(np.asarray(crops, np.uint8), space, model=_model(model))


@lru_cache(maxsize=1)
def _model(name: str) -> ExpressionModel:
    return load_model(name)


# ------------------------------------------------------------- preparing the training rows


def draw_rows(rows: Labels, label: Labels, data: DataSet, rng: np.random.Generator) -> Labels:
    """Return the training rows that a data set uses: its share of each class, or the minimum.

    rows, label: (n,).
    """
    if data.share == 1:
        return rows
    drawn = []
    for number in range(len(data.classes)):
        mine = rows[label == number]
        wanted = min(len(mine), max(data.min_rows, round(data.share * len(mine))))
        drawn.append(rng.choice(mine, wanted, replace=False))
    return np.sort(np.concatenate(drawn))


def prepare(
    method: Method,
    images: Image,
    label: Labels,
    rows: Labels,
    names: Sequence[str],
    generator: SynthesisSettings | None,
    folder: Path,
    seed: int,
    cleaning_space: CleaningSpace | None = None,
) -> PreparedRows:
    """Return training rows after a method's balancing and synthesis.

    images: (n, 48, 48) and label: (n,) of all rows; only those in `rows` are looked at.
    folder: of the generator's checkpoints, from which a stopped run is resumed.
    """
    ready = PreparedRows(rows, np.empty((0, SIDE_PX, SIDE_PX), np.uint8), np.empty(0, np.int64))
    if method.balance and method.space == "pixels":
        x = images[rows].reshape(len(rows), -1).astype(np.float32) / np.float32(255)
        ready = _balanced(ready, balance_rows(method, x, label[rows], names, seed, cleaning_space))
    if method.synthesize and generator is not None:
        most = int(np.bincount(label[rows]).max())
        settings = replace(generator, seed=seed, learn_from_synthetic=True)
        ready = _synthesized(ready, images, label, names, most, settings, folder)
    return ready


def balance_rows(
    method: Method,
    x: Floats,
    label: Labels,
    names: Sequence[str],
    seed: int,
    cleaning_space: CleaningSpace | None = None,
) -> Balanced:
    """Return (n, d) training rows balanced; a class that would be left empty is kept whole.

    The result's labels are indices into the names again.
    """
    done = balance(
        x,
        np.asarray(names)[label],
        method=method.balance,
        rng=np.random.default_rng(seed),
        neighbors=Neighbors(enn_keeps=method.enn),
        keep_wiped=True,
        cleaning_space=cleaning_space,
    )
    numbers = np.array([names.index(str(name)) for name in done.labels], np.int64)
    return replace(done, labels=numbers)


def _balanced(ready: PreparedRows, done: Balanced) -> PreparedRows:
    """Repeated rows are the rows that they repeat; interpolated ones are images."""
    kept, notes = ready.rows[done.kept], (*done.notes, *done.warnings)
    if not BALANCERS[done.method].interpolates:
        rows = np.concatenate([kept, ready.rows[done.parents[:, 0]]])
        return replace(ready, rows=rows, notes=notes)
    return PreparedRows(kept, Pixels(SIDE_PX).images(done.features), done.labels, notes)


def _synthesized(
    ready: PreparedRows,
    images: Image,
    label: Labels,
    names: Sequence[str],
    most: int,
    settings: SynthesisSettings,
    folder: Path,
) -> PreparedRows:
    """Bring each class to `most` rows by a generator that is trained on the prepared rows."""
    shown = np.concatenate([images[ready.rows], ready.images])
    classes = np.concatenate([label[ready.rows], ready.label])
    counts = np.bincount(classes, minlength=len(names))
    asked = [n for n, c in zip(names, counts, strict=True) if LEAST_IMAGES <= c < most]
    few = [n for n, c in zip(names, counts, strict=True) if c < LEAST_IMAGES]
    notes = (*ready.notes, *(f"class {name!r} is too small for synthetic faces." for name in few))
    if not asked:
        return replace(ready, notes=notes)
    training = TrainingImages(shown, classes, tuple(names), np.arange(len(shown)))
    generator = train_generator(settings, plan_tasks(settings, training, asked), folder)
    shutil.rmtree(folder, ignore_errors=True)
    added, of_class = [ready.images], [ready.label]
    for name in asked:
        number = names.index(name)
        wanted = most - int(counts[number])
        added.append(np.stack([generator.generate(name, settings.seed + i) for i in range(wanted)]))
        of_class.append(np.full(wanted, number, np.int64))
    return PreparedRows(ready.rows, np.concatenate(added), np.concatenate(of_class), notes)


# --------------------------------------------------------------------- stored predictions


def pack(probabilities: Values) -> Json:
    """Return (n, k) probabilities for the ledger: the predicted classes exactly, and logarithms.

    Logarithms in 65,536 steps, because the ranks of a rare class depend on small probabilities.
    """
    logs = np.log(np.maximum(probabilities, _LEAST)) / np.log(_LEAST)
    steps = np.rint(logs * _STEPS).astype("<u2")
    return {
        "guess": "".join(str(i) for i in probabilities.argmax(axis=1)),
        "steps": base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode(),
    }


def unpack(line: Json, classes: int) -> tuple[Labels, Values]:
    """Return (n,) predicted classes and (n, k) probabilities that `pack` wrote."""
    guess = np.array([int(digit) for digit in line["guess"]], np.int64)
    packed, size = base64.b64decode(line["steps"]), 2 * len(guess) * classes
    try:
        steps = np.frombuffer(zlib.decompressobj().decompress(packed, size), "<u2")
    except zlib.error:
        raise ValueError("its steps are not compressed") from None
    return guess, np.exp(steps / _STEPS * np.log(_LEAST)).reshape(-1, classes)
