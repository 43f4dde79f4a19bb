"""The real training faces that generators are trained on or start from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import real_rows
from moppet.synthesis.sampling_plan import ImageRequest
from moppet.synthesis.settings import SynthesisSettings, seed_of
from moppet.values import Image, MoppetError, UsageError, name_hint

LEAST_IMAGES: Final = 2
"""A generator cannot be trained on fewer images of a class."""
FEW_IMAGES: Final = 20
"""With fewer images of a class, the generated images are near copies of them."""
LEAST_PX: Final = 8


@dataclass(frozen=True)
class TrainingImages:
    """n faces to train on.

    images: (n, size, size) gray or (n, size, size, 3) RGB, uint8.
    label: (n,) int64 index into names. rows: (n,) their rows in the manifest.
    """

    images: Image
    label: NDArray[np.int64]
    names: tuple[str, ...]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """Distinguishes these images and labels from any others."""
        digest = hashlib.sha256(repr([self.names, self.label.tolist()]).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class."""
        return {name: int((self.label == i).sum()) for i, name in enumerate(self.names)}

    def only(self, names: Sequence[str]) -> TrainingImages:
        """Return the images of these classes, numbered in this order."""
        old = [self.names.index(name) for name in names]
        kept = np.isin(self.label, old)
        label = np.array([old.index(int(i)) for i in self.label[kept]], np.int64)
        return replace(
            self,
            images=self.images[kept],
            label=label,
            names=tuple(names),
            rows=self.rows[kept],
        )


def training_rows(manifest: Manifest, settings: SynthesisSettings) -> NDArray[np.intp]:
    """Return the rows to train on: real, labeled, in the split "train", selected by the settings.

    Raises UsageError if the settings name an unknown class or age band, MoppetError if no row is
    left.
    """
    for name in settings.classes:
        if name not in manifest.names:
            hint = name_hint(name, manifest.names)
            raise UsageError(f"the data has no class {name!r}.{hint}")
    bands = manifest.column("age_band")
    known = {str(band) for band in bands if band is not None}
    for band in settings.only_ages:
        if band not in known:
            hint = name_hint(band, sorted(known))
            raise UsageError(f"no image has the age band {band!r}.{hint}")
    selected = (manifest.column("split") == "train") & (manifest.labels >= 0)
    if not settings.learn_from_synthetic:
        selected &= real_rows(manifest)
    if settings.classes:
        selected &= np.isin(manifest.column("label").astype(str), settings.classes)
    if settings.only_ages:
        selected &= np.isin(bands.astype(str), settings.only_ages)
    rows = np.flatnonzero(selected)
    if not len(rows):
        raise MoppetError(
            "there is no image to train on: no real, labeled image in the split 'train' has the "
            "requested classes and age bands."
        )
    return rows


def class_counts(manifest: Manifest, settings: SynthesisSettings) -> dict[str, int]:
    """Return how many images there are to learn from, by class; see `training_rows`."""
    labels = manifest.labels[training_rows(manifest, settings)]
    counts = {name: int((labels == i).sum()) for i, name in enumerate(manifest.names)}
    return {name: counts[name] for name in settings.classes or manifest.names}


def blank_images(counts: Mapping[str, int], settings: SynthesisSettings) -> TrainingImages:
    """Return black images in these numbers, to measure what training on as many faces costs."""
    names = tuple(name for name, count in counts.items() if count)
    label = np.repeat(np.arange(len(names)), [counts[name] for name in names])
    shape = (len(label), settings.size, settings.size) + (3,) * (settings.color == "rgb")
    return TrainingImages(np.zeros(shape, np.uint8), label, names, np.arange(len(label)))


def cut_images(
    manifest: Manifest, rows: NDArray[np.intp], faces: Faces, settings: SynthesisSettings
) -> TrainingImages:
    """Return the faces of these rows in the size and color of the settings.

    faces: of these rows, in this order.
    Raises MoppetError for an image of a few pixels, and if no face was found in any image.
    """
    if len(faces) != len(rows):
        raise ValueError(f"faces must match the {len(rows)} rows, got {len(faces)}.")
    kept = np.flatnonzero(faces.found) if settings.only_found else np.arange(len(rows))
    small = [int(i) for i in kept if min(faces.cuts[i].shape[:2]) < LEAST_PX]
    if small:
        height, width = faces.cuts[small[0]].shape[:2]
        name = manifest.column("path")[rows[small[0]]]
        more = f" (and {len(small) - 1} more)" if len(small) > 1 else ""
        raise MoppetError(
            f"the image {name}{more} is too small: it has {width} × {height} pixels, and training "
            f"needs at least {LEAST_PX} × {LEAST_PX}. Remove it from the data."
        )
    if not len(kept):
        raise MoppetError(
            f"no face was found in any of the {len(rows)} images. Set only_found = false to use "
            "the whole images."
        )
    crops = faces.aligned([int(i) for i in kept], settings.size)
    if settings.color == "gray":
        crops = np.stack([np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), np.uint8) for c in crops])
    labels = manifest.labels[rows[kept]]
    names = tuple(name for i, name in enumerate(manifest.names) if (labels == i).any())
    index = {manifest.names.index(name): i for i, name in enumerate(names)}
    label = np.array([index[int(i)] for i in labels], np.int64)
    return TrainingImages(crops, label, names, rows[kept])


def check_classes(images: TrainingImages, names: Sequence[str]) -> None:
    """Raise MoppetError if one of these classes has too few images to train on."""
    counts = images.counts()
    for name in names:
        if (count := counts.get(name, 0)) < LEAST_IMAGES:
            found = "no image" if not count else "only one image"
            raise MoppetError(
                f"class {name!r} has {found} to train on in the split 'train', but at least "
                f"{LEAST_IMAGES} are needed. Add images, or leave out this class."
            )


def safe_name(label: str) -> str:
    """Return a class's name as a valid file name; different names stay different."""
    word = re.sub(r"[^\w-]+", "_", label)
    if word == label and len(word) <= 40:
        return word
    return f"{word[:40]}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


_CHILDREN: Final = ("infant", "child")


@dataclass(frozen=True)
class StartingFace:
    """A training face. image: (size, size, 3) RGB uint8. sha256: its image's content hash."""

    image: Image
    sha256: str
    age_band: str | None


class StartingFaces:
    """The real training faces of a manifest, from which each request draws with its own seed."""

    def __init__(self, manifest: Manifest, settings: SynthesisSettings) -> None:
        self.manifest, self.settings = manifest, settings
        self.rows = training_rows(manifest, settings)
        self.labels = manifest.column("label")
        self.bands = manifest.column("age_band")
        self._faceless: set[int] = set()

    def fingerprint(self) -> str:
        """Distinguishes the training images from any others, regardless of their order."""
        found = sorted(content_hash(self.manifest.image(int(row))) for row in self.rows)
        return hashlib.sha256("\n".join(found).encode()).hexdigest()

    def check(self, requests: Iterable[ImageRequest]) -> None:
        """Raise MoppetError unless every kind of request has a face to start from."""
        kinds = {(r.label, r.occlusion == "pacifier"): r for r in reversed(list(requests))}
        for request in kinds.values():
            self.draw(request)

    def draw(self, request: ImageRequest, attempt: int = 0) -> StartingFace:
        """Return a face for a request, a different one for each attempt.

        It has the requested class, or another one if inpainting changes the expression. Only
        infants, children and people of unknown age get a pacifier.
        Images without a face are skipped, unless the settings keep them (`only_found`).
        Raises MoppetError if there is no such face.
        """
        rows = self.candidates(request)
        if not len(rows):
            pacifier = " with a pacifier" if request.occlusion == "pacifier" else ""
            raise MoppetError(
                f"there is no training face to start from for {request.label!r}{pacifier} among "
                "the selected classes and ages."
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
            f"no face was found in any of the {count:,} training images to start from for "
            f"{request.label!r}. Check them with `moppet data audit --faces`, or use the whole "
            "images with only_found=false."
        )

    def candidates(self, request: ImageRequest) -> NDArray[np.intp]:
        """Return the manifest's rows that a request can start from."""
        s = self.settings
        own = self.labels[self.rows] == request.label
        rows = self.rows[~own if s.method == "inpaint" and s.change == "expression" else own]
        if request.occlusion == "pacifier":
            rows = rows[[band in (*_CHILDREN, None) for band in self.bands[rows]]]
        return np.asarray(rows, np.intp)

    def read(self, row: int) -> StartingFace | None:
        """Return a row's face with a margin, in the size of the images to generate.

        None if no face is found and the settings leave such images out.
        """
        photo = self.manifest.image(row)
        faces = find_manifest_faces(self.manifest.select([row]))
        if self.settings.only_found and not faces.found[0]:
            return None
        cut = faces.cuts[0]
        color = np.repeat(cut[:, :, None], 3, axis=2) if cut.ndim == 2 else cut
        side = self.settings.size
        flags = cv2.INTER_AREA if color.shape[0] > side else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(color, (side, side), interpolation=flags), np.uint8)
        return StartingFace(image, content_hash(photo), self.bands[row])
