"""The augmentations of whole batches, on rendered faces."""

from __future__ import annotations

from dataclasses import replace

import cv2
import kornia.color
import kornia.enhance
import numpy as np
import pytest
import torch

import rendered
from moppet.train.augmentation import (
    AUGMENTATIONS,
    BATCH_AUGMENTATIONS,
    BatchAugmentation,
    augment,
    homographies,
    jitter,
)
from moppet.train.module import batch_augmentation
from moppet.train.recipe import Recipe, chosen_settings, read_recipe
from moppet.values import UsageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64
STILL = BatchAugmentation(
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    blur_p=0,
    jpeg_p=0,
    shadow_p=0,
    rotation_deg=0,
    yaw_deg=0,
    pitch_deg=0,
    translation=0,
    scale_least=1,
    scale_most=1,
    horizontal_flip=0,
    vertical_flip=0,
    noise_p=0,
    erase_p=0,
)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Six rendered faces, (6, 3, 64, 64)."""
    stills = [s for s in rendered.read_stills().values() if len(s.faces) == 1]
    small = [cv2.resize(s.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for s in stills]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def only(**changes: object) -> BatchAugmentation:
    return replace(STILL, **changes)


# --------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("names", [(), *[(name,) for name in AUGMENTATIONS], BATCH_AUGMENTATIONS])
@pytest.mark.parametrize("shape", [(3, SIDE, SIDE), (1, 48, 48), (3, 40, 56)])
def test_views_keep_shape_and_range_and_come_again_with_their_seed(
    faces: torch.Tensor, names: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    x = torch.nn.functional.interpolate(faces, shape[1:])[:, : shape[0]]
    before = x.clone()
    settings = BatchAugmentation(names)
    made = augment(x, settings, 7)
    assert made.shape == x.shape and made.dtype == torch.float32
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.equal(x, before)
    state = torch.get_rng_state()
    assert torch.equal(made, augment(x, settings, 7))
    assert torch.equal(made, augment(x, settings, torch.tensor(7).item()))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made, augment(x, settings, 8)) == (not names)


def test_a_generator_and_a_seed_of_several_numbers_are_taken(faces: torch.Tensor) -> None:
    settings = BatchAugmentation()
    first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    made = augment(faces, settings, first)
    assert torch.equal(made, augment(faces, settings, second))
    assert not torch.equal(made, augment(faces, settings, first))  # it has gone on
    views = {
        augment(faces, settings, seed).numpy().tobytes()
        for seed in [(0, 1, 2), (0, 2, 1), (1, 1, 2)]
    }
    assert len(views) == 3


def test_bytes_give_bytes(faces: torch.Tensor) -> None:
    pixels = (faces * 255).round().byte()
    made = augment(pixels, BatchAugmentation(), 3)
    assert made.dtype == torch.uint8
    exact = augment(pixels.float() / 255, BatchAugmentation(), 3) * 255
    assert (made.float() - exact).abs().max() <= 0.5001
    assert torch.equal(augment(pixels, BatchAugmentation(()), 3), pixels)


def test_a_familys_draws_do_not_depend_on_the_others(faces: torch.Tensor) -> None:
    moved = augment(faces, BatchAugmentation(("geometry",)), 5)
    still_on = replace(STILL, rotation_deg=30.0, yaw_deg=25.0, pitch_deg=20.0, translation=0.1)
    still_on = replace(still_on, scale_least=0.8, scale_most=1.2)
    still_on = replace(still_on, horizontal_flip=0.5, vertical_flip=0.1)
    assert torch.allclose(augment(faces, still_on, 5), moved, atol=1e-6)


def test_with_every_strength_at_nothing_a_image_stays(faces: torch.Tensor) -> None:
    assert torch.allclose(augment(faces, STILL, 0), faces, atol=1e-4)


def test_an_empty_batch_stays_empty() -> None:
    assert augment(torch.zeros(0, 3, 8, 8), BatchAugmentation(), 0).shape == (0, 3, 8, 8)


def test_only_a_share_of_the_images_is_changed_and_these_as_if_alone() -> None:
    torch.manual_seed(5)
    pictures = torch.rand(400, 3, 16, 16)
    half = augment(pictures, BatchAugmentation(share=0.5), 8)
    changed = (half != pictures).flatten(1).any(dim=1)
    assert 160 < int(changed.sum()) < 240
    alone = augment(pictures[changed], BatchAugmentation(), 8)
    assert torch.equal(half[changed], alone)
    assert torch.equal(augment(pictures[:9], BatchAugmentation(share=0.0), 8), pictures[:9])


def test_a_smaller_size_gives_a_smaller_images_detail(faces: torch.Tensor) -> None:
    x = torch.nn.functional.interpolate(faces, 128, mode="bilinear")
    made = augment(x, replace(STILL, size=32), 0)
    small = torch.nn.functional.interpolate(x, 32, mode="bilinear", antialias=True)
    expected = torch.nn.functional.interpolate(small, 128, mode="bilinear")
    assert made.shape == x.shape
    assert torch.allclose(made, expected, atol=1e-3)
    assert torch.allclose(augment(x, replace(STILL, size=500), 0), x, atol=1e-4)


# --------------------------------------------------------------------------------- appearance


def one(value: float, n: int) -> torch.Tensor:
    return torch.full((n,), value)


def test_light_and_color_are_kornias(faces: torch.Tensor) -> None:
    middle, n = faces * 0.5 + 0.2, len(faces)  # so that nothing is cut off
    same = one(1.0, n)

    def off(got: torch.Tensor, wanted: torch.Tensor) -> float:
        return float((got - wanted).abs().max())

    bright = kornia.enhance.adjust_brightness_accumulative(middle, 1.2)
    assert off(jitter(middle, one(1.2, n), same, same, same * 0), bright) < 1e-5
    contrast = kornia.enhance.adjust_contrast_with_mean_subtraction(middle, 0.8)
    assert off(jitter(middle, same, one(0.8, n), same, same * 0), contrast) < 0.002
    saturated = kornia.enhance.adjust_saturation_with_gray_subtraction(middle, 1.2)
    assert off(jitter(middle, same, same, one(1.2, n), same * 0), saturated) < 0.002


@pytest.mark.parametrize("turn", [0.03, -0.03])
def test_hue_turns_the_way_of_kornias_circle_and_keeps_the_light(
    faces: torch.Tensor, turn: float
) -> None:
    middle, same = faces * 0.5 + 0.2, one(1.0, len(faces))
    made = jitter(middle, same, same, same, one(turn, len(faces)))
    luma = torch.tensor([0.299, 0.587, 0.114])
    light = [torch.einsum("nchw,c->nhw", x, luma) for x in (made, middle)]
    assert torch.allclose(*light, atol=2e-3)
    before, after = (kornia.color.rgb_to_hsv(x)[:, 0] / (2 * np.pi) for x in (middle, made))
    colored = middle.amax(dim=1) - middle.amin(dim=1) > 0.15
    turned = ((after - before + 0.5) % 1 - 0.5)[colored]
    assert 0.5 < float(turned.median()) / turn < 2
    gray = middle.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(jitter(gray, same, same, same, one(turn, len(faces))), gray, atol=2e-3)


def test_blurs_have_odd_kernels_from_five_to_nine(faces: torch.Tensor) -> None:
    point = torch.zeros(60, 3, 31, 31)
    point[:, :, 15, 15] = 1
    made = augment(point, only(blur_p=1), 2)
    reach = {int((view[0, 15] > 0).sum()) for view in made}
    assert reach == {5, 7, 9}
    assert torch.allclose(made.sum(dim=(2, 3)), torch.ones(60, 3), atol=1e-4)
    taken = (augment(point.repeat(10, 1, 1, 1), only(blur_p=0.2), 2)[:, 0, 15, 15] < 0.99).float()
    assert float(taken.mean()) == pytest.approx(0.2, abs=0.05)


def test_jpeg_is_opencvs_at_quality_30(faces: torch.Tensor) -> None:
    made = augment(faces, only(jpeg_p=1), 0)
    for image, view in zip(faces, made, strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        _, coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1]
        assert np.abs(view.permute(1, 2, 0).numpy() * 255 - decoded).mean() < 1.5


def test_a_shadow_takes_three_tenths_of_the_light_on_one_side() -> None:
    white = torch.ones(40, 3, SIDE, SIDE)
    made = augment(white, only(shadow_p=1), 4)
    least, most = made.amin(dim=(1, 2, 3)), made.amax(dim=(1, 2, 3))
    assert torch.allclose(least, one(0.7, 40), atol=0.01)
    assert torch.allclose(most, one(1.0, 40), atol=0.01)
    shaded = (made < 0.85).float().mean(dim=(1, 2, 3))
    assert shaded.min() > 0.05 and shaded.max() < 0.95
    assert torch.equal(made[:, 0], made[:, 2])


# ----------------------------------------------------------------------------------- geometry


def moves(settings: BatchAugmentation, n: int = 300) -> torch.Tensor:
    return homographies(n, SIDE, SIDE, settings, torch.Generator().manual_seed(6))


def carried(matrices: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Where (k, 2) points go, (n, k, 2)."""
    homogeneous = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    out = homogeneous @ matrices.transpose(1, 2)
    return out[:, :, :2] / out[:, :, 2:]


MIDDLE = torch.tensor([[(SIDE - 1) / 2, (SIDE - 1) / 2]])
RIGHT = MIDDLE + torch.tensor([[10.0, 0.0]])


def test_rotation_goes_30_degrees_either_way_about_the_middle() -> None:
    matrices = moves(only(rotation_deg=30.0))
    assert torch.allclose(carried(matrices, MIDDLE), MIDDLE.expand(300, 1, 2), atol=1e-3)
    arm = carried(matrices, RIGHT)[:, 0] - MIDDLE
    angle = torch.rad2deg(torch.atan2(arm[:, 1], arm[:, 0]))
    assert -30 <= angle.min() < -27 and 27 < angle.max() <= 30
    assert torch.allclose(arm.norm(dim=1), one(10.0, 300), atol=1e-3)


def test_translation_and_scale_keep_their_ranges() -> None:
    shift = (carried(moves(only(translation=0.1)), MIDDLE)[:, 0] - MIDDLE) / SIDE
    assert shift.abs().max() <= 0.1 and shift.abs().amax(dim=0).min() > 0.09
    arm = carried(moves(only(scale_least=0.8, scale_most=1.2)), RIGHT)[:, 0] - MIDDLE
    scale = arm.norm(dim=1) / 10
    assert 0.8 <= scale.min() < 0.83 and 1.17 < scale.max() <= 1.2


def test_flips_happen_as_often_as_the_paper_says(faces: torch.Tensor) -> None:
    matrices = moves(only(horizontal_flip=0.5, vertical_flip=0.1), 1000)
    assert float((matrices[:, 0, 0] < 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((matrices[:, 1, 1] < 0).float().mean()) == pytest.approx(0.1, abs=0.03)
    mirrored = augment(faces, only(horizontal_flip=1), 0)
    assert torch.allclose(mirrored, faces.flip(3), atol=1e-4)
    upside_down = augment(faces, only(vertical_flip=1), 0)
    assert torch.allclose(upside_down, faces.flip(2), atol=1e-4)


def test_yaw_and_pitch_are_a_camera_that_sees_a_turned_image() -> None:
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 20 + MIDDLE
    for name, axis in (("yaw_deg", 0), ("pitch_deg", 1)):
        settings = only(**{name: 25.0})
        seen = carried(moves(settings), corners) - MIDDLE
        # The side that turns away is shorter; the image narrows by the cosine or less.
        first, second = ((3, 0), (2, 1)) if axis == 0 else ((1, 0), (2, 3))
        lengths = [(seen[:, a] - seen[:, b]).norm(dim=1) for a, b in (first, second)]
        ratio = lengths[0] / lengths[1]
        assert ratio.min() < 0.88 and ratio.max() > 1.13
        across = (seen[..., axis].amax(dim=1) - seen[..., axis].amin(dim=1)) / 40
        assert across.min() == pytest.approx(np.cos(np.radians(25)), abs=0.02)
        assert across.max() <= 1.001


def test_a_pixel_lands_where_its_matrix_says() -> None:
    x = torch.zeros(8, 3, SIDE, SIDE)
    x[:, :, 30:33, 38:41] = 1
    settings = BatchAugmentation(("geometry",), horizontal_flip=0, vertical_flip=0)
    seed = np.random.SeedSequence(9).generate_state(3, np.uint64).tolist()[0]
    matrices = homographies(8, SIDE, SIDE, settings, torch.Generator().manual_seed(seed))
    expected = carried(matrices, torch.tensor([[39.0, 31.0]]))[:, 0]
    made = augment(x, settings, 9)[:, 0]
    grid = torch.arange(SIDE).float()
    mass = made.sum(dim=(1, 2))
    found = torch.stack([made.sum(dim=1) @ grid, made.sum(dim=2) @ grid], dim=1) / mass[:, None]
    assert (found - expected).abs().max() < 0.15


# ------------------------------------------------------------------------ occlusion and noise


def test_salt_and_pepper_turn_five_in_a_hundred_pixels() -> None:
    gray = torch.full((50, 3, SIDE, SIDE), 0.5)
    made = augment(gray, only(noise_p=1), 5)
    assert torch.equal(made[:, 0], made[:, 1])
    for value in (0.0, 1.0):
        assert float((made == value).float().mean()) == pytest.approx(0.025, abs=0.002)
    rest = made[(made > 0) & (made < 1)]
    assert torch.allclose(rest, torch.tensor(0.5))


def test_erasing_takes_one_rectangle_of_a_fifth_of_the_images() -> None:
    marked = torch.full((500, 3, SIDE, SIDE), 2.0)  # a value that no noise has
    made = augment(marked, only(names=("occlusion",), erase_p=0.2), 5)
    gone = (made != 2).all(dim=1)
    areas = gone.float().mean(dim=(1, 2))
    assert float((areas > 0).float().mean()) == pytest.approx(0.2, abs=0.05)
    assert areas[areas > 0].min() > 0.01 and areas.max() < 0.36
    for hole in gone[areas > 0]:
        rows, columns = hole.any(dim=1).sum(), hole.any(dim=0).sum()
        assert int(hole.sum()) == int(rows * columns)


# -------------------------------------------------------------------------- settings --------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ("colour",)}, "no augmentation 'colour'. Known: random_views, geometry,"),
        ({"blur_p": 1.2}, "blur_p must be a number from 0 to 1, got 1.2"),
        ({"rotation_deg": -1.0}, "rotation_deg must be a number from 0 to 180"),
        ({"blur_least": 4}, "blur_least must be odd"),
        ({"blur_most": 3}, "blur_least must be at most blur_most, got 5 and 3"),
        ({"scale_least": 1.5}, "scale_least must be at most scale_most, got 1.5 and 1.2"),
        ({"hue": float("nan")}, "hue must be"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        BatchAugmentation(**settings)
    assert said in str(caught.value)


# -------------------------------------------------------------- gray, and a recipe's strengths


def test_erasing_of_gray_images_stays_gray_and_of_color_images_does_not(faces):
    gray = faces.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    erasing = only(names=("occlusion",), erase_p=1)
    for images, same in ((gray, True), (faces, False)):
        made = augment(images, erasing, 3)
        assert not torch.equal(made, images)
        assert bool(((made - made[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-6).all()) is same


def test_conversion_to_gray_takes_its_share_and_changes_no_other_draw(faces):
    all_gray = augment(faces, only(names=("appearance",), gray_p=1), 0)
    luma = (faces * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(all_gray, luma.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    many = faces.repeat(50, 1, 1, 1)
    plain = augment(many, BatchAugmentation(names=("appearance",)), 7)
    half = augment(many, BatchAugmentation(names=("appearance",), gray_p=0.5), 7)
    changed = (plain - half).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert 0.4 < float(changed.float().mean()) < 0.6


def test_a_recipe_sets_strengths_and_without_them_keeps_its_meaning_and_identity():
    plain = Recipe("", augmentations=("appearance",))
    assert batch_augmentation(plain) == BatchAugmentation(names=("appearance",))
    assert "augment_strengths" not in chosen_settings(plain)
    strong = replace(plain, augment_strengths={"hue": 0.2, "gray_p": 0.3})
    made = batch_augmentation(strong)
    assert made is not None and (made.hue, made.gray_p, made.contrast) == (0.2, 0.3, 0.2)
    assert chosen_settings(strong)["augment_strengths"] == {"hue": 0.2, "gray_p": 0.3}
    with pytest.raises(UsageError, match="huge"):
        batch_augmentation(replace(plain, augment_strengths={"huge": 0.2}))
    with pytest.raises(UsageError, match="it is a key of the recipe itself"):
        batch_augmentation(replace(plain, augment_strengths={"share": 0.2}))


def test_strengths_need_augmentations_that_they_set(tmp_path):
    (tmp_path / "r.toml").write_text('name = "r"\n[augment_strengths]\nhue = 0.1\n')
    with pytest.raises(UsageError, match="augment_strengths needs augmentations"):
        read_recipe(tmp_path / "r.toml")
