"""Painted strands: the textures of hair cards, curls, brows and lashes."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np

from moppet.synthesis.render.mesh import Material
from moppet.synthesis.render.shapes import Reals
from moppet.synthesis.render.skin import to_linear
from moppet.synthesis.render.skin_atlas import soften
from moppet.values import MoppetError

_SIZE = 256


def hair_material(
    color: tuple[float, float, float], seed: int, light: Reals, alpha: Reals
) -> Material:
    """Return hair of a color, sRGB. light: relative lightness; alpha; both (height, width)."""
    shift = np.random.default_rng(seed).normal(0, 0.02, 3).astype(np.float32)
    tone = to_linear(color) * np.exp(shift)
    # Light strands are also yellower, dark ones redder, as hair is in the sun.
    image = tone * np.stack([light**0.95, light, light**1.1], axis=2)
    return Material(
        color=np.clip(image, 0.002, 0.9).astype(np.float32),
        alpha=alpha.astype(np.float32),
        roughness=0.5,
        specular=0.25,
        two_sided=True,
    )


@functools.lru_cache(maxsize=4)
def card_texture(fine: bool = False) -> tuple[Reals, Reals]:
    """Return lightness and alpha of four locks side by side, roots at the top."""
    rng = np.random.default_rng(11)
    light = np.full((_SIZE, _SIZE), 0.8, np.float32)
    alpha = np.zeros((_SIZE, _SIZE), np.float32)
    column = _SIZE // 4
    for lock in range(4):
        for _ in range(12 if fine else 54):
            _strand(light, alpha, lock * column, column, fine, rng)
    alpha = soften(alpha, 0.6)
    root = np.clip(np.linspace(0, 4.5, _SIZE, dtype=np.float32), 0, 1)[:, None]
    return light * (
        0.72 + 0.28 * np.linspace(0, 1, _SIZE, dtype=np.float32)[:, None] ** 0.5
    ), alpha * root


def _strand(
    light: Reals, alpha: Reals, left: int, column: int, fine: bool, rng: np.random.Generator
) -> None:
    start = column / 2 + rng.normal(0, column * (0.3 if fine else 0.25))
    end = start + rng.normal(0, column * 0.08)
    wave = rng.normal(0, column * 0.03)
    length = int(_SIZE * rng.uniform(0.5, 1.0))
    t = np.linspace(0, 1, 24)
    x = np.clip(start + (end - start) * t + wave * np.sin(5 * t + rng.uniform(0, 6)), 2, column - 3)
    points = np.stack([left + x, t * length], axis=1)
    tone = float(np.exp(rng.normal(0, 0.28)))
    thick = 1 if fine else int(rng.choice([1, 1, 1, 2]))
    for k in range(len(t) - 1):
        a, b = (tuple(int(v * 8) for v in points[k + d]) for d in (0, 1))
        fade = float(np.clip((1 - t[k]) * 2.2, 0, 1)) * (0.5 if fine else 1.0)
        layer = thick if t[k] < 0.6 else 1
        cv2.line(light, a, b, tone, layer, cv2.LINE_8, 3)
        cv2.line(alpha, a, b, fade, layer, cv2.LINE_8, 3)


@functools.lru_cache(maxsize=2)
def clump_texture() -> tuple[Reals, Reals]:
    """Return lightness and alpha of four tufts of curls, two by two."""
    rng = np.random.default_rng(12)
    light = np.full((_SIZE, _SIZE), 0.6, np.float32)
    alpha = np.zeros((_SIZE, _SIZE), np.float32)
    half = _SIZE // 2
    for corner in ((0, 0), (0, half), (half, 0), (half, half)):
        for _ in range(110):
            angle, far = rng.uniform(0, 2 * np.pi), half * 0.37 * rng.random() ** 0.7
            middle = np.array(corner) + half / 2 + far * np.array([np.cos(angle), np.sin(angle)])
            axes = (int(rng.uniform(5, 11)), int(rng.uniform(4, 9)))
            place = (int(middle[0]), int(middle[1]))
            tilt, start = rng.uniform(0, 360), rng.uniform(0, 360)
            tone = float(np.exp(rng.normal(0, 0.35)))
            for image, value in ((light, tone), (alpha, 1.0)):
                cv2.ellipse(image, place, axes, tilt, start, start + 250, value, 2, cv2.LINE_8)
    return light, np.clip(soften(alpha, 0.8) * 1.2, 0, 1)


@functools.lru_cache(maxsize=16)
def picture(file: Path) -> tuple[Reals, Reals]:
    """Return an asset's texture as relative lightness, about 1, and alpha; (height, width) each."""
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise MoppetError(f"{file} cannot be read: it is no color image.")
    alpha = (
        image[..., 3] / np.float32(255)
        if image.shape[2] == 4
        else np.ones(image.shape[:2], np.float32)
    )
    light = to_linear(image[..., :3] / np.float32(255)).mean(axis=2)
    seen = alpha > 0.3
    return np.clip(light / max(float(light[seen].mean()), 1e-4), 0.2, 3), alpha
