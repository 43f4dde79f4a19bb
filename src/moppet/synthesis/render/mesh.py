"""What the renderers draw: parts with a material, lit by lights, seen by a view.

Right-handed axes: x to the person's left (the viewer's right), y up, z from the person to the
camera. Lengths are in decimeters, as in MakeHuman. Colors are linear, not sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moppet.values import Floats

Indices = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Material:
    """How a surface looks.

    color: (3,), or an image (height, width, 3) that the part's uv points into.
    alpha: (height, width), 0 to 1, for hair, brows and lashes; None where it is opaque.
    normal_map: (height, width, 3), tangent-space normals with z near 1; None where smooth.
    ambient: (height, width), 0 to 1: how much of the surrounding light reaches the surface.
    roughness: 0 mirror to 1 chalk. specular: 0 to 1, reflectance at right angles (0.5 is 4 %).
    scattering: 0 to 1: how far light softens inside (skin); it bleeds red past shadows.
    two_sided: for cloth, leaves and hair. Other surfaces enclose something solid: seen from
        inside they are black, and they cast shadows with their front.
    """

    color: Floats
    alpha: Floats | None = None
    normal_map: Floats | None = None
    ambient: Floats | None = None
    roughness: float = 0.5
    specular: float = 0.3
    scattering: float = 0.0
    two_sided: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """A mesh of triangles with one material.

    vertices: (n, 3). normals: (n, 3), of length 1. uv: (n, 2), 0 to 1, v upward (v = 1 is the
    image's first row). triangles: (m, 3), counter-clockwise seen from outside.
    """

    name: str
    vertices: Floats
    normals: Floats
    uv: Floats
    triangles: Indices
    material: Material


@dataclass(frozen=True, kw_only=True)
class LightSource:
    """A distant light. direction: (3,), from the scene to the light, of length 1.

    color: (3,): a white matt surface that faces it gets this brightness.

    size: angular radius in radians: 0 casts hard shadows, 0.5 soft ones.
    """

    direction: Floats
    color: Floats
    size: float = 0.1


@dataclass(frozen=True, kw_only=True)
class View:
    """A perspective camera. eye, target: (3,); up: (3,); fov_degrees: of the image's height."""

    eye: Floats
    target: Floats
    up: Floats
    fov_degrees: float = 18.0


@dataclass(frozen=True, kw_only=True)
class MeshScene:
    """All that a renderer needs: it returns (height, width, 3), linear, float32.

    sky, ground: (3,), light from above and from below, blended by the normal's height: a white
        surface that looks up has the sky's brightness.
    background: (height, width, 3), linear, already of the image's size.
    """

    parts: tuple[Part, ...]
    lights: tuple[LightSource, ...]
    sky: Floats
    ground: Floats
    view: View
    background: Floats
    landmarks: dict[str, Floats] = field(default_factory=dict)
    """Points of the posed head, (3,) each: left_eye, right_eye, nose_tip, mouth_left, mouth_right,
    chin, head_top, and what else the truth names."""
