"""Axes and surface of a posed head: where things are laid onto it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy.ndimage

from moppet.synthesis.render.shapes import Reals
from moppet.values import Floats

_CELL: Final = 0.05  # of the surface map, in distances between the eyes


class HeadFrame:
    """A posed head's own axes: x to the person's left, y up, z out of the face.

    The middle between the eyes is 0, 0, 0, and the distance between the eyes is 1, so that what
    fits one head fits every head.
    """

    def __init__(
        self,
        landmarks: Mapping[str, Floats],
        skin: Floats,
        rotation: Floats,
        body_rotation: Floats | None = None,
    ) -> None:
        """landmarks: points of the posed head. skin: (n, 3), vertices of skin and clothes, posed.

        rotation: (3, 3), of the head: it turns a vector of the head that looks at the camera.
        body_rotation: (3, 3), the same of the body; None for a body that faces the camera.
        """
        body = np.eye(3, dtype=np.float32) if body_rotation is None else body_rotation
        self._given = (landmarks, skin, body)
        left, right = landmarks["left_eye"], landmarks["right_eye"]
        self.unit = float(np.linalg.norm(left - right))
        self._origin = (left + right) / 2
        self._rotation = np.asarray(rotation, np.float64)
        self.skin = self.local(skin)
        self.points = {name: self.local(point) for name, point in landmarks.items()}

    def local(self, points: Reals) -> Floats:
        """Return points of the scene in the head's axes; any shape that ends with 3."""
        return np.asarray((points - self._origin) @ self._rotation / self.unit, np.float32)

    def world(self, points: Reals) -> Floats:
        """Return points in the head's axes as points of the scene."""
        turned = np.asarray(points) @ self._rotation.T
        return np.asarray(turned * self.unit + self._origin, np.float32)

    @functools.cached_property
    def body(self) -> HeadFrame:
        """The same head in the body's axes, for what does not turn with the head."""
        landmarks, skin, rotation = self._given
        return HeadFrame(landmarks, skin, rotation, rotation)

    @functools.cached_property
    def mouth(self) -> Floats:
        """The middle of the mouth, (3,), on the skin in front."""
        x, y, _ = (self.points["mouth_left"] + self.points["mouth_right"]) / 2
        return self.on_face(np.array([x, y], np.float32), smooth=0.1)

    @functools.cached_property
    def skull(self) -> tuple[Floats, Floats]:
        """The middle and the half axes, (3,) each, of an ellipsoid around the skull."""
        upper = self.skin[self.skin[:, 1] > 0.75]
        low, high = upper.min(axis=0), upper.max(axis=0)
        middle = np.array([0, 0.35, (low[2] + high[2]) / 2], np.float32)
        half = (high - low) / 2
        return middle, np.array([half[0], high[1] - 0.35, half[2]], np.float32)

    def on_face(self, xy: Reals, smooth: float = 0.0) -> Floats:
        """Return points on the face's front: (…, 2) → (…, 3).

        smooth: standard deviation of what evens out the surface; it never sinks below the skin.
        """
        low, surface = self._front(smooth)
        place = ((xy - low) / _CELL).reshape(-1, 2).T
        z = scipy.ndimage.map_coordinates(surface, place, order=1, mode="nearest")
        return np.concatenate([xy, z.reshape(*xy.shape[:-1], 1)], axis=-1).astype(np.float32)

    @functools.lru_cache(maxsize=16)  # noqa: B019  a frame lives for one image
    def _front(self, smooth: float) -> tuple[Floats, Reals]:
        front = self.skin[self.skin[:, 2] > -1.2]
        low = np.array([-4.0, -7.0], np.float32)
        shape = (round(8 / _CELL) + 1, round(10 / _CELL) + 1)
        cells = np.rint((front[:, :2] - low) / _CELL).astype(int)
        inside = ((cells >= 0) & (cells < shape)).all(axis=1)
        cells, front = cells[inside], front[inside]
        surface = np.full(shape, -np.inf)
        np.maximum.at(surface, (cells[:, 0], cells[:, 1]), front[:, 2])
        nearest = scipy.ndimage.distance_transform_edt(
            np.isinf(surface), return_distances=False, return_indices=True
        )
        surface = scipy.ndimage.grey_closing(surface[tuple(nearest)], (5, 5))
        if smooth:
            sigma = smooth / _CELL
            wide = 2 * round(sigma / 2) + 1
            swollen = scipy.ndimage.grey_dilation(surface, (wide, wide))
            even = scipy.ndimage.gaussian_filter((surface + swollen) / 2, sigma)
            least = scipy.ndimage.gaussian_filter(scipy.ndimage.grey_dilation(surface, (3, 3)), 1)
            surface = np.maximum(even, least)
        return low, surface

    def around(self, heights: Reals, turns: int, *, least: float = 0.5) -> tuple[Floats, Floats]:
        """Return how far the skin reaches from the neck's vertical axis.

        heights: (rows,), descending. turns: equal angles, from the front to the left and on.
        Returns the radii, (rows, turns), and the axis' place, (2,), x and z:
        x = axis_x + r sin(angle), z = axis_z + r cos(angle).
        """
        axis = ((self.points["nape"] + self.points["throat"]) / 2)[[0, 2]].astype(np.float32)
        across, deep = (self.skin[:, [0, 2]] - axis).T
        angle = np.rint(np.arctan2(across, deep) / (2 * math.pi) * turns).astype(int) % turns
        middles = (heights[1:] + heights[:-1]) / 2
        row = np.searchsorted(-middles, -self.skin[:, 1])
        reach = abs(float(heights[0] - heights[-1])) / max(len(heights) - 1, 1)
        near = (self.skin[:, 1] < heights[0] + reach) & (self.skin[:, 1] > heights[-1] - reach)
        radii = np.full((len(heights), turns), least)
        np.maximum.at(radii, (row[near], angle[near]), np.hypot(across, deep)[near])
        return radii.astype(np.float32), axis
