"""The image of the augmentations, and each of the changes it shows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import rendered
from moppet.train.augmentation import BATCH_AUGMENTATIONS, BatchAugmentation, augment
from moppet.train.augmentation_sheets import augmentation_sheet, changes
from moppet.values import UsageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64
LABELED = [pair for name in BATCH_AUGMENTATIONS for pair in changes(BatchAugmentation(), name)]


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Six rendered faces, (6, 3, 64, 64)."""
    stills = [s for s in rendered.read_stills().values() if len(s.faces) == 1]
    small = [cv2.resize(s.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for s in stills]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("label", "settings"), LABELED, ids=[label for label, _ in LABELED])
def test_each_change_alone_changes_images(
    faces: torch.Tensor, label: str, settings: BatchAugmentation
) -> None:
    many = faces.repeat(4, 1, 1, 1)
    off = (augment(many, settings, 1) - many).abs().mean(dim=(1, 2, 3))
    assert (off > 1e-4).float().mean() > 0.9


def test_every_strength_has_its_place_on_the_sheet() -> None:
    shown = [settings for _, settings in LABELED]
    by_family = {name: [f for f in shown if f.names == (name,)] for name in BATCH_AUGMENTATIONS}
    assert [len(found) for found in by_family.values()] == [7, 7, 2]


def test_the_sheet_is_a_labeled_image_of_what_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, rendered.Still]
) -> None:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    said, shown = [], []
    text, show = Figure.text, Axes.imshow
    monkeypatch.setattr(
        Figure, "text", lambda self, *a, **k: (said.append(a[2]), text(self, *a, **k))
    )
    monkeypatch.setattr(
        Axes, "imshow", lambda self, x, **k: (shown.append(np.asarray(x)), show(self, x, **k))
    )
    path = tmp_path / "new" / "sheet.png"
    images = [pictures["age01_light_neutral.jpg"].image, pictures["three_people.jpg"].image[..., 0]]
    augmentation_sheet(images, path, side=32)
    assert cv2.imread(str(path)).shape[1] > 1000
    assert said[0] == "the images" and said[-1] == "all together"
    for name in BATCH_AUGMENTATIONS:
        assert f"{name}: each alone" in said and f"{name}: as drawn" in said
    assert len(shown) == 2 + (7 + 8) + (7 + 8) + (2 + 8) + 8
    assert all(x.shape == (32, 32, 3) for x in shown)


def test_a_sheet_without_images_or_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one image"):
        augmentation_sheet([], tmp_path / "sheet.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Cannot write"):
        image = np.zeros((8, 8, 3), np.uint8)
        augmentation_sheet([image], tmp_path / "file" / "sheet.png", side=16)
