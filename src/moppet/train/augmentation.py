"""Augmentation: random views of a face crop, changes of whole batches, and plugins."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import cv2
import numpy as np
import torch
from annotated_types import Ge, Gt, Interval, Le
from numpy.typing import NDArray
from torch import Tensor

from moppet.config import check_fields
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX, similarity, warped
from moppet.plugins import announce_registry, load_plugins
from moppet.train.recipe import RANDOM_VIEWS, RandomViewSettings, Share
from moppet.values import Floats, Image, UsageError, name_hint


def crop_matrices(
    side: int, landmarks_px: Floats, size: int, *, tight: bool = True
) -> NDArray[np.float64]:
    """Return (2, 2, 3): the warps of a crop to the raw and to the aligned view at `size` pixels.

    tight: the crop is a data set's own. A cut with room around the face has no raw view of its
    own: both are the aligned one. Both are the raw one where the landmarks are NaN.
    """
    scale = size / side
    raw = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    if np.isnan(landmarks_px).any():
        return np.stack([raw, raw])
    to_crop = similarity(landmarks_px, TEMPLATE_PX)
    shrink = size / CROP_PX
    to_crop[:, :2] *= shrink
    to_crop[:, 2] = (to_crop[:, 2] + 0.5) * shrink - 0.5
    return np.stack([raw if tight else to_crop, to_crop])


def random_view(
    image: Image,
    matrices: NDArray[np.float64],
    size: int,
    settings: RandomViewSettings,
    rng: np.random.Generator,
) -> Image:
    """Return a random view of the crop, (size, size) or (size, size, 3) uint8.

    image: (side, side) gray or (side, side, 3) RGB uint8; matrices: from `crop_matrices`.
    """
    return random_view_and_flip(image, matrices, size, settings, rng)[0]


def random_view_and_flip(
    image: Image,
    matrices: NDArray[np.float64],
    size: int,
    settings: RandomViewSettings,
    rng: np.random.Generator,
) -> tuple[Image, bool]:
    """Return a random view of the crop as `random_view`, and whether it is mirrored."""
    # Half the draws at the two ends, half between: both framings occur in use.
    toward = rng.choice([0.0, 1.0, rng.random(), rng.random()])
    matrix = matrices[0] * (1 - toward) + matrices[1] * toward
    if rng.random() < settings.low_resolution:
        image, matrix = _lower_resolution(image, matrix, rng)
    moved = _random_geometry(size, settings, rng)
    photo = warped(image, moved @ np.vstack([matrix, [0, 0, 1]]), size)
    photo = _random_light(photo, settings, rng)
    if rng.random() < settings.blur:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)
    if rng.random() < settings.noise:
        noisy = photo + rng.normal(0, rng.uniform(2, 12), photo.shape)
        photo = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < settings.erase:
        photo = _erase(photo, rng)
    if _drawn(settings.cover, rng):
        photo = _cover(photo, rng)
    if _drawn(settings.compression, rng):
        photo = _compress(photo, rng)
    return photo, bool(np.linalg.det(moved[:, :2]) < 0)


def _drawn(chance: float, rng: np.random.Generator) -> bool:
    """Whether something of this chance happens; nothing is drawn where it is 0."""
    return bool(chance and rng.random() < chance)


def in_colored_light(image: Image, rng: np.random.Generator, *, gray: bool) -> Image:
    """Return an RGB image as it is in light of another color: (h, w, 3), or (h, w) if gray.

    In gray the weights of the colors are drawn around those of plain gray; white stays white.
    """
    if gray:
        weights = np.array(_LUMA) * np.exp(rng.normal(0, 0.6, 3))
        return np.asarray(cv2.transform(image, weights[None] / weights.sum()), np.uint8)
    gains = np.exp(rng.normal(0, 0.25, 3))
    return np.asarray(cv2.transform(image, np.diag(gains / gains.max())), np.uint8)


def _random_geometry(
    size: int, settings: RandomViewSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    angle = np.radians(np.clip(rng.normal(0, 0.5), -1, 1) * settings.rotation_deg)
    scale = np.exp(rng.uniform(-settings.scale, settings.scale))
    stretch = np.exp(rng.uniform(-settings.scale, settings.scale) / 3)
    shear = rng.uniform(-settings.shear, settings.shear)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[scale * stretch, shear], [0, scale / stretch]])
    if rng.random() < settings.flip:
        linear[:, 0] *= -1
    middle = np.full(2, (size - 1) / 2)
    shift = rng.uniform(-settings.shift, settings.shift, 2) * size
    if _drawn(settings.framing, rng):
        linear *= np.exp(rng.uniform(-_FRAMING, _FRAMING))
    return np.column_stack([linear, middle - linear @ middle + shift])


def _lower_resolution(
    image: Image, matrix: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, NDArray[np.float64]]:
    side = image.shape[0]
    small = int(rng.integers(side // 3, side))
    factor = side / small
    shrunk = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
    center = np.full(2, (factor - 1) / 2)
    moved = matrix[:, :2] @ center + matrix[:, 2]
    return shrunk, np.column_stack([matrix[:, :2] * factor, moved])


def _random_light(photo: Image, settings: RandomViewSettings, rng: np.random.Generator) -> Image:
    x = photo.astype(np.float32) / 255
    x = x ** np.float32(np.exp(rng.uniform(-settings.gamma, settings.gamma)))
    mean = x.mean()
    x = (x - mean) * np.float32(np.exp(rng.uniform(-settings.contrast, settings.contrast))) + mean
    x += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if _drawn(settings.underexposed, rng):
        x = _underexpose(x, rng)
    if rng.random() < settings.shadow:
        side = photo.shape[0]
        direction = rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-1, 1, side, dtype=np.float32)
        slope = ramp[None] * np.cos(direction) + ramp[:, None] * np.sin(direction)
        dark = 1 - np.float32(rng.uniform(0.2, 0.6)) * (slope > rng.uniform(-0.6, 0.6))
        x *= dark if x.ndim == 2 else dark[..., None]
    return np.asarray(np.rint(np.clip(x, 0, 1) * 255), np.uint8)


def _erase(photo: Image, rng: np.random.Generator) -> Image:
    side = photo.shape[0]
    height, width = (rng.uniform(0.1, 0.45, 2) * side).astype(int)
    top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
    photo = photo.copy()
    if rng.random() < 0.5:
        photo[top : top + height, left : left + width] = rng.integers(0, 256)
    else:
        patch = rng.integers(0, 256, (height, width, *photo.shape[2:]), dtype=np.uint8)
        photo[top : top + height, left : left + width] = patch
    return photo


def _underexpose(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return an image of 0 to 1 with 1 to 3 stops less light (sRGB has about 2.2 for gamma)."""
    dark = np.clip(x, 0, 1) * np.float32(2 ** (-rng.uniform(1, 3) / 2.2))
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return np.asarray(dark + noise * np.float32(rng.uniform(0, 0.02)), np.float32)


def _cover(photo: Image, rng: np.random.Generator) -> Image:
    """Return the image with an ellipse of one shade, which reaches in from a side."""
    side = photo.shape[0]
    direction = rng.uniform(0, 2 * np.pi)
    axes = rng.uniform(0.2, 0.5, 2) * side
    away = (0.5 + rng.uniform(0.0, 0.25)) * side
    middle = side / 2 + away * np.array([np.cos(direction), np.sin(direction)])
    shade = np.clip(rng.integers(0, 256) + rng.integers(-25, 26, photo.shape[2:]), 0, 255)
    covered = np.array(photo, order="C")
    box = (middle.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180)))
    cv2.ellipse(covered, box, np.atleast_1d(shade).tolist(), -1)
    return covered


def _compress(photo: Image, rng: np.random.Generator) -> Image:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 61))]
    _, data = cv2.imencode(".jpg", photo, quality)
    flag = cv2.IMREAD_GRAYSCALE if photo.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(data, flag), np.uint8)


_FRAMING: Final = math.log(1.5)
_LUMA: Final = (0.299, 0.587, 0.114)
_YIQ: Final = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_SEED_OF: Final = {"geometry": 0, "appearance": 1, "occlusion": 2}
_FOCAL: Final = 2.0  # distance of the camera that turns see, in sides of the image


BATCH_AUGMENTATIONS: Final = ("appearance", "geometry", "occlusion")
"""Those of AUGMENTATIONS that are Vivekananthan's."""


@dataclass(frozen=True)
class BatchAugmentation:
    """Which augmentations of whole batches are on, and their strengths.

    names: keys of AUGMENTATIONS.
    size: width in pixels to augment at; the result is enlarged again. 0 for the images' own.
    share: proportion of the images that are changed, drawn anew each time.
    Appearance: brightness, contrast, saturation: factors from 1 - x to 1 + x; hue: turns of up to
    x of the color circle; gray_p: chance of a conversion to gray (0 unless a recipe sets it);
    blur_p: chance of a Gaussian blur of an odd kernel between
    blur_least and blur_most pixels; jpeg_p: chance of JPEG of jpeg_quality; shadow_p: chance that
    one side of a line has shadow_factor of its light.
    Geometry: rotation_deg either way (the roll of a head's pose is the same movement), yaw_deg and
    pitch_deg either way, as of a flat image; translation: share of the side, either way;
    scale_least to scale_most; chances of flips. What comes into view repeats the edge: a
    mirrored one could show a second mouth.
    Occlusion and noise: noise_p: chance that noise_amount of the pixels turn black or white;
    erase_p: chance that a rectangle of erase_least to erase_most of the area turns to noise.
    From the paper: blur (chance and kernel), JPEG quality, shadow factor, rotation, translation,
    scale, flips, noise amount, erasing chance. Ours: the ranges of brightness, contrast,
    saturation, hue, yaw and pitch, the other chances (0.2, as the paper's of blur and erasing)
    and the erased area (0.02 to 0.33 of the image with sides of 0.3 to 3.3 to one: Zhong
    et al. 2020).
    """

    names: tuple[str, ...] = BATCH_AUGMENTATIONS
    size: Annotated[int, Interval(ge=0, le=4096)] = 0
    share: Share = 1.0
    brightness: Share = 0.2
    contrast: Share = 0.2
    saturation: Share = 0.2
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.03
    gray_p: Share = 0.0
    blur_p: Share = 0.2
    blur_least: Annotated[int, Ge(1)] = 5
    blur_most: Annotated[int, Le(99)] = 9
    jpeg_p: Share = 0.2
    jpeg_quality: Annotated[int, Interval(ge=0, le=100)] = 30
    shadow_p: Share = 0.2
    shadow_factor: Share = 0.7
    rotation_deg: Annotated[float, Interval(ge=0, le=180)] = 30.0
    yaw_deg: Annotated[float, Interval(ge=0, le=60)] = 25.0
    pitch_deg: Annotated[float, Interval(ge=0, le=60)] = 20.0
    translation: Share = 0.1
    scale_least: Annotated[float, Gt(0)] = 0.8
    scale_most: float = 1.2
    horizontal_flip: Share = 0.5
    vertical_flip: Share = 0.1
    noise_p: Share = 0.2
    noise_amount: Share = 0.05
    erase_p: Share = 0.2
    erase_least: Annotated[float, Gt(0)] = 0.02
    erase_most: Share = 0.33

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.names:
            find_augmentation(name)

    def problems(self) -> Iterator[str]:
        """Yield ranges whose ends are in the wrong order, and an even kernel."""
        if not self.blur_least % 2:
            yield f"blur_least must be odd, got {self.blur_least}."
        for name in ("blur", "scale", "erase"):
            least, most = getattr(self, f"{name}_least"), getattr(self, f"{name}_most")
            if least > most:
                yield f"{name}_least must be at most {name}_most, got {least:g} and {most:g}."


def augment(
    images: Tensor, settings: BatchAugmentation, rng: torch.Generator | int | Sequence[int]
) -> Tensor:
    """Return the images changed at random, of the same shape and type.

    images: (n, 3, h, w) RGB or (n, 1, h, w) gray, float in [0, 1] or uint8.
    rng: a CPU generator, or a seed of one or several numbers; the same gives the same result. The
        draws of an augmentation do not depend on which others are on.
    """
    if isinstance(rng, torch.Generator):
        rng = int(torch.randint(2**62, (1,), generator=rng))
    seeds = np.random.SeedSequence(rng).generate_state(4, np.uint64).tolist()
    if settings.share < 1:
        rows = _rows(len(images), settings.share, torch.Generator().manual_seed(seeds[3]))
        changed = images.clone()
        changed[rows] = _changed(images[rows], settings, rng)
        return changed
    return _changed(images, settings, rng)


def _changed(images: Tensor, settings: BatchAugmentation, entropy: int | Sequence[int]) -> Tensor:
    height, width = images.shape[2:]
    x = images if images.is_floating_point() else images.float() / 255
    x = x.expand(-1, 3, -1, -1)
    shrinks = 0 < settings.size < max(height, width)
    if shrinks:
        shrink = settings.size / max(height, width)
        x = _resized(x, max(1, round(height * shrink)), max(1, round(width * shrink)))
    for name, change in AUGMENTATIONS.items():
        if name in settings.names and len(x):
            x = change(x, settings, torch.Generator().manual_seed(_seed(name, entropy)))
    if shrinks:
        x = _resized(x, height, width)
    if images.shape[1] == 1:
        x = x.mean(dim=1, keepdim=True)
    if not images.is_floating_point():
        x = (x * 255).round().to(images.dtype)
    return x.contiguous()


def _seed(name: str, entropy: int | Sequence[int]) -> int:
    """Return an augmentation's own seed, whichever others are on."""
    if name in _SEED_OF:
        return int(np.random.SeedSequence(entropy).generate_state(4, np.uint64)[_SEED_OF[name]])
    numbers = [entropy] if isinstance(entropy, int) else list(entropy)
    of_name = np.random.SeedSequence([*numbers, zlib.crc32(name.encode())])
    return int(of_name.generate_state(1, np.uint64)[0])


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    shrinks = height < x.shape[2]
    return torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=shrinks)


def _between(low: float, high: float, shape: Sequence[int], rng: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=rng) * (high - low) + low


def _rows(n: int, p: float, rng: torch.Generator) -> Tensor:
    """Return the numbers of the rows that a chance of p takes."""
    return torch.nonzero(torch.rand(n, generator=rng) < p)[:, 0]


def _geometry(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    from kornia.geometry.transform import warp_perspective

    moves = homographies(len(x), x.shape[2], x.shape[3], settings, rng).to(x)
    size = (x.shape[2], x.shape[3])
    return warp_perspective(x, moves, size, padding_mode="border", align_corners=True)


def homographies(
    n: int, height: int, width: int, settings: BatchAugmentation, rng: torch.Generator
) -> Tensor:
    """Return (n, 3, 3): where each image's pixels go, x before y, pixel centers whole."""
    roll, yaw, pitch = (
        torch.deg2rad(_between(-most, most, (n,), rng))
        for most in (settings.rotation_deg, settings.yaw_deg, settings.pitch_deg)
    )
    scale = _between(settings.scale_least, settings.scale_most, (n,), rng)
    shift = _between(-settings.translation, settings.translation, (n, 2), rng)
    flips = torch.ones(n, 2)
    flips[_rows(n, settings.horizontal_flip, rng), 0] = -1
    flips[_rows(n, settings.vertical_flip, rng), 1] = -1
    # A flat image turned about its middle, seen from _FOCAL sides away.
    turned = torch.eye(3).repeat(n, 1, 1)
    turned[:, 0, 0], turned[:, 1, 1] = yaw.cos(), pitch.cos()
    turned[:, 0, 1] = yaw.sin() * pitch.sin()
    turned[:, 2, 0] = -yaw.sin() / _FOCAL / max(height, width)
    turned[:, 2, 1] = yaw.cos() * pitch.sin() / _FOCAL / max(height, width)
    moved = torch.eye(3).repeat(n, 1, 1)
    moved[:, 0, 0], moved[:, 0, 1] = scale * roll.cos(), -scale * roll.sin()
    moved[:, 1, 0], moved[:, 1, 1] = scale * roll.sin(), scale * roll.cos()
    moved[:, :2, :2] *= flips[:, None]
    moved[:, :2, 2] = shift * torch.tensor([width, height])
    center = torch.eye(3)
    center[:2, 2] = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    matrices: Tensor = center @ moved @ turned @ torch.linalg.inv(center)
    return matrices


def _appearance(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    brightness, contrast, saturation = (
        _between(1 - spread, 1 + spread, (len(x),), rng).to(x)
        for spread in (settings.brightness, settings.contrast, settings.saturation)
    )
    hue = _between(-settings.hue, settings.hue, (len(x),), rng).to(x)
    x = jitter(x, brightness, contrast, saturation, hue)
    x = _shadowed(x, settings, rng)
    x = _blurred(x, settings, rng)
    rows = _rows(len(x), settings.jpeg_p, rng)
    for row in rows.tolist():
        x[row] = _jpeg(x[row], settings.jpeg_quality)
    if settings.gray_p:  # drawn last: the draws of the others are as without it
        rows = _rows(len(x), settings.gray_p, rng)
        luma = x.new_tensor(_LUMA)[None, :, None, None]
        x[rows] = (x[rows] * luma).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return x


def jitter(
    x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """Return (n, 3, h, w) images with changed light and color, cut to [0, 1].

    Each (n,): factors of brightness (from black), of contrast (from the image's mean gray) and
    of saturation (from each pixel's gray), and turns of the color circle (in the YIQ plane,
    which keeps the light as it is). All four are one matrix an image.
    """
    luma, one = x.new_tensor(_LUMA), torch.ones_like(x[:, 0, 0, 0])
    to_yiq = x.new_tensor(_YIQ)
    spin = torch.zeros(len(x), 3, 3).to(x)
    angle = hue * 2 * math.pi
    spin[:, 0, 0] = one
    spin[:, 1, 1], spin[:, 1, 2] = angle.cos(), angle.sin()
    spin[:, 2, 1], spin[:, 2, 2] = -angle.sin(), angle.cos()
    saturate = saturation[:, None, None] * torch.eye(3).to(x)
    saturate = saturate + (1 - saturation)[:, None, None] * luma.expand(3, 3)
    matrix = torch.linalg.inv(to_yiq) @ spin @ to_yiq @ saturate
    matrix = matrix * (brightness * contrast)[:, None, None]
    gray = torch.einsum("nchw,c->n", x, luma) / x[0, 0].numel()
    constant = ((1 - contrast) * brightness * gray)[:, None, None].expand(-1, 3, 1)
    return torch.baddbmm(constant, matrix, x.flatten(2)).clamp_(0, 1).view_as(x)


def _shadowed(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    rows = _rows(len(x), settings.shadow_p, rng)
    direction = _between(0, 2 * math.pi, (len(rows), 1, 1, 1), rng).to(x)
    edge = _between(-0.5, 0.5, (len(rows), 1, 1, 1), rng).to(x)
    down, across = (torch.linspace(-1, 1, side).to(x) for side in x.shape[2:])
    slope = down[:, None] * direction.sin() + across * direction.cos()
    # An edge as soft as a twentieth of the image.
    shade = ((slope - edge) * 20).sigmoid()
    x[rows] = x[rows] * (1 - (1 - settings.shadow_factor) * shade)
    return x


def _blurred(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    from kornia.filters import gaussian_blur2d

    rows = _rows(len(x), settings.blur_p, rng)
    widths = torch.arange(settings.blur_least, settings.blur_most + 1, 2)
    drawn = widths[torch.randint(len(widths), (len(rows),), generator=rng)]
    for kernel in set(drawn.tolist()):
        chosen = rows[drawn == kernel]
        sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8  # OpenCV's for a kernel
        spread = torch.full((len(chosen), 2), sigma).to(x)
        x[chosen] = gaussian_blur2d(x[chosen], (kernel, kernel), spread)
    return x


def _jpeg(photo: Tensor, quality: int) -> Tensor:
    """Return (3, h, w) as OpenCV's coder leaves it: ten times faster than kornia's."""
    pixels = (photo.detach().cpu() * 255).round().byte().permute(1, 2, 0).numpy()
    _, coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[:, :, ::-1])
    return (torch.from_numpy(decoded).permute(2, 0, 1).float() / 255).to(photo)


def _occlusion(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    x = x.clone()
    height, width = x.shape[2:]
    gray = ((x - x[:, :1]).abs().amax(dim=(1, 2, 3)) < 1 / 512).tolist()
    rows = _rows(len(x), settings.erase_p, rng)
    area = _between(settings.erase_least, settings.erase_most, (len(rows),), rng)
    aspect = _between(math.log(0.3), math.log(3.3), (len(rows),), rng).exp()
    at = torch.rand(len(rows), 2, generator=rng)
    for number, row in enumerate(rows.tolist()):
        h = min(height, max(1, round(float((area * aspect)[number].sqrt()) * height)))
        w = min(width, max(1, round(float((area / aspect)[number].sqrt()) * width)))
        top, left = int(at[number, 0] * (height - h + 1)), int(at[number, 1] * (width - w + 1))
        noise = torch.rand(3, h, w, generator=rng).to(x)
        if gray[row]:
            noise = noise[:1].expand(3, -1, -1)
        x[row, :, top : top + h, left : left + w] = noise
    rows = _rows(len(x), settings.noise_p, rng)
    draw = torch.rand(len(rows), 1, height, width, generator=rng).to(x)
    noisy = x[rows].masked_fill(draw < settings.noise_amount / 2, 0)
    x[rows] = noisy.masked_fill(draw > 1 - settings.noise_amount / 2, 1)
    return x


def _random_views(x: Tensor, settings: BatchAugmentation, rng: torch.Generator) -> Tensor:
    """Random views of whole crops. (Training draws them image by image, with the landmarks.)"""
    numbers = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
    height, width = x.shape[2:]
    square = _resized(x, height, height) if width != height else x
    pixels = (square.detach().cpu() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    whole = crop_matrices(height, np.full((5, 2), np.nan, np.float32), height)
    views = [random_view(one, whole, height, RandomViewSettings(), numbers) for one in pixels]
    changed = (torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255).to(x)
    return _resized(changed, height, width) if width != height else changed


AugmentBatch = Callable[[Tensor, BatchAugmentation, torch.Generator], Tensor]
"""Returns the images changed: (n, 3, h, w) RGB float in [0, 1]; draws from the generator alone."""

AUGMENTATIONS: Final[dict[str, AugmentBatch]] = {
    RANDOM_VIEWS: _random_views,
    "geometry": _geometry,
    "appearance": _appearance,
    "occlusion": _occlusion,
}
"""Name → function, in the order in which they are applied."""
announce_registry("moppet.augmentations", AUGMENTATIONS)


def find_augmentation(name: str) -> AugmentBatch:
    """Return an augmentation by its name, plugins included; UsageError for an unknown name."""
    load_plugins("moppet.augmentations", AUGMENTATIONS, Callable)
    if name not in AUGMENTATIONS:
        raise UsageError(f"there is no augmentation {name!r}.{name_hint(name, AUGMENTATIONS)}")
    return AUGMENTATIONS[name]
