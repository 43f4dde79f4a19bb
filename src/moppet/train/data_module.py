"""The data of a training run: a manifest's faces, their targets, splits and random views."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from moppet.datasets.faces import Faces, whole_crop
from moppet.datasets.manifest import Manifest
from moppet.infer.expression_model import Preprocessing
from moppet.train.augmentation import crop_matrices, in_colored_light, random_view_and_flip
from moppet.train.head_targets import DATA, RENDERED, SOURCES, HeadTargets
from moppet.train.movements import COLUMNS, mirror
from moppet.train.recipe import Recipe
from moppet.values import Floats, Image, MoppetError, UsageError
from moppet.vocabulary import former_split

LEAST_VOTES: Final = 3
"""Rows with fewer votes on the classes are not trained on; of two raters both are enough."""
MEAN: Final = 128.0
SCALE: Final = 128.0
PARTS: Final = ("train", "val", "test")


@dataclass(frozen=True)
class TrainingData:
    """A manifest restricted to a recipe's classes and ages, with its faces and split.

    soft: (n, k) float32, proportions of the votes for `names`; zeros without such votes.
    label: (n,) int64 index into names, -1 for none.
    part: (n,) "train", "val", "test", or "" for rows that are not used.
    mixed: (n, k) float32, distillation targets of the training rows in place of their own; None
        without distillation. teachers: SHA-256 of the models that they come from.
    heads: what the rows teach the other heads; None where there is only the observers' reading.
        Rows of other sources than the data have no `label`.
    """

    manifest: Manifest
    faces: Faces
    names: tuple[str, ...]
    soft: Floats
    label: NDArray[np.int64]
    part: NDArray[np.str_]
    mixed: Floats | None = None
    teachers: tuple[str, ...] = ()
    heads: HeadTargets | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Identifies these images, labels and splits.

        64 hexadecimal digits for the columns and labels, 64 for the crops.
        """
        columns = [self.manifest.column(name).tolist() for name in ("path", "array_row", "votes")]
        parts = [former_split(part) for part in self.part.tolist()]  # as in earlier checkpoints
        text = repr([self.names, columns, self.label.tolist(), parts])
        text += repr(self.teachers) if self.teachers else ""
        cuts = hashlib.sha256()
        if self.heads is not None:
            for targets in (self.heads.source, self.heads.display, self.heads.movements):
                cuts.update(targets.tobytes())
        for cut in self.faces.cuts:
            cuts.update(repr(cut.shape).encode())
            cuts.update(cut.tobytes())
        return hashlib.sha256(text.encode()).hexdigest() + cuts.hexdigest()

    def rows(self, part: str, *, labeled: bool = False) -> NDArray[np.intp]:
        """Return the row numbers of a split, only those with a label if `labeled`."""
        return np.flatnonzero((self.part == part) & ((self.label >= 0) | (not labeled)))

    def training_rows(self, recipe: Recipe) -> NDArray[np.intp]:
        """Return the training rows: labeled ones, or those with enough votes."""
        rows = self.rows("train", labeled=recipe.labels == "hard")
        if recipe.labels == "hard":
            return rows
        cast = np.nan_to_num(self.manifest.column("votes"))
        least = min(LEAST_VOTES, cast.sum(axis=1).max(initial=0))
        votes = cast[rows]
        total = votes[:, _columns(self.manifest, self.names)].sum(axis=1)
        # Without votes a label counts as one rater's.
        voted = votes.sum(axis=1) > 0
        return rows[np.where(voted, total >= least, self.label[rows] >= 0)]

    def targets(self, recipe: Recipe) -> Floats:
        """Return (n, k), the targets: proportions of the votes, or the label alone."""
        if recipe.labels == "soft":
            return self.soft
        hard = np.zeros_like(self.soft)
        known = np.flatnonzero(self.label >= 0)
        hard[known, self.label[known]] = 1
        return hard


def select_training_data(manifest: Manifest, faces: Faces, recipe: Recipe) -> TrainingData:
    """Return the part of a manifest that a recipe asks for.

    The manifest's column `split` must hold train, val and test.
    Raises UsageError if the recipe names an unknown class or age band.
    """
    names = recipe.classes or manifest.names
    columns = _columns(manifest, names)
    soft = manifest.soft_labels[:, columns]
    total = soft.sum(axis=1, keepdims=True)
    index = {int(c): i for i, c in enumerate(columns)}
    label = np.array([index.get(int(c), -1) for c in manifest.labels], np.int64)
    split = manifest.column("split")
    part = np.array([x if x in PARTS else "" for x in split], "<U6")
    band = manifest.column("age_band")
    known = {str(b) for b in band if b is not None}
    for wanted in (*recipe.only_ages, *recipe.without_ages, *recipe.oversample_ages):
        if wanted not in known:
            raise UsageError(
                f"no image has the age band {wanted!r}; there are: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    if recipe.only_ages:
        part[~np.isin(band.astype(str), recipe.only_ages)] = ""
    if recipe.without_ages:
        groups = manifest.groups
        out = np.isin(groups, groups[np.isin(band.astype(str), recipe.without_ages)])
        part[out & (part != "test")] = ""
    soft = np.asarray(soft / np.where(total > 0, total, 1), np.float32)
    return TrainingData(manifest, faces, tuple(names), soft, label, part)


def _columns(manifest: Manifest, names: Sequence[str]) -> NDArray[np.int64]:
    missing = [name for name in names if name not in manifest.names]
    if missing:
        raise UsageError(
            f"there is no class {missing[0]!r}; there are: {', '.join(manifest.names)}."
        )
    return np.array([manifest.names.index(name) for name in names], np.int64)


def check_parts(data: TrainingData, recipe: Recipe) -> None:
    """Raise MoppetError if a split has no labeled image, or a class no training image."""
    if len(data.names) < 2:
        raise MoppetError(
            f"training needs two or more classes, but there is only {', '.join(data.names)}."
        )
    for part, purpose in zip(PARTS, ("train on", "validate on", "test on"), strict=True):
        if not len(data.rows(part, labeled=True)):
            raise MoppetError(
                f"there is no labeled image to {purpose}: label some, or split the data set "
                f"so that some rows are {part!r} (see `moppet data split`)."
            )
    targets = data.targets(recipe) if data.mixed is None else data.mixed
    shown = targets[data.training_rows(recipe)].sum(axis=0) > 0
    if not shown.all():
        missing = [name for name, there in zip(data.names, shown, strict=True) if not there]
        raise MoppetError(
            f"there is no image to train on of: {', '.join(missing)}. Add some, or name the "
            "other classes in the recipe's 'classes'."
        )


def evaluation_crops(data: TrainingData, rows: NDArray[np.intp], *, aligned: bool) -> Image:
    """Return the rows' crops as `ExpressionModel.predict` takes them, (n, 112, 112, 3).

    aligned: as in video (whole if no face was found); else the whole crop.
    """
    if aligned:
        return data.faces.aligned([int(i) for i in rows])
    return np.stack([whole_crop(data.faces.cuts[i]) for i in rows])


def network_input(crops: Image, recipe: Recipe, detail_px: int = 0) -> Image:
    """Return RGB crops as (n, channels, size, size) uint8, prepared as in the model card."""
    plain = Preprocessing(recipe.size, recipe.color, 0.0, 1.0, detail_px)
    parts = [plain.apply(crops[i : i + 256]).astype(np.uint8) for i in range(0, len(crops), 256)]
    return np.concatenate(parts)


def normalize(images: Tensor) -> Tensor:
    """Return (n, channels, h, w) uint8 as float32, (value - 128) / 128, channels last."""
    x = (images.float() - MEAN) / SCALE
    return x.contiguous(memory_format=torch.channels_last)


More = dict[str, Tensor]
"""What a row teaches the other heads: `display` (k,), shares or zeros for unknown; `shift` (k,),
added to its display logits; `movements` (COLUMNS,), NaN for unknown; `exact`, whether those are the
truth and not Face Landmarker's answers."""


class RandomViews(Dataset[tuple[Tensor, ...]]):
    """A random view of each training row, its target and its weight, and `More` with other heads.

    A row's view depends on the seed, the epoch, the row and how often the epoch has shown it, so
    that a resumed run sees the same views. Without random views the plain aligned crop is given,
    and whole batches are augmented. Of n rows, index i + n * k is row i for the time k + 1.
    rows: the rows of the data, then of the other sources. counts: how many each source has.
    """

    def __init__(self, data: TrainingData, recipe: Recipe) -> None:
        rows = [data.training_rows(recipe)]
        self.heads = data.heads
        if self.heads is not None:
            rows += [self._rows_of(data, self.heads, recipe, s) for s in range(1, len(SOURCES))]
            self.shifts = self.heads.display_shifts(
                data.part == "train", len(data.names), recipe.display_adjustment
            )
            self.mirrored, self.signs = mirror(COLUMNS)
        self.counts = tuple(map(len, rows))
        self.rows = np.concatenate(rows)
        self.soft = data.targets(recipe) if data.mixed is None else data.mixed
        self.weights = data.manifest.weights
        self.recipe = recipe
        self.epoch = 0
        self.plain: Image | None = None
        if recipe.uses_random_views:
            self.crops = {i: crop_and_matrices(data.faces, i, recipe) for i in self.rows.tolist()}
        else:
            self.plain = network_input(evaluation_crops(data, self.rows, aligned=True), recipe)

    @staticmethod
    def _rows_of(
        data: TrainingData, heads: HeadTargets, recipe: Recipe, source: int
    ) -> NDArray[np.intp]:
        used = recipe.shares[SOURCES[source]] > 0
        return np.flatnonzero(heads.rows(source) & (data.part == "train") & used)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        time, index = divmod(index, len(self.rows))
        row = int(self.rows[index])
        soft, weight = torch.from_numpy(self.soft[row]), torch.tensor(self.weights[row])
        if self.plain is not None:
            return torch.from_numpy(self.plain[index]), soft, weight
        recipe = self.recipe
        again = (time,) if time else ()
        rng = np.random.default_rng((recipe.seed, self.epoch, row, *again))
        crop, matrices = self.crops[row]
        if crop.ndim == 3 and recipe.random_views.color_cast:
            crop = _in_any_light(crop, recipe, rng)
        image, flipped = random_view_and_flip(crop, matrices, recipe.size, recipe.random_views, rng)
        channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        view = torch.from_numpy(np.ascontiguousarray(channels_first))
        if self.heads is None:
            return view, soft, weight
        return view, soft, weight, self._more(self.heads, row, flipped)

    def _more(self, heads: HeadTargets, row: int, flipped: bool) -> More:
        display = np.zeros(self.soft.shape[1], np.float32)
        if heads.display[row] >= 0:
            display[heads.display[row]] = 1
        movements, source = heads.movements[row], int(heads.source[row])
        if flipped:
            movements = movements[self.mirrored] * self.signs
        return {
            "display": torch.from_numpy(display),
            "shift": torch.from_numpy(self.shifts[source]),
            "movements": torch.from_numpy(movements),
            "exact": torch.tensor(source == RENDERED),
        }


def _in_any_light(crop: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    """Return an RGB crop in the recipe's colors, at its chance in light of another color."""
    gray = recipe.channels == 1
    if rng.random() < recipe.random_views.color_cast:
        return in_colored_light(crop, rng, gray=gray)
    return as_color(crop, gray)


def as_color(cut: Image, gray: bool) -> Image:
    """Return a gray or RGB image as (h, w) gray, or as (h, w, 3)."""
    if gray:
        return cut if cut.ndim == 2 else np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), np.uint8)
    return cut if cut.ndim == 3 else np.repeat(cut[:, :, None], 3, axis=2)


def crop_and_matrices(faces: Faces, row: int, recipe: Recipe) -> tuple[Image, NDArray[np.float64]]:
    """Return a face's crop in the recipe's colors, and its `crop_matrices`.

    Color images stay so where random views change the color of the light.
    """
    crop = faces.cuts[row]
    if crop.ndim == 2 or not recipe.random_views.color_cast:  # else each view has its own light
        crop = as_color(crop, recipe.channels == 1)
    landmarks, tight = faces.landmarks_px[row], bool(faces.tight[row])
    return crop, crop_matrices(crop.shape[0], landmarks, recipe.size, tight=tight)


class EpochSampler(Sampler[int]):
    """Draws an epoch's rows in an order that depends only on the seed and the epoch.

    times: (n,) number of views of each row in an epoch; None for one each.
    chances: (n,) sampling probabilities, to draw with replacement; None for a permutation.
    Indices are those of RandomViews: a repeated row comes in another view.
    """

    def __init__(
        self,
        views: RandomViews,
        *,
        times: NDArray[np.int64] | None = None,
        chances: NDArray[np.float64] | None = None,
    ) -> None:
        n = views.counts[0]
        self.views = views
        self.times = np.ones(n, np.int64) if times is None else times
        self.chances = None if chances is None else chances * self.times

    def __len__(self) -> int:
        return int(self.times.sum())

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.views.recipe.seed, self.views.epoch))
        rows = np.repeat(np.arange(len(self.times)), self.times)
        if self.chances is None:
            rows = rng.permutation(rows)
        else:
            rows = rng.choice(len(self.times), len(rows), p=self.chances / self.chances.sum())
        yield from (rows + len(self.views) * earlier(rows)).tolist()


class SourceSampler(Sampler[int]):
    """Mixes the recipe's share of each source into every batch of the data's rows.

    own: draws the data's rows; an epoch shows them as often as without other sources. batch: its
    size. The other sources' rows come in random order, all of them before one comes again.
    """

    def __init__(self, own: EpochSampler, recipe: Recipe, batch: int) -> None:
        self.own, self.views = own, own.views
        shares = [recipe.shares[name] for name in SOURCES[1:]]
        batch = min(batch, int(len(own) / (1 - sum(shares))))  # of little data, all in one batch
        rest = [round(batch * share) for share in shares]
        self.per_batch = (max(1, batch - sum(rest)), *rest)

    def __len__(self) -> int:
        return len(self.own) // self.per_batch[DATA] * sum(self.per_batch)

    def __iter__(self) -> Iterator[int]:
        batches = len(self.own) // self.per_batch[DATA]
        drawn = [iter(self.own), *map(self._draw, range(1, len(SOURCES)))]
        for _ in range(batches):
            for source, count in zip(drawn, self.per_batch, strict=True):
                yield from itertools.islice(source, count)

    def _draw(self, source: int) -> Iterator[int]:
        """Yield indices of a source's rows without end; again and again in other views."""
        views = self.views
        first, n = sum(views.counts[:source]), views.counts[source]
        rng = np.random.default_rng((views.recipe.seed, views.epoch, source))
        for time in itertools.count():
            yield from (first + rng.permutation(n) + len(views) * time).tolist()


def earlier(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) how often each number occurs before its place."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.searchsorted(ordered, ordered)
    found = np.empty(len(rows), np.int64)
    found[order] = np.arange(len(rows)) - first
    return found
