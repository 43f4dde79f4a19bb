"""The face of each labelled picture, found and cut as video finds and cuts it."""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.data.crops import aligned_crop, find_crop_landmarks
from moppet.data.likeness import content_hash
from moppet.data.manifest import Manifest
from moppet.infer.align import CROP_PX, TEMPLATE_PX, average_down, similarity
from moppet.infer.detect import Detector, detect_any_way_up, load_detector
from moppet.values import Face, FaceError, Floats, Image, MoppetError

Progress = Callable[[int, int], None]

ROOM: Final = 1.5
"""Side of a cut in sides of the aligned crop: room for random views to turn and shift in."""
CUT_PX: Final = round(ROOM * CROP_PX)
TIGHT_PX: Final = 128
"""A picture no larger than this and nearly square is taken for a face crop."""
_NEARLY_SQUARE: Final = 1.35
_BATCH: Final = 512


@dataclass(frozen=True)
class Faces:
    """n faces cut out of their pictures.

    cuts: n squares, (side, side) grey or (side, side, 3) RGB uint8, side at most CUT_PX where
        the face was found in a larger picture.
    landmarks_px: (n, 5, 2) float32 in pixels of the cut; NaN where no face was found and the
        whole picture, its edge repeated to make it square, is the cut.
    tight: (n,) bool, the cut is the data set's own crop; else it has ROOM around the face.
    attempt: (n,) int8, 0 where the default search found the face, higher numbers where a looser
        one did (see `data.crops.ATTEMPTS`), -1 where none did.
    several: (n,) int, how many faces the picture shows; the largest is taken, or the one that
        best covers the manifest's box.
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
        """Return the rows' crops as video would cut them, (m, size, size, 3) RGB uint8.

        Where no face was found the whole picture stands for it.
        """
        numbers = range(len(self.cuts)) if rows is None else rows
        crops = [aligned_crop(self.cuts[i], self.landmarks_px[i], size) for i in numbers]
        return np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)

    def select(self, rows: NDArray[np.intp]) -> Faces:
        """Return the faces of these rows."""
        cuts = [self.cuts[i] for i in rows]
        return Faces(
            cuts,
            self.landmarks_px[rows],
            self.tight[rows],
            self.attempt[rows],
            self.several[rows],
        )


def find_manifest_faces(
    manifest: Manifest,
    *,
    cache: Path | None = None,
    detector: str | Detector = "mtcnn",
    progress: Progress | None = None,
) -> Faces:
    """Return the face of each picture.

    Pictures that are face crops already are looked at with a margin around them; others are
    searched like a frame of a video, also turned, and if that finds nobody, like crops.
    cache: an .npz file that keeps where the faces are (no picture), so that the next call with
        the same pictures need not search again: new or exchanged pictures alone are searched.
    progress: called with the number of pictures done and their total.
    Raises MoppetError where a picture cannot be read: audit first, and leave such rows out.
    """
    if not len(manifest):
        raise MoppetError("there are no pictures to look for faces in.")
    if isinstance(detector, str):
        detector = load_detector(detector)
    boxes = _boxes(manifest)
    known = _read_known(cache)
    keys = np.empty(len(manifest), "U64")
    places = _nothing_known(len(manifest))
    cuts: list[Image] = [np.empty(0, np.uint8)] * len(manifest)
    landmarks = np.empty((len(manifest), 5, 2), np.float32)
    done = searched = 0
    for numbers, pictures in _in_batches(manifest):
        keys[numbers] = [_key(*of) for of in zip(pictures, boxes[numbers], strict=True)]
        new = np.array([keys[i] not in known.rows for i in numbers], bool)
        old = numbers[~new]
        _put(places, old, _taken(known.places, [known.rows[keys[i]] for i in old]))
        if new.any():
            wanted = [picture for picture, is_new in zip(pictures, new, strict=True) if is_new]
            _put(places, numbers[new], _find(wanted, boxes[numbers[new]], detector))
        for i, picture in zip(numbers, pictures, strict=True):
            cuts[i], landmarks[i] = _cut(picture, places.landmarks_px[i], bool(places.tight[i]))
        done, searched = done + len(numbers), searched + int(new.sum())
        if progress is not None:
            progress(done, len(manifest))
    if cache is not None and searched:
        _write_known(cache, keys, places, known)
    return Faces(cuts, landmarks, places.tight, places.attempt, places.several)


def _in_batches(manifest: Manifest) -> Iterator[tuple[NDArray[np.int64], list[Image]]]:
    pictures = manifest.images()
    while batch := list(itertools.islice(pictures, _BATCH)):
        images = []
        for row, image in batch:
            if image is None:
                path = manifest.root / str(manifest.column("path")[row])
                raise MoppetError(
                    f"{path} cannot be read as a picture. `moppet data audit` lists all such."
                )
            images.append(image)
        yield np.array([row for row, _ in batch], np.int64), images


class _Places(NamedTuple):
    """Where the faces of n pictures are: landmarks in pixels of the picture, NaN for none."""

    landmarks_px: Floats
    tight: NDArray[np.bool_]
    attempt: NDArray[np.int8]
    several: NDArray[np.int64]


def _put(places: _Places, rows: NDArray[np.int64], found: _Places) -> None:
    places.landmarks_px[rows] = found.landmarks_px
    places.tight[rows] = found.tight
    places.attempt[rows] = found.attempt
    places.several[rows] = found.several


def _taken(places: _Places, rows: list[int]) -> _Places:
    marks, tight, attempt, several = places
    return _Places(marks[rows], tight[rows], attempt[rows], several[rows])


def _nothing_known(n: int) -> _Places:
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    return _Places(landmarks, np.zeros(n, bool), np.full(n, -1, np.int8), np.zeros(n, np.int64))


def _find(pictures: list[Image], boxes: Floats, detector: Detector) -> _Places:
    places = _nothing_known(len(pictures))
    landmarks, tight, attempt, several = places
    tight[:] = [_is_crop(picture) for picture in pictures]
    for i in np.flatnonzero(~tight):
        faces = detect_any_way_up(detector, _rgb(pictures[i]))
        several[i] = len(faces)
        if faces:
            landmarks[i], attempt[i] = _chosen(faces, boxes[i]).landmarks_px, 0
    left = np.flatnonzero(attempt < 0)
    if len(left):
        squares = [_square(pictures[i]) for i in left]
        inside, attempt[left] = find_crop_landmarks([square for square, _, _ in squares])
        for i, marks, (_, scale, shift) in zip(left, inside, squares, strict=True):
            landmarks[i] = (marks - shift) / scale
        several[left], tight[left] = attempt[left] >= 0, True
    return places


def _cut(picture: Image, landmarks_px: Floats, tight: bool) -> tuple[Image, Floats]:
    if not tight:
        try:
            return cut_face(picture, landmarks_px)
        except FaceError:
            landmarks_px = np.full((5, 2), np.nan, np.float32)
    square, scale, shift = _square(picture)
    return square, (landmarks_px * scale + shift).astype(np.float32)


def _key(picture: Image, box_px: Floats) -> str:
    """Tells whether a cache knows this picture, whatever its file is called."""
    return hashlib.sha256(content_hash(picture).encode() + box_px.tobytes()).hexdigest()


class _Known(NamedTuple):
    """What a cache holds: the row of `places` of each key."""

    rows: dict[str, int]
    places: _Places


def _read_known(cache: Path | None) -> _Known:
    if cache is not None and cache.is_file():
        try:
            with np.load(cache, allow_pickle=False) as arrays:
                rows = {str(key): row for row, key in enumerate(arrays["keys"])}
                return _Known(rows, _Places(*(arrays[name] for name in _Places._fields)))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # a damaged cache is made anew
    return _Known({}, _nothing_known(0))


def _write_known(cache: Path, keys: NDArray[np.str_], places: _Places, known: _Known) -> None:
    """Keep these pictures' places, and what the cache knew of others."""
    here = set(keys.tolist())
    others = {key: row for key, row in known.rows.items() if key not in here}
    every = np.arange(len(keys) + len(others))
    both = _nothing_known(len(every))
    _put(both, every[: len(keys)], places)
    _put(both, every[len(keys) :], _taken(known.places, list(others.values())))
    np.savez_compressed(cache, keys=np.array([*keys, *others], "U64"), **both._asdict())


def cut_face(picture: Image, landmarks_px: Floats) -> tuple[Image, Floats]:
    """Return a square around the face with ROOM to turn in, and the landmarks in it.

    picture: (h, w[, 3]) uint8. The square is upright in the picture; beyond its edge the last
    pixels are repeated; larger faces are averaged down to CUT_PX.
    """
    to_crop = similarity(landmarks_px, TEMPLATE_PX)
    inverse = cv2.invertAffineTransform(to_crop)
    middle = inverse @ np.array([(CROP_PX - 1) / 2, (CROP_PX - 1) / 2, 1])
    side = CROP_PX * ROOM * float(np.hypot(inverse[0, 0], inverse[1, 0]))
    size = min(CUT_PX, max(8, round(side)))
    scale = size / side
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = (size - 1) / 2 - scale * middle
    source, shrunk = average_down(picture, matrix, int(1 / scale), size)
    cut = cv2.warpAffine(
        source, shrunk, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    landmarks = landmarks_px @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(cut, np.uint8), landmarks.astype(np.float32)


def _chosen(faces: list[Face], box_px: Floats) -> Face:
    if np.isnan(box_px).any():
        return max(faces, key=lambda face: float(face.box_px[2:].prod()))
    return max(faces, key=lambda face: _overlap(face.box_px, box_px))


def _overlap(a: Floats, b: Floats) -> float:
    low = np.maximum(a[:2], b[:2])
    high = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.maximum(high - low, 0).prod())
    return shared / (float(a[2:].prod()) + float(b[2:].prod()) - shared)


def _boxes(manifest: Manifest) -> Floats:
    names = ("box_x", "box_y", "box_w", "box_h")
    return np.stack([manifest.column(name) for name in names], axis=1).astype(np.float32)


def _is_crop(picture: Image) -> bool:
    height, width = picture.shape[:2]
    longest = max(height, width)
    return bool(longest <= TIGHT_PX and longest <= _NEARLY_SQUARE * min(height, width))


def _square(picture: Image) -> tuple[Image, float, Floats]:
    """Return the whole picture, its edge repeated on the shorter sides; at most CUT_PX wide.

    Also the scale and the shift (2,) that bring a point of the picture into the square.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, CUT_PX / max(height, width))
    if scale < 1:
        new = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, new, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(
        picture, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
    )
    # A pixel's centre p of the picture lies at (p + 1/2) * scale - 1/2 of the shrunk one.
    shift = np.array([left, top], np.float32) + np.float32((scale - 1) / 2)
    return np.asarray(square, np.uint8), scale, shift


def _rgb(picture: Image) -> Image:
    return np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture
