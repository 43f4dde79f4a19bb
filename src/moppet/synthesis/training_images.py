"""The real training faces that generators learn from or start with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import real_rows
from moppet.synthesis.sampling_plan import Request
from moppet.synthesis.settings import Settings, seed_of
from moppet.values import Image, MoppetError, UsageError

LEAST_IMAGES: Final = 2
"""A class with fewer cannot be learned."""
FEW_IMAGES: Final = 20
"""A class with fewer is made as near copies of what was there."""
LEAST_PX: Final = 8


@dataclass(frozen=True)
class TrainingImages:
    """n faces to learn from.

    images: (n, size, size) gray or (n, size, size, 3) RGB, uint8.
    label: (n,) int64 index into names. rows: (n,) their rows in the manifest.
    """

    pictures: Image
    label: NDArray[np.int64]
    names: tuple[str, ...]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def fingerprint(self) -> str:
        """Tells these images and labels from any others."""
        digest = hashlib.sha256(repr([self.names, self.label.tolist()]).encode())
        digest.update(np.ascontiguousarray(self.pictures).tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Return how many there are of each class."""
        return {name: int((self.label == i).sum()) for i, name in enumerate(self.names)}

    def only(self, names: Sequence[str]) -> TrainingImages:
        """Return the images of these classes, numbered in this order."""
        old = [self.names.index(name) for name in names]
        kept = np.isin(self.label, old)
        label = np.array([old.index(int(i)) for i in self.label[kept]], np.int64)
        return replace(
            self,
            pictures=self.pictures[kept],
            label=label,
            names=tuple(names),
            rows=self.rows[kept],
        )


def training_rows(manifest: Manifest, settings: Settings) -> NDArray[np.intp]:
    """Return the rows to learn from: real, labeled, of split "train", of the settings' choice.

    Raises UsageError where the settings name a class or an age band that is not there,
    MoppetError where no row is left.
    """
    for name in settings.classes:
        if name not in manifest.names:
            raise UsageError(
                f"there is no class {name!r}; there are: {', '.join(manifest.names) or 'none'}."
            )
    bands = manifest.column("age_band")
    known = {str(band) for band in bands if band is not None}
    for band in settings.only_ages:
        if band not in known:
            raise UsageError(
                f"no image has the age band {band!r}; there are: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    chosen = (manifest.column("split") == "train") & (manifest.labels >= 0)
    if not settings.learn_from_made:
        chosen &= real_rows(manifest)
    if settings.classes:
        chosen &= np.isin(manifest.column("label").astype(str), settings.classes)
    if settings.only_ages:
        chosen &= np.isin(bands.astype(str), settings.only_ages)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise MoppetError(
            "there is nothing to learn from: no real, labeled image of the split 'train' is of "
            "the classes and age bands that were asked for."
        )
    return rows


def cut_images(
    manifest: Manifest, rows: NDArray[np.intp], faces: Faces, settings: Settings
) -> TrainingImages:
    """Return the faces of these rows at the settings' size and in their color.

    faces: of these rows alone, in this order.
    Raises MoppetError for an image of a few pixels, and where no face was found in any.
    """
    if len(faces) != len(rows):
        raise ValueError(f"{len(rows)} rows need as many faces, but {len(faces)} came.")
    kept = np.flatnonzero(faces.found) if settings.only_found else np.arange(len(rows))
    small = [int(i) for i in kept if min(faces.cuts[i].shape[:2]) < LEAST_PX]
    if small:
        height, width = faces.cuts[small[0]].shape[:2]
        name = manifest.column("path")[rows[small[0]]]
        more = f" (and {len(small) - 1} more)" if len(small) > 1 else ""
        raise MoppetError(
            f"the image {name}{more} is too small to learn a face from: it needs {LEAST_PX} "
            f"pixels a side and has {width} × {height}; leave it out."
        )
    if not len(kept):
        raise MoppetError(
            f"no face was found in any of the {len(rows)} images. Set only_found = false to "
            "learn from them whole."
        )
    crops = faces.aligned([int(i) for i in kept], settings.size)
    if settings.colour == "grey":
        crops = np.stack([np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), np.uint8) for c in crops])
    labels = manifest.labels[rows[kept]]
    names = tuple(name for i, name in enumerate(manifest.names) if (labels == i).any())
    index = {manifest.names.index(name): i for i, name in enumerate(names)}
    label = np.array([index[int(i)] for i in labels], np.int64)
    return TrainingImages(crops, label, names, rows[kept])


def check_classes(pictures: TrainingImages, asked: Sequence[str]) -> None:
    """Raise MoppetError where a class that was asked for has too few images to learn from."""
    counts = pictures.counts()
    for name in asked:
        if (count := counts.get(name, 0)) < LEAST_IMAGES:
            said = "no image" if not count else "only one image"
            raise MoppetError(
                f"class {name!r} has {said} to learn from in the split 'train', and needs "
                f"{LEAST_IMAGES} at least: add some, or do not ask for this class."
            )


def file_word(label: str) -> str:
    """Return a class's name as a file or a folder may be called; different for different names."""
    word = re.sub(r"[^\w-]+", "_", label)
    if word == label and len(word) <= 40:
        return word
    return f"{word[:40]}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


_CHILDREN: Final = ("infant", "child")


@dataclass(frozen=True)
class Source:
    """A training face. image: (size, size, 3) RGB uint8. sha256: its image's content hash."""

    image: Image
    sha256: str
    age_band: str | None


class Sources:
    """The real training faces of a manifest, drawn from by each request's own seed."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self.manifest, self.settings = manifest, settings
        self.rows = training_rows(manifest, settings)
        self.labels = manifest.column("label")
        self.bands = manifest.column("age_band")
        self._faceless: set[int] = set()

    def fingerprint(self) -> str:
        """Tells the training images from any others, whatever order they came in."""
        found = sorted(content_hash(self.manifest.image(int(row))) for row in self.rows)
        return hashlib.sha256("\n".join(found).encode()).hexdigest()

    def check(self, requests: Iterable[Request]) -> None:
        """Raise MoppetError unless every kind of request has a face to begin with."""
        kinds = {(r.label, r.occlusion == "dummy"): r for r in reversed(list(requests))}
        for request in kinds.values():
            self.draw(request)

    def draw(self, request: Request, attempt: int = 0) -> Source:
        """Return a face for a request; another for another attempt.

        It has the class that is asked for, or any other where in-painting changes the expression;
        a dummy goes to an infant or a child, as far as ages are known.
        Images without a face are passed over, unless the settings keep them (`only_found`).
        Raises MoppetError where there is none.
        """
        rows = self.candidates(request)
        if not len(rows):
            raise MoppetError(
                f"no training face can become {request.label!r}"
                f"{' with a dummy' if request.occlusion == 'dummy' else ''}: none is left of "
                "the classes and ages that were asked for."
            )
        rng = np.random.default_rng(seed_of(request.seed, "source", attempt))
        count = len(rows)
        while len(rows):
            row = int(rng.choice(rows))
            if row not in self._faceless:
                source = self.read(row)
                if source is not None:
                    return source
                self._faceless.add(row)
            rows = rows[rows != row]
        raise MoppetError(
            f"no face was found in any of the {count:,} training images that could become "
            f"{request.label!r}: look at them with `moppet data audit --faces`, or take the whole "
            "pictures with only_found=false."
        )

    def candidates(self, request: Request) -> NDArray[np.intp]:
        """Return the manifest's rows that a request may begin with."""
        s = self.settings
        own = self.labels[self.rows] == request.label
        rows = self.rows[~own if s.method == "inpaint" and s.change == "expression" else own]
        if request.occlusion == "dummy":
            rows = rows[[band in (*_CHILDREN, None) for band in self.bands[rows]]]
        return np.asarray(rows, np.intp)

    def read(self, row: int) -> Source | None:
        """Return a row's face with room around it, as large as the images to make.

        None where no face is found and the settings leave such images out.
        """
        photo = self.manifest.image(row)
        faces = find_manifest_faces(self.manifest.select([row]))
        if self.settings.only_found and not faces.found[0]:
            return None
        cut = faces.cuts[0]
        colour = np.repeat(cut[:, :, None], 3, axis=2) if cut.ndim == 2 else cut
        side = self.settings.size
        flags = cv2.INTER_AREA if colour.shape[0] > side else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(colour, (side, side), interpolation=flags), np.uint8)
        return Source(image, content_hash(photo), self.bands[row])
