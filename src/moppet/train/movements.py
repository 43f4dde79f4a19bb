"""Facial movements in training: their columns, and what teaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.rendered_truth import movement_truth
from moppet.files import read_arrays
from moppet.values import Floats, MoppetError
from moppet.vocabulary import (
    MOVEMENT_CHANNELS,
    MOVEMENT_OF,
    SIDED_MOVEMENTS,
    SIDES,
)

COLUMNS: Final = tuple(MOVEMENT_OF)
"""What is taught and may be exported: each movement, and the two sides of sided ones beside it.
A sided movement's plain name is the mean of both sides."""

MIRRORED: Final = {
    name: name[: -len(side)] + other
    for name in COLUMNS
    for side, other in (SIDES, SIDES[::-1])
    if name.endswith(f"_{side}")
}
"""Column of one side → that of the other."""
NEGATED: Final = frozenset({"gaze_x", "jaw_sideways"})
"""Movements that have the opposite sign in a mirror image."""

_LEAST_SPREAD: Final = 0.02
"""A blendshape with a smaller standard deviation says nothing: Face Landmarker gives always 0 for
the cheeks and the nose."""


def mixing(columns: Sequence[str], channels: Sequence[str] = MOVEMENT_CHANNELS) -> Floats:
    """Return (columns, channels): the weight of each of a network's channels in each column."""
    weights = np.zeros((len(columns), len(channels)), np.float32)
    for row, column in enumerate(columns):
        of = [column] if column in channels else [f"{column}_{side}" for side in SIDES]
        weights[row, [channels.index(name) for name in of]] = 1 / len(of)
    return weights


def mirror(names: Sequence[str]) -> tuple[NDArray[np.int64], Floats]:
    """Return what mirrors (n, names) values: which column each comes from, and its sign."""
    order = [names.index(MIRRORED.get(name, name)) for name in names]
    return np.array(order, np.int64), np.where([n in NEGATED for n in names], -1, 1).astype("f4")


_BLENDSHAPES: Final[Mapping[str, str]] = {
    "inner_brow_raise": "browInnerUp",
    "outer_brow_raise": "browOuterUp{Side}",
    "brow_lower": "browDown{Side}",
    "upper_lid_raise": "eyeWide{Side}",
    "cheek_raise": "cheekSquint{Side}",
    "lid_tighten": "eyeSquint{Side}",
    "nose_wrinkle": "noseSneer{Side}",
    "upper_lip_raise": "mouthUpperUp{Side}",
    "lip_corner_pull": "mouthSmile{Side}",
    "dimple": "mouthDimple{Side}",
    "lip_corner_depress": "mouthFrown{Side}",
    "lower_lip_depress": "mouthLowerDown{Side}",
    "chin_raise": "mouthShrugLower",
    "lip_pucker": "mouthPucker",
    "lip_stretch": "mouthStretch{Side}",
    "lip_funnel": "mouthFunnel",
    "lip_press": "mouthPress{Side}",
    "jaw_open": "jawOpen",
    "lip_suck": "mouthRollLower mouthRollUpper",
    "jaw_sideways": "jawLeft -jawRight",
    "cheek_puff": "cheekPuff",
    "blink": "eyeBlink{Side}",
    "gaze_x": "eyeLookOutLeft -eyeLookInLeft eyeLookInRight -eyeLookOutRight",
    "gaze_y": "eyeLookUp{Side} -eyeLookDown{Side}",
}
"""Movement → Face Landmarker's blendshapes: their mean, or half their sum where signs differ.

Its left and right are the person's own, as ours."""


def landmarker_targets(blendshapes: Floats, names: Sequence[str]) -> Floats:
    """Return Face Landmarker's answers as (n, COLUMNS) float32; NaN where it has none.

    blendshapes: (n, names), 0 to 1; NaN in rows without a face. Movements that it does not
    measure, or always as 0, are NaN.
    """
    values = np.asarray(blendshapes, np.float32)
    found = np.full((len(values), len(COLUMNS)), np.nan, np.float32)
    for movement, shapes in _BLENDSHAPES.items():
        sides = SIDES if "{Side}" in shapes and movement in SIDED_MOVEMENTS else ()
        for side in sides:
            terms = shapes.format(Side=side.title()).split()
            found[:, COLUMNS.index(f"{movement}_{side}")] = _combined(values, names, terms)
        both = [term.format(Side=side.title()) for side in SIDES for term in shapes.split()]
        terms = list(dict.fromkeys(both))
        found[:, COLUMNS.index(movement)] = _combined(values, names, terms)
    for column in range(len(COLUMNS)):
        known = found[np.isfinite(found[:, column]), column]
        if len(known) and known.std() < _LEAST_SPREAD:
            found[:, column] = np.nan
    return found


def _combined(values: Floats, names: Sequence[str], terms: Sequence[str]) -> Floats:
    """Return the mean of the blendshapes; of pairs with opposite signs, the mean difference."""
    signs = np.array([-1 if term.startswith("-") else 1 for term in terms], np.float32)
    part = values[:, [list(names).index(term.lstrip("-")) for term in terms]]
    pairs = len(terms) / 2 if (signs < 0).any() else len(terms)
    return np.asarray((part * signs).sum(axis=1) / max(1.0, pairs), np.float32)


def read_blendshapes(path: Path) -> Floats | None:
    """Return an .npz's blendshapes as `landmarker_targets`; None if it holds none.

    Raises MoppetError if the file cannot be read or is odd.
    """
    arrays = read_arrays(path, (), ("blendshapes", "blendshape_names"))
    if "blendshapes" not in arrays:
        return None
    try:
        return landmarker_targets(arrays["blendshapes"], arrays["blendshape_names"].tolist())
    except (KeyError, ValueError, IndexError):
        raise MoppetError(
            f"{path} holds no blendshapes of Face Landmarker: it needs blendshapes (n, 52) and "
            "blendshape_names (52,)."
        ) from None


def exact_targets(folder: Path, paths: Sequence[str]) -> Floats:
    """Return the true movements of rendered images, (n, COLUMNS) float32.

    folder: as `moppet synthesize render` writes it. paths: of the images, relative to it.
    Raises MoppetError if its truth cannot be read or lacks an image.
    """
    truth = movement_truth(folder, paths)
    if not set(MOVEMENT_CHANNELS) <= set(truth):
        raise MoppetError(f"{folder} has no truth of facial movements: render it again.")
    values = np.stack([truth[name] for name in MOVEMENT_CHANNELS], axis=1)
    if np.isnan(values).any():
        raise MoppetError(
            f"the truth in {folder} is not that of its images: render the folder again."
        )
    return np.asarray(values @ mixing(COLUMNS).T, np.float32)


def correlation(found: Floats, true: Floats) -> float:
    """Return Pearson's r over the rows that have both; NaN for fewer than 3 or without spread."""
    known = np.isfinite(found) & np.isfinite(true)
    a, b = found[known].astype(np.float64), true[known].astype(np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
