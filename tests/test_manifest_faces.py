"""Faces of labeled images: what a cache of their places spares, and what it never hides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from moppet.datasets import faces as module
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.values import Face, Image, MoppetError
from scripted import make_face

SIDE = 300


class CentredDetector:
    """Sees a face about each image's brightest place, and counts what it searched."""

    name = "centred"

    def __init__(self) -> None:
        self.searched = 0

    def detect(self, images: list[Image]) -> list[list[Face]]:
        self.searched += len(images)
        places = [np.unravel_index(image[:, :, 0].argmax(), image.shape[:2]) for image in images]
        return [[make_face(float(x), float(y))] for y, x in places]

    def follow(self, *_: object) -> None:
        return None


def write_image(path: Path, x: int, y: int = SIDE // 2) -> None:
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    cv2.circle(image, (x, y), 3, (255, 255, 255), -1)
    cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", 130 + 20 * number)
    return tmp_path


def manifest_of(folder: Path, names: list[str]) -> Manifest:
    return build_manifest({"path": names, "label": ["happiness"] * len(names)}, root=folder)


def look(folder: Path, names: list[str], **more: object) -> tuple[Faces, int]:
    """The faces, and how many images were searched for them."""
    manifest = manifest_of(folder, names)
    detector = CentredDetector()
    faces = find_manifest_faces(manifest, cache=folder / "faces.npz", detector=detector, **more)
    return faces, detector.searched


NAMES = ["0.png", "1.png", "2.png"]


def assert_equal(faces: Faces, others: Faces) -> None:
    for cut, other in zip(faces.cuts, others.cuts, strict=True):
        np.testing.assert_array_equal(cut, other)
    np.testing.assert_array_equal(faces.landmarks_px, others.landmarks_px)
    np.testing.assert_array_equal(faces.attempt, others.attempt)
    np.testing.assert_array_equal(faces.several, others.several)


def test_the_same_images_are_searched_once_whatever_their_names_and_order(folder):
    faces, searched = look(folder, NAMES)
    assert searched and faces.found.all()
    again, searched = look(folder, NAMES)
    assert searched == 0
    assert_equal(again, faces)
    (folder / "2.png").rename(folder / "other.png")
    turned, searched = look(folder, ["other.png", "1.png", "0.png"])
    assert searched == 0
    assert_equal(turned, faces.select(np.array([2, 1, 0])))


def test_an_exchanged_image_of_the_same_name_is_searched_anew(folder):
    _, whole = look(folder, NAMES)
    write_image(folder / "1.png", 220, 100)
    faces, searched = look(folder, NAMES)
    assert 0 < searched < whole
    (folder / "faces.npz").unlink()
    fresh, _ = look(folder, NAMES)
    assert_equal(faces, fresh)


def test_new_images_alone_are_searched(folder):
    _, first = look(folder, NAMES[:1])
    _, more = look(folder, NAMES)
    assert more == 2 * first
    assert look(folder, NAMES)[1] == 0


def test_a_cache_forgets_no_images_that_are_not_asked_for(folder):
    look(folder, NAMES[:1])
    look(folder, NAMES[1:])
    faces, searched = look(folder, NAMES)
    assert searched == 0
    (folder / "faces.npz").unlink()
    assert_equal(faces, look(folder, NAMES)[0])


def test_a_damaged_cache_or_one_of_an_older_kind_is_made_anew(folder):
    faces, searched = look(folder, NAMES)
    cache = folder / "faces.npz"
    cache.write_bytes(cache.read_bytes()[:-200])
    assert look(folder, NAMES)[1] == searched
    np.savez(cache, key=np.array("of an older kind"))
    again, renewed = look(folder, NAMES)
    assert renewed == searched
    assert_equal(again, faces)


def test_a_search_that_is_stopped_keeps_what_it_found(folder, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    find, searched = module._find, []

    def stopped_at_the_third(*image):
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(image)
        return find(*image)

    cache = folder / "deep" / "faces.npz"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_find", stopped_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            find_manifest_faces(manifest_of(folder, NAMES), cache=cache, detector=CentredDetector())
    assert list(cache.parent.iterdir()) == [cache]
    rest = CentredDetector()
    faces = find_manifest_faces(manifest_of(folder, NAMES), cache=cache, detector=rest)
    fresh, whole = look(folder, NAMES)
    assert rest.searched == whole / 3
    assert_equal(faces, fresh)


def test_a_few_large_images_are_held_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_BYTES", 2 * SIDE * SIDE * 3)
    find, held = module._find, []
    monkeypatch.setattr(module, "_find", lambda *a: held.append(len(a[0])) or find(*a))
    faces, _ = look(folder, NAMES)
    assert held == [2, 1]
    monkeypatch.undo()
    (folder / "faces.npz").unlink()
    assert_equal(faces, look(folder, NAMES)[0])


def test_a_damaged_image_stops_the_search_unless_its_row_is_asked_for(folder):
    (folder / "1.png").write_bytes(b"damaged")
    with pytest.raises(MoppetError, match=r"1\.png cannot be read"):
        look(folder, NAMES)
    lost: list[int] = []
    faces, _ = look(folder, NAMES, unreadable=lost)
    assert lost == [1]
    assert_equal(faces, look(folder, ["0.png", "2.png"])[0])
