"""From a scene to an image: builds what the renderers draw, and takes the picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from moppet.synthesis.render.camera import LUMINANCE, develop, view_of
from moppet.synthesis.render.head_assets import HeadAssets, load_assets
from moppet.synthesis.render.head_mesh import Head
from moppet.synthesis.render.mesh import Material, MeshScene, Part, View
from moppet.synthesis.render.scene import HeadPose, Person, Scene
from moppet.synthesis.render.surroundings import background_image, light_level, lights_of
from moppet.synthesis.render.truth import Rendered, face_box, project
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

_HEADS: Final = 4
"""Heads that are kept, each with what is fitted to it."""


class Sitter(NamedTuple):
    """A person of a scene as parts, in decimeters, with the points of the posed head."""

    parts: tuple[Part, ...]
    landmarks: Mapping[str, Floats]


@dataclass(frozen=True)
class Studio:
    """What renders scenes.

    assets: folder of assets, None for those of the installed package. renderer: "rasterizer" or
        "mitsuba". Heads are kept: scenes of one person one after another are fast.
    """

    assets: Path | None = None
    renderer: str = "rasterizer"

    def check(self) -> None:
        """Raise an error if the assets or the renderer cannot be loaded."""
        _assets(self.assets)
        _load_renderer(self.renderer)

    def render_square(self, scene: Scene, size: int) -> Rendered:
        """Return the image of a scene, (size, size), with where the face is."""
        sitter = build_sitter(scene, self.assets)
        view = view_of(scene, sitter.landmarks)
        image = self.take(scene, sitter.parts, view, size, size)
        return Rendered(image, *_in_image(sitter.landmarks, view, size, size))

    def take(
        self, scene: Scene, parts: Sequence[Part], view: View, height: int, width: int, frame: int = 0
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return the image, (height, width, 3), of parts in the scene's light and background.

        frame: of a clip; each has its own noise.
        """
        mesh_scene = build_mesh_scene(scene, parts, view, height, width)
        linear = _load_renderer(self.renderer)(mesh_scene, (height, width))
        skin = float(tone_color(scene.person.skin_tone) @ LUMINANCE)
        rng = np.random.default_rng(seed_of("develop", repr(scene), frame))
        return develop(linear, scene.camera, skin, rng, light_level=light_level(scene.light))


def build_scene(scene: Scene, assets: Path | None, size: int) -> MeshScene:
    """Return what the renderers draw of a scene in a square image of this size."""
    sitter = build_sitter(scene, assets)
    view = view_of(scene, sitter.landmarks)
    return build_mesh_scene(scene, sitter.parts, view, size, size)
