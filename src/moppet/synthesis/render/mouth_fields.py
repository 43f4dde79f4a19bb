"""Fields of our own around the mouth, measured on the head itself: corners, lips and chin.

MakeHuman's and ARKit's units move an adult's lips. On small heads they hardly move them, and some
pull the corners the wrong way. These fields follow the appearance changes of the FACS manual
(Ekman, Friesen & Hager 2002) and are as large on every head, relative to its mouth.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from moppet.synthesis.render.face_topology import LIP_RINGS, face_topology
from moppet.synthesis.render.head_assets import HeadAssets
from moppet.values import Floats
from moppet.vocabulary import SIDES

_EDGE: Final = -LIP_RINGS[0]
_CHIN: Final = np.array([0.0, 6.24, 1.45], np.float32)
"""Its tip on the adult base mesh."""
_LINE: Final = (0.7, 1.1)
"""Share of the mouth's half width from its middle, up to which lips part fully, and where they
meet."""


def mouth_fields(neutral: Floats, assets: HeadAssets) -> dict[str, Floats]:
    """Return name → field, (n, 3), of a head, (n, 3). Its unit is half the mouth's width.

    Of each side: corner_down_<side>, corner_in_<side> (into the cheek), stretch_<side> and
    upper_up_<side>, lower_down_<side> (lips that part). Of both: lip_up, chin_up, lower_out.
    """
    mouth = _Mouth(neutral, assets)
    fields = {
        "lip_up": mouth.field(0, 1, 0.12, _hill(mouth.u, 0, 0.55) * mouth.tall(0.5, 1.2)),
        "chin_up": mouth.field(0, 1, 0.25, _hill(mouth.u, 0, 0.62) * mouth.chin(0.3)),
        "lower_out": mouth.field(0, 0.2, 1, _hill(mouth.u, 0, 0.6) * _hill(mouth.v, -0.3, 0.22)),
    }
    for side, sign in zip(SIDES, (1, -1), strict=True):
        for name, field in mouth.side(sign).items():
            fields[f"{name}_{side}"] = field
    return fields


class _Mouth:
    """A mouth's own coordinates: u to the person's left and v up from the line where lips meet.

    u is 1 at the left corner. upper: (n,), 1 for the upper lip and what lies above it.
    """

    def __init__(self, neutral: Floats, assets: HeadAssets) -> None:
        lips = face_topology(assets).lips
        line = neutral[lips.rings[_EDGE]]
        left, right = line[line[:, 0].argmax()], line[line[:, 0].argmin()]
        self.unit = float(left[0] - right[0]) / 2
        middle = (left + right) / 2
        self.u = (neutral[:, 0] - middle[0]) / self.unit
        self.v = (neutral[:, 1] - middle[1]) / self.unit
        self.front = _ramp((neutral[:, 2] - middle[2]) / self.unit, -1.1, -0.4)
        self.front[assets.skin_count :] = 0
        chin = ((assets.vertices[: assets.skin_count] - _CHIN) ** 2).sum(axis=1).argmin()
        self.chin_v = float(self.v[chin])
        order = line[:, 0].argsort()
        meeting = np.interp(neutral[:, 0], line[order, 0], line[order, 1])
        self.upper = (neutral[:, 1] > meeting).astype(np.float32)
        self.upper[lips.rings] = lips.upper

    def field(self, dx: float, dy: float, dz: float, amount: Floats) -> Floats:
        """Return a field, (n, 3), that moves points by (dx, dy, dz) times an amount, (n,)."""
        shift = np.array([dx, dy, dz], np.float32) * np.float32(self.unit)
        return np.asarray((self.front * amount)[:, None] * shift, np.float32)

    def tall(self, above: float, below: float) -> Floats:
        """Return 1 at the lips, falling to 0 over these heights above and below."""
        return _ramp(-self.v, -above, -0.1) * _ramp(self.v, -below - 0.45, -below)

    def chin(self, width: float) -> Floats:
        """Return 1 at the boss of the chin, falling to 0 over this height, faster below it."""
        middle = 0.85 * self.chin_v
        return _hill(self.v, middle, np.where(self.v < middle, 0.45 * width, width))

    def side(self, sign: int) -> dict[str, Floats]:
        """Return the fields of one side; sign: 1 of the person's left, -1 of the right."""
        u, v = sign * self.u, self.v
        height = np.where(v > 0, 0.75, 0.5)
        corner = _hill(u, 1.0, 0.42) * _hill(v, -0.05, height)
        pouch = _hill(u, 1.05, 0.32) * _hill(v, -0.75, 0.3)
        down = self.field(0.3 * sign, -1, -0.15, corner) + self.field(0, 0, 0.3, pouch)
        close = _hill(u, 1.05, 0.3) * _hill(v, 0, 0.35)
        fold = _hill(u, 1.5, 0.2) * _hill(v, -0.05, 0.45)
        into = self.field(0.55 * sign, 0, -0.75, close) + self.field(0, 0, 0.45, fold)
        into[:, 1] -= self.front * (0.9 * close * v * self.unit).astype(np.float32)
        reach = np.where(u < 1, np.clip(u, 0, 1), _hill(u, 1, 0.55)) * _hill(v, 0, 0.7)
        half = _ramp(u, -0.15, 0.15) * (1 - _ramp(u, *_LINE))
        upper = self.upper * half * _hill(v, 0, 0.55)
        lower = (1 - self.upper) * half * _hill(v, 0, 0.6)
        return {
            "corner_down": down,
            "corner_in": into,
            "stretch": self.field(sign, -0.12, -0.3, reach),
            "upper_up": self.field(0, 1, 0.1, upper),
            "lower_down": self.field(0, -1, 0.05, lower),
        }


def _hill(t: Floats, middle: float, width: Floats | float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((t - middle) / width) ** 2), np.float32)


def _ramp(t: Floats, low: float, high: float) -> Floats:
    """Return 0 below low, 1 above high, and a smooth step between."""
    s = np.clip((t - low) / (high - low), 0, 1)
    return np.asarray(s * s * (3 - 2 * s), np.float32)
