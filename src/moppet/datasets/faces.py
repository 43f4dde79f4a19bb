"""Finds and crops the face of each labeled image in the same way as in video, with a cache."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest
from moppet.files import read_arrays, replacing
from moppet.infer.alignment import (
    CROP_PX,
    TEMPLATE_PX,
    align_face,
    average_down,
    similarity,
    warped,
)
from moppet.infer.detectors import Detector, detect_any_way_up, load_detector
from moppet.infer.detectors.mtcnn import THRESHOLDS, Mtcnn
from moppet.infer.tracking import overlap
from moppet.values import CountProgress, Face, FaceError, Floats, Image, MoppetError, no_progress

_BATCH: Final = 256


class _Attempt(NamedTuple):
    """Settings of a detection: a margin around the crop (in its side), and MTCNN's thresholds.

    MTCNN was not trained on faces that fill the image, so crops need a margin.
    """

    margin: float
    border: int
    thresholds: tuple[float, float, float]


_LOOSE: Final = (0.4, 0.4, 0.5)
ATTEMPTS: Final = (
    _Attempt(0.5, cv2.BORDER_CONSTANT, THRESHOLDS),
    _Attempt(0.25, cv2.BORDER_REFLECT_101, THRESHOLDS),
    _Attempt(0.5, cv2.BORDER_CONSTANT, _LOOSE),
    _Attempt(0.25, cv2.BORDER_REFLECT_101, _LOOSE),
    _Attempt(1.0, cv2.BORDER_CONSTANT, _LOOSE),
    _Attempt(1.5, cv2.BORDER_CONSTANT, _LOOSE),
)
"""Tried in turn. Loose thresholds are safe here because each crop is known to show a face."""

_SIDE: Final = 96


def find_crop_landmarks(crops: Sequence[Image]) -> tuple[Floats, NDArray[np.int8]]:
    """Return each crop's five landmarks and the index of the successful attempt.

    crops: n square face crops, (side, side) gray or (side, side, 3) RGB, uint8.
    Returns (n, 5, 2) float32 in pixels of the crop, NaN if not found, and (n,) int8, the index
    into ATTEMPTS or -1. Of several faces the largest is used.
    """
    landmarks = np.full((len(crops), 5, 2), np.nan, np.float32)
    attempt_used = np.full(len(crops), -1, np.int8)
    for number, attempt in enumerate(ATTEMPTS):
        detector = Mtcnn(min_face_px=_SIDE * 0.4, thresholds=attempt.thresholds)
        missing = np.flatnonzero(attempt_used < 0)
        for start in range(0, len(missing), _BATCH):
            rows = missing[start : start + _BATCH]
            for row, faces in zip(
                rows, detector.detect([_frame(crops[i], attempt) for i in rows]), strict=True
            ):
                if faces:
                    face = max(faces, key=lambda f: float(f.box_px[2:].prod()))
                    scale = crops[row].shape[0] / _SIDE
                    landmarks[row] = (face.landmarks_px - attempt.margin * _SIDE) * scale
                    attempt_used[row] = number
    return landmarks, attempt_used


def whole_crop(crop: Image, size: int = CROP_PX) -> Image:
    """Return the crop without alignment, RGB, at the size of aligned crops."""
    shrink = crop.shape[0] > size
    flags = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return _rgb(np.asarray(cv2.resize(crop, (size, size), interpolation=flags), np.uint8))


def aligned_crop(crop: Image, landmarks_px: Floats, size: int = CROP_PX) -> Image:
    """Return the crop aligned as in video, or unaligned if the landmarks are NaN."""
    if np.isnan(landmarks_px).any():
        return whole_crop(crop, size)
    return align_face(_rgb(crop), landmarks_px, size)


def _rgb(crop: Image) -> Image:
    return np.repeat(crop[:, :, None], 3, axis=2) if crop.ndim == 2 else crop


def _frame(crop: Image, attempt: _Attempt) -> Image:
    flags = cv2.INTER_AREA if crop.shape[0] > _SIDE else cv2.INTER_CUBIC
    image = cv2.resize(_rgb(crop), (_SIDE, _SIDE), interpolation=flags)
    margin = round(attempt.margin * _SIDE)
    gray = (128, 128, 128)
    return np.asarray(
        cv2.copyMakeBorder(image, margin, margin, margin, margin, attempt.border, value=gray),
        np.uint8,
    )


class Positions(NamedTuple):
    """The face positions of n images; landmarks are in pixels of the image. See `Faces`."""

    landmarks_px: Floats
    tight: NDArray[np.bool_]
    attempt: NDArray[np.int8]
    several: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> Positions:
        """Return the positions of n images without a face."""
        landmarks = np.full((n, 5, 2), np.nan, np.float32)
        return cls(landmarks, np.zeros(n, bool), np.full(n, -1, np.int8), np.zeros(n, np.int64))

    def take(self, rows: list[int] | NDArray[np.intp]) -> Positions:
        """Return the positions of these rows."""
        columns: Sequence[NDArray[Any]] = self
        return Positions._make(column[rows] for column in columns)

    def put(self, rows: NDArray[np.int64], found: Positions) -> None:
        """Replace the positions of these rows."""
        columns: Sequence[NDArray[Any]] = self
        for column, values in zip(columns, found, strict=True):
            column[rows] = values


def _key(image: Image, box_px: Floats) -> str:
    """Return the cache key of an image, from its pixels and box."""
    return hashlib.sha256(content_hash(image).encode() + box_px.tobytes()).hexdigest()


class _Cache(NamedTuple):
    """The contents of a cache: key → row of `positions`."""

    rows: dict[str, int]
    positions: Positions


def _read_cache(cache: Path | None) -> _Cache:
    """Return the contents of a cache; empty if it does not exist or is damaged."""
    if cache is not None and cache.is_file():
        with contextlib.suppress(MoppetError):  # a damaged cache is rebuilt
            arrays = read_arrays(cache, ("keys", *Positions._fields))
            rows = {str(key): row for row, key in enumerate(arrays.pop("keys"))}
            return _Cache(rows, Positions(**arrays))
    return _Cache({}, Positions.empty(0))


def _write_cache(cache: Path, keys: NDArray[np.str_], positions: Positions, known: _Cache) -> None:
    """Write these images' positions and the cache's entries of other images, replacing the file."""
    here = set(keys.tolist())
    others = {key: row for key, row in known.rows.items() if key not in here}
    rest = known.positions.take(list(others.values()))
    pairs: Any = zip(positions, rest, strict=True)
    both = Positions._make(np.concatenate(pair) for pair in pairs)
    with replacing(cache) as part:
        np.savez_compressed(part, keys=np.array([*keys, *others], "U64"), **both._asdict())


LANDMARK_COLUMNS: Final = tuple(
    f"{point}_{axis}"
    for point in ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left")
    for axis in "xy"
)
"""Columns of a manifest whose faces are found already: landmarks in pixels of the image.

Left and right are the person's own; the order is that of `Face.landmarks_px`."""
ROOM: Final = 1.5
"""Side of a cut in sides of the aligned crop: room for random rotations and shifts."""
CUT_PX: Final = round(ROOM * CROP_PX)
TIGHT_PX: Final = 128
"""An image up to this size that is nearly square counts as a face crop."""
_NEARLY_SQUARE: Final = 1.35
_IMAGES_AT_ONCE: Final = 512
_BATCH_BYTES: Final = 100_000_000
"""Size of a batch of images: three phone photos, or 512 small crops."""


@dataclass(frozen=True)
class Faces:
    """n faces cut out of their images.

    cuts: n squares, (side, side) gray or (side, side, 3) RGB uint8, side at most CUT_PX if the
        face was found in a larger image.
    landmarks_px: (n, 5, 2) float32 in pixels of the cut; NaN if no face was found. The cut is then
        the whole image, made square by repeating its edge.
    tight: (n,) bool, the cut is the dataset's own crop; otherwise it has ROOM around the face.
    attempt: (n,) int8, 0 if the default detection found the face, higher for a looser attempt
        (see ATTEMPTS), -1 if none did.
    several: (n,) int, number of faces in the image; the largest is used, or the one that best
        matches the manifest's box.
    """

    cuts: list[Image]
    landmarks_px: Floats
    tight: NDArray[np.bool_]
    attempt: NDArray[np.int8]
    several: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,) whether a face was found."""
        return ~np.isnan(self.landmarks_px[:, 0, 0])

    def __len__(self) -> int:
        return len(self.cuts)

    def aligned(self, rows: Sequence[int] | None = None, size: int = CROP_PX) -> Image:
        """Return the rows' crops, aligned as in video, (m, size, size, 3) RGB uint8.

        If no face was found, the crop is the whole image.
        """
        numbers = range(len(self.cuts)) if rows is None else rows
        crops = [aligned_crop(self.cuts[i], self.landmarks_px[i], size) for i in numbers]
        return np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)

    def select(self, rows: NDArray[np.intp]) -> Faces:
        """Return the faces of these rows."""
        whole = Positions(self.landmarks_px, self.tight, self.attempt, self.several)
        return Faces([self.cuts[i] for i in rows], *whole.take(rows))


def find_manifest_faces(
    manifest: Manifest,
    *,
    cache: Path | None = None,
    detector: str | Detector = "mtcnn",
    progress: CountProgress = no_progress,
    unreadable: list[int] | None = None,
) -> Faces:
    """Return the face of each image.

    Images that are already face crops are searched with a margin around them; others are searched
    like video frames, including rotated views, and then like crops. Where the manifest has
    LANDMARK_COLUMNS, their faces are found already.
    cache: an .npz file with the face positions (no images); images in it are not searched again.
        If the search is stopped, the cache has the faces found so far.
    progress: called with the number of images done and their total.
    unreadable: list that receives the rows with an unreadable image; they are left out.
    Raises MoppetError for an unreadable image if `unreadable` is None.
    """
    if not len(manifest):
        raise MoppetError("there are no images to search for faces.")
    if isinstance(detector, str):
        detector = load_detector(detector)
    if set(LANDMARK_COLUMNS) <= set(manifest.table.column_names):
        return _given_faces(manifest, progress, unreadable)
    boxes = _boxes(manifest)
    known = _read_cache(cache)
    keys = np.empty(len(manifest), "U64")
    positions = Positions.empty(len(manifest))
    cuts: list[Image] = [np.empty(0, np.uint8)] * len(manifest)
    landmarks = np.empty((len(manifest), 5, 2), np.float32)
    done, searched = np.zeros(len(manifest), bool), 0
    try:
        for numbers, images in _in_batches(manifest, unreadable):
            keys[numbers] = [_key(*of) for of in zip(images, boxes[numbers], strict=True)]
            new = np.array([keys[i] not in known.rows for i in numbers], bool)
            old = numbers[~new]
            positions.put(old, known.positions.take([known.rows[keys[i]] for i in old]))
            if new.any():
                wanted = list(itertools.compress(images, new))
                positions.put(numbers[new], _find(wanted, boxes[numbers[new]], detector))
            for i, image in zip(numbers, images, strict=True):
                cuts[i], landmarks[i] = _cut(
                    image, positions.landmarks_px[i], bool(positions.tight[i])
                )
            done[numbers], searched = True, searched + int(new.sum())
            progress(int(done.sum()) + len(unreadable or ()), len(manifest))
    finally:  # also if the search is stopped
        if cache is not None and searched:
            rows = np.flatnonzero(done)
            _write_cache(cache, keys[rows], positions.take(rows), known)
    faces = Faces(cuts, landmarks, positions.tight, positions.attempt, positions.several)
    return faces if done.all() else faces.select(np.flatnonzero(done))


def _given_faces(
    manifest: Manifest, progress: CountProgress, unreadable: list[int] | None
) -> Faces:
    """Return faces whose landmarks the manifest gives, in its own cuts with room around them."""
    given = np.stack([manifest.column(name) for name in LANDMARK_COLUMNS], axis=1)
    landmarks = given.reshape(-1, 5, 2).astype(np.float32)
    positions = Positions.empty(len(manifest))
    cuts: list[Image] = [np.empty(0, np.uint8)] * len(manifest)
    rows: list[int] = []
    for numbers, images in _in_batches(manifest, unreadable):
        for i, image in zip(numbers.tolist(), images, strict=True):
            cuts[i], positions.landmarks_px[i] = _cut(image, landmarks[i], tight=True)
        rows += numbers.tolist()
        progress(len(rows) + len(unreadable or ()), len(manifest))
    found = ~np.isnan(positions.landmarks_px[:, 0, 0])
    positions.attempt[found], positions.several[found] = 0, 1
    return Faces(cuts, *positions).select(np.array(sorted(rows), np.intp))


def _in_batches(
    manifest: Manifest, unreadable: list[int] | None
) -> Iterator[tuple[NDArray[np.int64], list[Image]]]:
    """Yield batches of rows with their images, limited by _IMAGES_AT_ONCE and _BATCH_BYTES."""
    rows: list[int] = []
    images: list[Image] = []
    held = 0
    for row, image in manifest.images():
        if image is None:
            if unreadable is None:
                path = manifest.root / str(manifest.column("path")[row])
                raise MoppetError(
                    f"{path} cannot be read as an image. `moppet data audit` lists all of these."
                )
            unreadable.append(row)
            continue
        rows.append(row)
        images.append(image)
        held += image.nbytes
        if len(rows) == _IMAGES_AT_ONCE or held >= _BATCH_BYTES:
            yield np.array(rows, np.int64), images
            rows, images, held = [], [], 0
    if rows:
        yield np.array(rows, np.int64), images


def _find(images: list[Image], boxes: Floats, detector: Detector) -> Positions:
    positions = Positions.empty(len(images))
    landmarks, tight, attempt, several = positions
    tight[:] = [_is_crop(image) for image in images]
    for i in np.flatnonzero(~tight):
        faces = detect_any_way_up(detector, _rgb(images[i]))
        several[i] = len(faces)
        if faces:
            landmarks[i], attempt[i] = _chosen(faces, boxes[i]).landmarks_px, 0
    left = np.flatnonzero(attempt < 0)
    if len(left):
        squares = [_square(images[i]) for i in left]
        inside, attempt[left] = find_crop_landmarks([square for square, _, _ in squares])
        for i, marks, (_, scale, shift) in zip(left, inside, squares, strict=True):
            landmarks[i] = (marks - shift) / scale
        several[left], tight[left] = attempt[left] >= 0, True
    return positions


def _cut(image: Image, landmarks_px: Floats, tight: bool) -> tuple[Image, Floats]:
    if not tight:
        try:
            return cut_face(image, landmarks_px)
        except FaceError:
            landmarks_px = np.full((5, 2), np.nan, np.float32)
    square, scale, shift = _square(image)
    return square, (landmarks_px * scale + shift).astype(np.float32)


def cut_face(image: Image, landmarks_px: Floats) -> tuple[Image, Floats]:
    """Return an upright square around the face with a margin (ROOM), and the landmarks in it.

    image: (h, w[, 3]) uint8. Edge pixels are repeated outside of the image; larger faces are
    averaged down to CUT_PX.
    """
    to_crop = similarity(landmarks_px, TEMPLATE_PX)
    inverse = cv2.invertAffineTransform(to_crop)
    middle = inverse @ np.array([(CROP_PX - 1) / 2, (CROP_PX - 1) / 2, 1])
    side = CROP_PX * ROOM * float(np.hypot(inverse[0, 0], inverse[1, 0]))
    size = min(CUT_PX, max(8, round(side)))
    scale = size / side
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = (size - 1) / 2 - scale * middle
    source, shrunk = average_down(image, matrix, int(1 / scale), size)
    landmarks = landmarks_px @ matrix[:, :2].T + matrix[:, 2]
    return warped(source, shrunk, size), landmarks.astype(np.float32)


def _chosen(faces: list[Face], box_px: Floats) -> Face:
    if np.isnan(box_px).any():
        return max(faces, key=lambda face: float(face.box_px[2:].prod()))
    return max(faces, key=lambda face: overlap(face.box_px, box_px))


def _boxes(manifest: Manifest) -> Floats:
    names = ("box_x", "box_y", "box_w", "box_h")
    return np.stack([manifest.column(name) for name in names], axis=1).astype(np.float32)


def _is_crop(image: Image) -> bool:
    height, width = image.shape[:2]
    longest = max(height, width)
    return bool(longest <= TIGHT_PX and longest <= _NEARLY_SQUARE * min(height, width))


def _square(image: Image) -> tuple[Image, float, Floats]:
    """Return the whole image as a square of at most CUT_PX, by repeating its edge.

    Also returns the scale and the shift (2,) that map points of the image to the square.
    """
    height, width = image.shape[:2]
    scale = min(1.0, CUT_PX / max(height, width))
    if scale < 1:
        new = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(
        image, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
    )
    # A pixel center p of the image is at (p + 1/2) * scale - 1/2 of the resized one.
    shift = np.array([left, top], np.float32) + np.float32((scale - 1) / 2)
    return np.asarray(square, np.uint8), scale, shift
