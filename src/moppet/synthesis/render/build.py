"""From a scene to an image: builds what the renderers draw, and takes the picture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from moppet.synthesis.render.appearance import person_parts
from moppet.synthesis.render.camera import LUMINANCE, develop, view_of
from moppet.synthesis.render.clothing import dressed
from moppet.synthesis.render.head_assets import load_assets
from moppet.synthesis.render.head_mesh import Head
from moppet.synthesis.render.mesh import MeshScene, Part, View
from moppet.synthesis.render.occluders import visible_shares
from moppet.synthesis.render.people import Looks, folder_looks
from moppet.synthesis.render.scene import Background, HeadPose, Light, Person, Scene
from moppet.synthesis.render.skin import skin_color
from moppet.synthesis.render.surroundings import background_image, light_level, lights_of
from moppet.synthesis.render.truth import Rendered, face_box, project
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

_SKIN_PX: Final = {256: 130, 512: 200}
"""Size of the skin's images → below which height of the face, in pixels; 1024 for larger ones."""
_MOST_HEADS: Final = 6
_HEADS: Final[dict[tuple[str, Path | None], Head]] = {}
"""The heads of the people met last."""
_RESTING: Final[dict[tuple[str, Path | None], Mapping[str, Floats]]] = {}


class Sitter(NamedTuple):
    """A person of a scene as parts, in decimeters, with the points of the posed head.

    regions: patches over eyes and mouth, not drawn, from which `visible_shares` are measured; none
        where the scene has no occluder.
    """

    parts: tuple[Part, ...]
    landmarks: Mapping[str, Floats]
    regions: tuple[Part, ...]


@dataclass(frozen=True)
class Studio:
    """What renders scenes.

    assets: folder of assets, None for those of the installed package. renderer: "rasterizer" or
        "mitsuba". Heads are kept: scenes of one person one after another are fast.
    """

    assets: Path | None = None
    renderer: str = "rasterizer"

    @property
    def looks(self) -> Looks | None:
        """What the asset folder adds to people, None without one."""
        return folder_looks(load_assets(self.assets)) if self.assets else None

    def check(self) -> None:
        """Raise an error if the assets or the renderer cannot be loaded."""
        load_assets(self.assets)
        _load_renderer(self.renderer)

    def render_square(self, scene: Scene, size: int) -> Rendered:
        """Return the image of a scene, (size, size), with where the face is."""
        sitter = build_sitter(scene, self.assets, size * scene.camera.face_share)
        view = view_of(scene, sitter.landmarks)
        image = self.take(scene, sitter.parts, view, size, size)
        visible = visible_shares(sitter.parts, sitter.regions, view)
        return Rendered(image, *in_image(sitter.landmarks, view, size, size), visible)

    def take(
        self,
        scene: Scene,
        parts: Sequence[Part],
        view: View,
        height: int,
        width: int,
        frame: int = 0,
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return the image, (height, width, 3), of parts in the scene's light and background.

        frame: of a clip; each has its own noise.
        """
        mesh_scene = build_mesh_scene(scene, parts, view, height, width)
        linear = _load_renderer(self.renderer)(mesh_scene, (height, width))
        skin = float(skin_color(scene.person.skin_tone) @ LUMINANCE)
        rng = np.random.default_rng(seed_of("develop", repr(scene), frame))
        return develop(linear, scene.camera, skin, rng, light_level=light_level(scene.light))


def build_scene(scene: Scene, assets: Path | None, size: int) -> MeshScene:
    """Return what the renderers draw of a scene in a square image of this size."""
    sitter = build_sitter(scene, assets, size * scene.camera.face_share)
    view = view_of(scene, sitter.landmarks)
    return build_mesh_scene(scene, sitter.parts, view, size, size)


def build_mesh_scene(
    scene: Scene, parts: Sequence[Part], view: View, height: int, width: int
) -> MeshScene:
    """Return parts in the light of a scene and before its background."""
    sources, sky, ground = lights_of(scene.light)
    background = _background(scene.background, scene.light, height, width)
    return MeshScene(
        parts=tuple(parts),
        lights=sources,
        sky=sky,
        ground=ground,
        view=view,
        background=background,
    )


def build_sitter(scene: Scene, assets: Path | None = None, face_px: float = 100.0) -> Sitter:
    """Return the person of a scene with its facial movements, pose and occluders.

    face_px: height of the face in the image; a larger face gets a finer skin.
    """
    head = _head(scene.person, assets)
    posed = head.pose(scene.movements, scene.pose)
    skin_px = next((px for px, most in _SKIN_PX.items() if face_px < most), 1024)
    parts = person_parts(head, posed, scene.movements, size=skin_px, texture=scene.person.skin)
    skin = skin_color(scene.person.skin_tone)
    all_parts, regions = dressed(parts, scene, head, posed, skin)
    return Sitter(all_parts, posed.landmarks, regions)


def placed(sitter: Sitter, right: float) -> Sitter:
    """Return a person moved to the image's right, by decimeters."""
    if not right:
        return sitter
    step = np.array([right, 0, 0], np.float32)

    def shifted(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(replace(part, vertices=part.vertices + step) for part in parts)

    landmarks = {name: point + step for name, point in sitter.landmarks.items()}
    return Sitter(shifted(sitter.parts), landmarks, shifted(sitter.regions))


def neutral_landmarks(person: Person, assets: Path | None = None) -> Mapping[str, Floats]:
    """Return the points of a person's head at rest that looks into the camera."""
    key = (repr(person), assets)
    if key not in _RESTING:
        if len(_RESTING) >= _MOST_HEADS:
            _RESTING.clear()
        _RESTING[key] = _head(person, assets).pose({}, HeadPose()).landmarks
    return _RESTING[key]


def in_image(
    landmarks: Mapping[str, Floats], view: View, height: int, width: int
) -> tuple[dict[str, tuple[float, float]], tuple[float, float, float, float]]:
    """Return where the landmarks are in the image, in pixels, and a box around the face."""
    points = {name: project(point, view, width, height) for name, point in landmarks.items()}
    return points, face_box(points)


@functools.lru_cache(maxsize=4)
def _background(background: Background, light: Light, height: int, width: int) -> Floats:
    return background_image(background, light, height, width)


def _head(person: Person, folder: Path | None) -> Head:
    key = (repr(person), folder)
    if key not in _HEADS:
        while len(_HEADS) >= _MOST_HEADS:
            del _HEADS[next(iter(_HEADS))]
        _HEADS[key] = Head(person, load_assets(folder))
    return _HEADS[key]


def _load_renderer(name: str) -> Callable[[MeshScene, tuple[int, int]], Floats]:
    module = {"rasterizer": "rasterizer", "mitsuba": "mitsuba_renderer"}[name]
    render: Callable[[MeshScene, tuple[int, int]], Floats]
    render = import_module(f"moppet.synthesis.render.{module}").render
    return render
