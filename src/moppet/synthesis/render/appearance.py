"""A person's own parts as they are drawn: skin, eyes, mouth, brows, lashes and hair."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moppet.synthesis.render.brows import brow_parts, lash_parts
from moppet.synthesis.render.eyes_teeth import eye_part, mouth_parts
from moppet.synthesis.render.hair import hair_parts
from moppet.synthesis.render.head_mesh import Head, PosedHead
from moppet.synthesis.render.mesh import Material, Part
from moppet.synthesis.render.skin import skin_part

_FLUSHED: Mapping[str, float] = {
    "brow_lower_left": 0.25,
    "brow_lower_right": 0.25,
    "lip_press": 0.2,
    "nose_wrinkle_left": 0.1,
    "nose_wrinkle_right": 0.1,
}


def person_parts(
    head: Head,
    posed: PosedHead,
    movements: Mapping[str, float],
    *,
    size: int = 512,
    blush: float | None = None,
    texture: str = "",
) -> list[Part]:
    """Return the parts of a posed head; clothes and what covers the face come on top.

    movements: those that `posed` shows; wrinkles follow them. size: of the skin's images, pixels.
    blush: 0 to 1, how flushed the face is; None derives it from the movements (`flush`).
    texture: name of a skin of the asset folder ("skin_cf") that lends its detail.
    """
    bare = posed.shapes["skin"].part("skin", Material(color=np.ones(3, np.float32)))
    flushed = flush(movements, head.person.age_years) if blush is None else blush
    skin = skin_part(
        bare, head.person, movements, head.assets, size=size, blush=flushed, texture=texture
    )
    return [
        skin,
        eye_part(head, posed),
        *mouth_parts(head, posed),
        *brow_parts(head, posed),
        *lash_parts(head, posed),
        *hair_parts(head, posed),
    ]


def flush(movements: Mapping[str, float], age_years: float) -> float:
    """Return how flushed effort makes the face, 0 to 1: crying infants turn red, adults little.

    It follows the strain of brows, lids and a wide mouth that crying and rage have together.
    """
    strain = sum(share * max(movements.get(name, 0.0), 0) for name, share in _FLUSHED.items())
    lids = (movements.get("lid_tighten_left", 0.0) + movements.get("lid_tighten_right", 0.0)) / 2
    cry = 0.9 * lids * max(movements.get("jaw_open", 0.0), 0) * min(1.0, 2 * strain + 0.2)
    young = float(np.interp(age_years, (0, 4, 14, 25), (1.0, 0.8, 0.5, 0.35)))
    return float(np.clip(young * (0.5 * strain + cry), 0, 1))
