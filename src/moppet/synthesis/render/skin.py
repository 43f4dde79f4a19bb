"""The head's skin: its tone, blood, spots and pores, and the wrinkles of the moment.

Colors are mixed by absorption: melanin takes away blue most, blood green. So a blush reddens light
skin and hardly shows on dark skin, as in life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.files import replacing
from moppet.synthesis.render.camera import LUMINANCE
from moppet.synthesis.render.head_assets import HeadAssets
from moppet.synthesis.render.mesh import Material, Part
from moppet.synthesis.render.scene import Person
from moppet.synthesis.render.shapes import Reals
from moppet.synthesis.render.skin_atlas import Atlas, atlas_uv, draw_atlas, soften, to_atlas
from moppet.synthesis.render.wrinkles import EYES_DISTANCE, EYES_HEIGHT, LINES, Wrinkles
from moppet.synthesis.settings import seed_of
from moppet.values import Floats, MoppetError, UsageError

MONK_TONES: Final = (
    *("#f6ede4", "#f3e7db", "#f7ead0", "#eadaba", "#d7bd96"),
    *("#a07e56", "#825c43", "#604134", "#3a312a", "#292420"),
)
"""The ten tones as published in sRGB (E. Monk, The Monk Skin Tone Scale, 2019; skintone.google)."""
_REFLECTANCE: Final = (0.72, 1.1)
"""What share of a tone's light the skin reflects, at tones 1 and 10. The tones are those of photos;
light skin reflects less than the paper that they are printed on, dark skin gains by its gloss."""
_MELANIN: Final = np.array([0.30, 0.55, 0.85], np.float32)
_BLOOD: Final = np.array([0.05, 0.60, 0.66], np.float32)
_BASE_BLOOD: Final = 0.26
"""Absorption of red, green and blue: of melanin, of blood beneath the surface; blood everywhere."""


def skin_part(
    part: Part,
    person: Person,
    movements: Mapping[str, float],
    assets: HeadAssets,
    *,
    size: int = 512,
    blush: float = 0.0,
    texture: str = "",
) -> Part:
    """Return the head's skin, whose uv are hm08's, as a part with its material.

    size: of the images, in pixels. blush: 0 to 1, how flushed crying or anger has made the face.
    texture: name of a skin in the asset folder that lends its detail ("skin_cf"), or "".
    """
    material = skin_material(person, movements, assets, size=size, blush=blush, texture=texture)
    return replace(part, uv=atlas_uv(part.uv), material=material)


def skin_material(
    person: Person,
    movements: Mapping[str, float],
    assets: HeadAssets,
    *,
    size: int = 512,
    blush: float = 0.0,
    texture: str = "",
) -> Material:
    """Return the skin's material in the atlas's layout; see `skin_part`."""
    rest = _resting(_Key.of(person, size, texture), assets)
    slope, groove = skin_layout(assets, size).wrinkles.mix(movements, person.age_years)
    color = groove[..., None] * -_GROOVE_SHADE
    if blush > 0:
        color -= (np.float32(blush) * rest.blush)[..., None] * _BLOOD
    np.exp(color, out=color)
    color *= rest.color
    slope += rest.slope
    normal = np.empty((size, size, 3), np.float32)
    length = np.sqrt(1 + slope[..., 0] ** 2 + slope[..., 1] ** 2)
    normal[..., 0], normal[..., 1] = -slope[..., 0] / length, slope[..., 1] / length
    normal[..., 2] = 1 / length
    return Material(
        color=color,
        normal_map=normal,
        ambient=rest.ambient * (1 - np.float32(0.35) * np.minimum(groove, 1)),
        roughness=0.52 if person.age_years < 12 else 0.46,
        specular=0.35,
        scattering=0.8 if person.age_years < 12 else 0.65,
    )


_GROOVE_SHADE: Final = np.array([0.22, 0.36, 0.40], np.float32)


def tone_color(tone: float) -> Floats:
    """Return a Monk tone's linear color, (3,), mixed in Lab between the two nearest ones."""
    if not 1 <= tone <= 10:
        raise UsageError(f"skin_tone must lie between 1 and 10, not {tone!r}")
    codes = np.array([[int(code[k : k + 2], 16) for k in (1, 3, 5)] for code in MONK_TONES])
    lab = cv2.cvtColor(codes[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    place = np.array([np.interp(tone, np.arange(1, 11), lab[:, k]) for k in range(3)])
    rgb = cv2.cvtColor(place[None, None].astype(np.float32), cv2.COLOR_LAB2RGB)[0, 0]
    return to_linear(rgb)


def skin_color(tone: float) -> Floats:
    """Return the mean reflectance of skin of a tone, linear, (3,)."""
    dark = (tone - 1) / 9
    color = tone_color(tone) * np.interp(dark, (0, 1), _REFLECTANCE)
    # The samples of the darkest and lightest tones are almost gray; skin itself is warmer.
    warm = max(dark - 0.6, 0.0) * np.array([0.9, 0.1, -0.6], np.float32)
    warm = warm + max(0.35 - dark, 0.0) * np.array([0.08, 0.0, -0.25], np.float32)
    return np.asarray(color * (1 + warm), np.float32)


def to_linear(srgb: Floats | Sequence[float]) -> Floats:
    """Return sRGB colors, 0 to 1, as linear light."""
    values = np.asarray(srgb, np.float32)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


@dataclass(frozen=True)
class _Key:
    """What of a person the resting skin depends on."""

    seed: int
    age: float
    male: float
    tone: float
    hair_color: tuple[float, float, float]
    scalp: float
    brows: float
    size: int
    texture: str

    @classmethod
    def of(cls, person: Person, size: int, texture: str) -> _Key:
        from moppet.synthesis.render.brows import brow_strength
        from moppet.synthesis.render.hair import scalp_shade

        return cls(
            *(person.seed, person.age_years, person.sex, person.skin_tone, person.hair_color),
            *(scalp_shade(person), brow_strength(person), size, texture),
        )


@dataclass(frozen=True)
class _Resting:
    """A person's skin without any movement. blush: where blood rushes to, 0 to 1."""

    color: Floats
    slope: Floats
    ambient: Floats
    blush: Floats


@dataclass(frozen=True)
class SkinLayout:
    """What holds for every person: the atlas, its regions, and the wrinkles.

    regions: name → (size, size), 0 to 1.
    """

    atlas: Atlas
    regions: Mapping[str, Floats]
    wrinkles: Wrinkles


_FORMAT: Final = 3
_LAYOUTS: Final[dict[tuple[str, int], SkinLayout]] = {}
_RESTING: Final[dict[tuple[str, _Key], _Resting]] = {}
_KEPT: Final = 8


def skin_layout(assets: HeadAssets, size: int) -> SkinLayout:
    """Return the atlas, regions and wrinkles of an image size; drawn once, then cached on disk."""
    found = _LAYOUTS.get((assets.key, size))
    if found is None:
        arrays = _layout_arrays(assets, size)
        fields = ("position", "normal", "open", "pixel_length", "covered")
        atlas = Atlas(*(arrays[f"atlas {field}"] for field in fields))
        found = SkinLayout(atlas, draw_regions(atlas), Wrinkles.from_arrays(size, arrays))
        _LAYOUTS[assets.key, size] = found
    return found


def _layout_arrays(assets: HeadAssets, size: int) -> dict[str, NDArray[Any]]:
    """Return the drawn atlas and wrinkles, from moppet's cache folder if they are there."""
    import platformdirs

    name = f"{seed_of(assets.key, size, _FORMAT, repr(LINES)):x}.npz"
    cached = platformdirs.user_cache_path("moppet", appauthor=False) / "skin" / name
    with suppress(Exception), np.load(cached, allow_pickle=False) as archive:  # damaged: made anew
        return dict(archive)
    skin = assets.vertices[: assets.skin_count]
    atlas = draw_atlas(skin, assets.uv, assets.quads, assets.quad_uv, size)
    arrays: dict[str, NDArray[Any]] = {
        "atlas position": atlas.position,
        "atlas normal": atlas.normal,
        "atlas open": atlas.open,
        "atlas pixel_length": atlas.pixel_length,
        "atlas covered": atlas.covered,
        **Wrinkles.draw(atlas).arrays(),
    }
    with suppress(MoppetError), replacing(cached) as part:  # a cache folder may be read-only
        np.savez(part, **arrays)  # type: ignore[arg-type]
    return arrays


_UPPER_LIP: Final = (
    (-0.41, -1.075),
    (-0.27, -0.99),
    (-0.11, -0.915),
    (-0.04, -0.925),
    (0.0, -0.935),
)
_LOWER_LIP: Final = ((-0.33, -1.19), (-0.2, -1.265), (-0.07, -1.295), (0.0, -1.295))
_BROW: Final = (
    *((0.15, 0.22), (0.17, 0.14), (0.50, 0.19), (0.70, 0.18)),
    *((0.88, 0.10), (0.70, 0.23), (0.50, 0.26)),
)


def draw_regions(atlas: Atlas) -> dict[str, Floats]:
    """Return the parts of the face in the atlas: name → (size, size), 0 to 1, softly bordered."""
    place = ((atlas.position - [0, EYES_HEIGHT, 0]) / EYES_DISTANCE).astype(np.float32)
    x, y, z = place[..., 0], place[..., 1], place[..., 2]
    side = np.abs(x)

    def near(cx: float, cy: float, cz: float, radius: float, high: float = 1.0) -> Floats:
        away = (side - cx) ** 2 + ((y - cy) / high) ** 2 + 0.5 * (z - cz) ** 2
        return np.asarray(np.exp(-0.5 * away / radius**2), np.float32)

    half = [*_UPPER_LIP, *((-px, py) for px, py in _UPPER_LIP[-2::-1])]
    lips = _front_mask(
        place, [*half, *((-px, py) for px, py in _LOWER_LIP), *_LOWER_LIP[::-1]], 0.02
    )
    front = _step(z, 1.75, 0.1)
    scalp = scalp_share(place)
    ears = _step(side, 1.16, 0.05) * near(1.3, -0.3, 0.75, 0.45)
    inside = np.zeros_like(side)
    inside[int(0.17 * atlas.size) :, : int(0.058 * atlas.size)] = 1  # the mouth's own island
    beard = _step(-y, 0.72, 0.05) * _step(z, 0.95, 0.15) * (1 - near(0, -0.62, 2.5, 0.2))
    regions = {
        "lips": lips * _step(z, 2.1, 0.1),
        "cheeks": near(0.66, -0.52, 1.95, 0.27),
        "nose": near(0.0, -0.6, 2.65, 0.17) + 0.5 * near(0.25, -0.66, 2.3, 0.1),
        "ears": ears,
        "chin": near(0.0, -1.58, 2.35, 0.2),
        "forehead": near(0.2, 0.65, 2.2, 0.5, 0.7) * (1 - scalp),
        "upper_lids": near(0.53, 0.1, 2.2, 0.19, 0.42),
        "under_eyes": near(0.5, -0.2, 2.2, 0.16, 0.5),
        "eye_rims": near(0.53, 0.0, 2.2, 0.24, 0.45) * _step(-atlas.open, -0.6, 0.1),
        "muzzle": near(0.0, -1.08, 2.45, 0.34, 0.8) * (1 - lips),
        "face": front,
        "scalp": scalp,
        "brows": _front_mask(place, _BROW, 0.03) + _front_mask(place * [-1, 1, 1], _BROW, 0.03),
        "beard": beard * (1 - lips) * _step(-side, -1.15, 0.06),
    }
    return {name: region * (1 - inside) for name, region in regions.items()} | {"inside": inside}


def _step(values: Reals, at: float, width: float) -> Floats:
    """Return 0 below a value and 1 above it, with a soft border."""
    return np.asarray(1 / (1 + np.exp(np.clip((at - values) / (width / 2), -30, 30))), np.float32)


def scalp_share(place: Reals) -> Floats:
    """Return where hair grows, 0 to 1: above the forehead, before and behind the ears, the nape.

    place: (..., 3), of the reference head, in distances between the pupils, 0 between the eyes.
    """
    side, y, z = np.abs(place[..., 0]), place[..., 1], place[..., 2]
    line = np.interp(side, (0.0, 0.5, 0.85, 1.05, 1.2, 1.4), (1.02, 1.0, 0.83, 0.42, 0.05, 0.0))
    front = _step(y - line.astype(np.float32), 0.06, 0.14)
    back = _step(-z, -0.55, 0.1) * _step(y, -0.75, 0.1)
    away = ((side - 1.3) / 0.25) ** 2 + ((y + 0.3) / 0.33) ** 2 + ((z - 0.8) / 0.35) ** 2
    ear = np.exp(-0.75 * away)
    return np.asarray(np.maximum(front, back) * (1 - ear), np.float32)


def _front_mask(place: Reals, outline: Sequence[tuple[float, float]], soft: float) -> Floats:
    """Return where an outline, drawn on the face as seen from the front, lies in the atlas."""
    scale, origin = 200, np.array([-2.0, 2.0])
    canvas = np.zeros((800, 800), np.uint8)
    corners = (np.array(outline) - origin) * [scale, -scale]
    cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    blurred = soften(canvas, soft * scale).astype(np.float32) / 255
    x = ((place[..., 0] - origin[0]) * scale).astype(np.float32)
    y = ((origin[1] - place[..., 1]) * scale).astype(np.float32)
    drawn = cv2.remap(blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(drawn * _step(place[..., 2], 1.0, 0.1), np.float32)


def _resting(key: _Key, assets: HeadAssets) -> _Resting:
    found = _RESTING.get((assets.key, key))
    if found is None:
        while len(_RESTING) >= _KEPT:
            del _RESTING[next(iter(_RESTING))]
        layout = skin_layout(assets, key.size)
        found = _RESTING[assets.key, key] = _paint(
            key, layout, _detail(key.texture, assets, layout)
        )
    return found


def _paint(key: _Key, layout: SkinLayout, detail: Floats | None) -> _Resting:
    """Return a person's resting skin. detail: relative lightness from a photographed skin."""
    rng = np.random.default_rng(seed_of("skin", key.seed))
    regions, size = layout.regions, key.size
    dark = (key.tone - 1) / 9
    young = float(np.interp(key.age, (0, 3, 12, 20), (1.0, 0.7, 0.3, 0.0)))
    old = float(np.interp(key.age, (35, 80), (0.0, 1.0)))
    blood = _blood(regions, young, old) + _clouds(rng, size, 12) * 0.05
    melanin = _melanin(regions, dark, old) + _clouds(rng, size, 16) * (0.05 + 0.06 * old)
    melanin += _spots(key, layout, rng, old)
    pores = rng.standard_normal((size, size)).astype(np.float32)
    pores = pores - soften(pores, 1.6)
    rough = float(np.interp(key.age, (0, 8, 18, 60), (0.006, 0.010, 0.022, 0.035)))
    visible = 1.0 - 0.8 * dark
    depth = melanin[..., None] * _MELANIN + visible * blood[..., None] * _BLOOD
    light = rough * pores if detail is None else detail
    color = skin_color(key.tone) * np.exp(light[..., None] - depth)
    color *= np.exp(_BASE_BLOOD * visible * float(_BLOOD @ LUMINANCE))
    color = _lips(color, key, regions, dark, young, old)
    color = _hair_roots(color, key, regions, pores)
    inside = regions["inside"][..., None]
    color = color * (1 - inside) + inside * np.array([0.20, 0.055, 0.05], np.float32)
    height = np.asarray(
        pores * (0.0001 + 0.0004 * (1 - young) + 0.0003 * old) * (1 - 0.6 * regions["lips"])
    )
    slope = np.stack(np.gradient(height)[::-1], axis=2) / layout.atlas.pixel_length
    blush = 0.30 * regions["face"] + 0.55 * regions["cheeks"] + 0.5 * regions["nose"]
    blush += 0.3 * regions["forehead"] + 0.4 * regions["ears"] + 0.3 * regions["upper_lids"]
    return _Resting(
        np.asarray(np.clip(color, 0.002, 0.95), np.float32),
        slope.astype(np.float32),
        np.asarray(np.clip(layout.atlas.open, 0.05, 1) * (1 - 0.6 * regions["inside"]), np.float32),
        np.asarray(visible * blush, np.float32),
    )


def _blood(regions: Mapping[str, Floats], young: float, old: float) -> Floats:
    rosy = 1 + 0.7 * young
    return np.asarray(
        _BASE_BLOOD
        + rosy * (0.20 * regions["cheeks"] + 0.14 * regions["nose"] + 0.22 * regions["ears"])
        + 0.08 * regions["chin"]
        + (0.08 + 0.08 * young) * regions["upper_lids"]
        + (0.08 + 0.08 * old) * regions["under_eyes"]
        + 0.45 * regions["eye_rims"]
        - 0.05 * regions["forehead"]
        + 0.08 * old * regions["nose"],
        np.float32,
    )


def _melanin(regions: Mapping[str, Floats], dark: float, old: float) -> Floats:
    return np.asarray(
        (0.06 + 0.16 * dark) * regions["under_eyes"] * (0.5 + 0.5 * old)
        + (0.05 + 0.14 * dark) * regions["upper_lids"]
        + 0.10 * dark * (regions["muzzle"] + regions["forehead"])
        - 0.05 * dark * regions["cheeks"],
        np.float32,
    )


def _clouds(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Return soft blotches, (size, size), about -1 to 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        grid = rng.standard_normal((cells << octave, cells << octave)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) / 2 ** (octave + 1)
    return total


def _spots(key: _Key, layout: SkinLayout, rng: np.random.Generator, old: float) -> Floats:
    """Return freckles (light skin, from three years on), moles and age spots, as melanin."""
    size, regions = key.size, layout.regions
    spots = np.zeros((size, size), np.float32)
    freckled = rng.random() < 0.3 and key.tone < 5 and key.age > 3
    sunny = (
        regions["cheeks"] + regions["nose"] + 0.25 * regions["forehead"] + 0.02 * regions["face"]
    )
    kinds = (
        (int(rng.integers(120, 420)) if freckled else 0, sunny, (0.3, 0.75), (0.10, 0.38)),
        (int(rng.integers(0, 5)) if key.age > 4 else 0, regions["face"], (0.7, 1.3), (0.7, 1.4)),
        (int(60 * old), regions["face"], (1.0, 3.0), (0.08, 0.3)),
    )
    for count, where, radii, depths in kinds:
        chances = np.cumsum(np.where(layout.atlas.covered, where, 0).ravel().astype(np.float64))
        for place in np.searchsorted(chances, rng.random(count) * chances[-1]):
            row, column = divmod(int(place), size)
            layer = np.zeros((13, 13), np.float32)
            radius = rng.uniform(*radii) * size / 512
            yy, xx = np.mgrid[-6:7, -6:7]
            layer = np.exp(-0.5 * (xx**2 + yy**2) / radius**2) * rng.uniform(*depths)
            if 6 <= row < size - 7 and 6 <= column < size - 7:
                window = spots[row - 6 : row + 7, column - 6 : column + 7]
                np.maximum(window, layer, out=window)
    return spots


def _lips(
    color: Floats, key: _Key, regions: Mapping[str, Floats], dark: float, young: float, old: float
) -> Floats:
    """Return the color with lips: rosy on light skin, brown with a rose tint on dark skin."""
    red = 0.85 - 0.3 * dark + 0.1 * young - 0.3 * old - 0.15 * key.male
    lips = color * np.exp(-red * np.array([0.22, 0.95, 0.72], np.float32)) * (1 + 0.3 * dark)
    lips += dark * np.array([0.016, 0.004, 0.004], np.float32)
    share = regions["lips"][..., None] * 0.85
    return np.asarray(color * (1 - share) + lips * share, np.float32)


def _hair_roots(color: Floats, key: _Key, regions: Mapping[str, Floats], noise: Floats) -> Floats:
    """Return the color with what hair leaves on the skin: scalp, brows and a man's stubble."""
    rng = np.random.default_rng(seed_of("stubble", key.seed))
    grown = float(np.interp(key.age, (15, 22), (0, 1))) * float(key.male > 0.6)
    stubble = grown * rng.choice([0.1, 0.25, 0.5], p=[0.5, 0.3, 0.2])
    strands = np.clip(0.75 + 0.35 * noise, 0, 1.3)
    share = key.scalp * regions["scalp"] * np.clip(0.9 + 0.1 * noise, 0, 1)
    share = np.maximum(share, 0.35 * key.brows * regions["brows"] * strands)
    share = np.clip(np.maximum(share, stubble * regions["beard"] * strands), 0, 1)[..., None]
    hair = to_linear(key.hair_color) * 0.8
    return np.asarray(color * (1 - share) + hair * share, np.float32)


def _detail(name: str, assets: HeadAssets, layout: SkinLayout) -> Floats | None:
    """Return the fine lightness of one of the asset folder's skins, as logarithms."""
    if not name:
        return None
    if name not in assets.textures:
        known = ", ".join(n for n in assets.textures if n.startswith("skin_")) or "none"
        raise UsageError(f"{name!r} is no skin of the asset folder; it has: {known}")
    image = cv2.imread(str(assets.textures[name]), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise MoppetError(f"{assets.textures[name]} cannot be read: it is no image.")
    light = np.log(
        np.maximum(to_linear(to_atlas(image / np.float32(255), layout.atlas.size)), 0.01)
    )
    kept = layout.atlas.size / 512
    return np.asarray(light - soften(light, 5 * kept), np.float32)
