"""The renderer for the best stills: Mitsuba 3 follows the paths of light through a scene.

It draws the same scenes as the rasterizer, slower and without its approximations: light goes
from surface to surface, and shadows are exact. Mitsuba compiles with LLVM where that works;
whether it does is tried once, in a process of its own.
"""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.files import write_text
from moppet.synthesis.render import rasterizer
from moppet.synthesis.render.mesh import LightSource, Material, MeshScene, Part, View
from moppet.values import Floats, MoppetError

_SCALAR: Final = "scalar_rgb"
_LLVM: Final = "llvm_ad_rgb"
_PATH_LENGTH: Final = 6
_FLATNESS: Final = 0.3
"""Of skin: more of it would darken a face that looks into the light."""
_BRIGHTEST: Final = 30.0
_GUIDE_CONTRAST: Final = 0.08
"""Relative steps of the rasterizer's image that count as an edge to keep."""
_HARD: Final = 0.02
"""Angular radius below which a light is a single direction."""
_ENVIRONMENT: Final = (256, 512)
_TRY_S: Final = 120
_TRY: Final = "from moppet.synthesis.render.mitsuba_renderer import try_llvm; try_llvm()"
_WORKS: Final = "llvm works"
_LIBRARIES: Final = (
    "/usr/lib/llvm-*/lib/libLLVM*.so*",
    "/usr/lib/*/libLLVM*.so*",
    "/usr/lib64/libLLVM*.so*",
    "/opt/homebrew/opt/llvm*/lib/libLLVM*.dylib",
)


def render(
    scene: MeshScene,
    size: tuple[int, int],
    *,
    samples: int = 64,
    denoised: bool = True,
    seed: int = 0,
) -> Floats:
    """Return the scene's image: (height, width, 3), linear, float32.

    size: height, width. samples: paths a pixel. denoised: with its noise filtered out.
    Raises MoppetError without mitsuba.
    """
    mi = load_mitsuba()
    height, width = size
    world = mi.load_dict(_scene_dict(mi, scene, height, width, samples))
    layers = np.array(mi.render(world, spp=samples, seed=seed), np.float32)
    layers = np.nan_to_num(layers, nan=0.0, posinf=0.0, neginf=0.0)
    layers[..., :3] = layers[..., :3].clip(0, _BRIGHTEST)
    image, alpha = layers[..., :3], np.clip(layers[..., 3:4], 0, 1)
    image = np.asarray(image + (1 - alpha) * scene.background, np.float32)
    return _denoised(image, rasterizer.render(scene, size)) if denoised else image


@functools.cache
def load_mitsuba() -> Any:
    """Return the module mitsuba, set to the fastest of its variants that works here."""
    try:
        import mitsuba as mi
    except ImportError as error:
        raise MoppetError(
            f"This renderer needs {error.name}. Install it with: pip install 'moppet[render]'"
        ) from error
    library = find_llvm()
    if library is not None:
        _use_library(library)
    mi.set_variant(_SCALAR if library is None else _LLVM)
    mi.set_log_level(mi.LogLevel.Error)
    return mi


# ----------------------------------------------------------------- whether LLVM works here


def find_llvm() -> str | None:
    """Return the LLVM library that Mitsuba can use: its path, "" for its own choice, or None.

    Some libraries crash Mitsuba. Each is tried in a process of its own; the result is remembered.
    """
    verdicts = _folder() / "llvm.json"
    key = _key()
    with suppress(OSError, ValueError, KeyError):
        known = json.loads(verdicts.read_text("utf-8"))[key]
        return known if known is None else str(known)
    found = next((path for path in _libraries() if _tried(path)), None)
    with suppress(MoppetError):
        write_text(verdicts, json.dumps({key: found}) + "\n")
    return found


def _libraries() -> list[str]:
    """Return the libraries to try: what the user chose, what Mitsuba chooses, and others."""
    chosen = os.environ.get("DRJIT_LIBLLVM_PATH")
    if chosen is not None:
        return [chosen]
    others = {str(Path(p).resolve()) for pattern in _LIBRARIES for p in glob(pattern)}
    return ["", *sorted(others, reverse=True)[:4]]


def _key() -> str:
    """Return what decides whether LLVM works: versions, machine, and the libraries at hand."""
    import platform
    from importlib.metadata import version

    parts = [version("mitsuba"), version("drjit"), platform.platform(), *_libraries()]
    return "|".join(parts)


def _folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("moppet", appauthor=False) / "mitsuba"


def _tried(library: str) -> bool:
    import moppet

    root = str(Path(moppet.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    if library:
        environment["DRJIT_LIBLLVM_PATH"] = library
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [sys.executable, "-c", _TRY],
            capture_output=True,
            timeout=_TRY_S,
            env=environment,
            check=False,
        )
        return done.returncode == 0 and _WORKS in done.stdout.decode(errors="replace")
    return False


def try_llvm() -> None:
    """Draw a small scene with LLVM in this process, and print whether it came out right."""
    import mitsuba as mi

    mi.set_variant(_LLVM)
    corners = np.array([[-9, -9, 0], [9, -9, 0], [0, 9, 0]], np.float32)
    part = Part(
        name="triangle",
        vertices=corners,
        normals=np.tile(np.array([0, 0, 1], np.float32), (3, 1)),
        uv=np.zeros((3, 2), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        material=Material(color=np.full(3, 0.5, np.float32), alpha=np.ones((2, 2), np.float32)),
    )
    axes = np.eye(3, dtype=np.float32)
    scene = MeshScene(
        parts=(part,),
        lights=(LightSource(direction=axes[2], color=np.ones(3, np.float32)),),
        sky=np.full(3, 0.2, np.float32),
        ground=np.full(3, 0.1, np.float32),
        view=View(eye=axes[2] * 9, target=axes[2] * 0, up=axes[1]),
        background=np.zeros((16, 16, 3), np.float32),
    )
    world = mi.load_dict(_scene_dict(mi, scene, 16, 16, 4))
    image = np.array(mi.render(world, spp=4))
    if np.isfinite(image).all() and 0.1 < image[8, 8, 0] < 2:
        print(_WORKS)


def _use_library(library: str) -> None:
    if library:
        os.environ["DRJIT_LIBLLVM_PATH"] = library


# ------------------------------------------------------------------------------- the scene


def _scene_dict(mi: Any, scene: MeshScene, height: int, width: int, samples: int) -> dict[str, Any]:
    view = scene.view
    place = mi.ScalarTransform4f().look_at(
        origin=view.eye.tolist(), target=view.target.tolist(), up=view.up.tolist()
    )
    world: dict[str, Any] = {
        "type": "scene",
        "integrator": {
            "type": "volpath",  # unlike "path", it lets light through the gaps of hair
            "max_depth": _PATH_LENGTH,
            "rr_depth": 4,
            "hide_emitters": True,
        },
        "sensor": {
            "type": "perspective",
            "fov": view.fov_degrees,
            "fov_axis": "y",
            "to_world": place,
            "near_clip": 0.05,
            "film": {
                "type": "hdrfilm",
                "width": width,
                "height": height,
                "pixel_format": "rgba",
                "rfilter": {"type": "box"},
            },
            "sampler": {"type": "independent", "sample_count": samples},
        },
        "surroundings": {"type": "envmap", "bitmap": mi.Bitmap(environment(scene))},
    }
    for k, light in enumerate(scene.lights):
        if light.size < _HARD:
            world[f"light{k}"] = _hard_light(light)
    for k, part in enumerate(scene.parts):
        if len(part.triangles):
            world[f"part{k}"] = _mesh(mi, f"part{k}", part)
    return world


def environment(scene: MeshScene) -> Floats:
    """Return sky, ground and the disks of soft lights as an image of the sphere, y upward."""
    rows, columns = _ENVIRONMENT
    down = np.arange(rows)[:, None] / (rows - 1) * math.pi
    around = np.arange(columns)[None] / columns * 2 * math.pi
    directions = np.stack(
        [
            np.sin(around) * np.sin(down),
            np.cos(down) + 0 * around,
            -np.cos(around) * np.sin(down),
        ],
        -1,
    )
    above = np.clip(0.5 + directions[..., 1:2] * rows / math.pi, 0, 1)
    image = above * scene.sky + (1 - above) * scene.ground
    solid_angle = np.sin(down) * (math.pi / (rows - 1)) * (2 * math.pi / columns)
    for light in scene.lights:
        if light.size >= _HARD:
            cosine = directions @ (light.direction / np.linalg.norm(light.direction))
            angle = np.arccos(np.clip(cosine, -1, 1))
            disk = np.clip((light.size - angle) * (rows / math.pi) + 0.5, 0, 1)
            received = float((disk * np.maximum(cosine, 0) * solid_angle).sum())
            image = image + disk[..., None] * light.color * (math.pi / max(received, 1e-6))
    return np.asarray(image, np.float32)


def _hard_light(light: LightSource) -> dict[str, Any]:
    return {
        "type": "directional",
        "direction": (-light.direction).tolist(),
        "irradiance": {"type": "rgb", "value": (math.pi * light.color).tolist()},
    }


def _mesh(mi: Any, name: str, part: Part) -> Any:
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(_surface(mi, part.material))
    mesh = mi.Mesh(
        name,
        len(part.vertices),
        len(part.triangles),
        props=properties,
        has_vertex_normals=True,
        has_vertex_texcoords=True,
    )
    uv = part.uv.astype(np.float32)
    uv[:, 1] = 1 - uv[:, 1]
    values = mi.traverse(mesh)
    values["vertex_positions"] = np.ascontiguousarray(part.vertices, np.float32).ravel()
    values["vertex_normals"] = np.ascontiguousarray(part.normals, np.float32).ravel()
    values["vertex_texcoords"] = uv.ravel()
    values["faces"] = part.triangles.astype(np.uint32).ravel()
    values.update()
    return mesh


def _surface(mi: Any, material: Material) -> dict[str, Any]:
    surface: dict[str, Any] = {
        "type": "principled",
        "base_color": _color(mi, material.color),
        "roughness": max(material.roughness, 0.03),
        "specular": material.specular,
        "flatness": _FLATNESS * min(max(material.scattering, 0.0), 1.0),
    }
    if material.normal_map is not None:
        bent = material.normal_map * 0.5 + 0.5
        surface = {"type": "normalmap", "normalmap": _bitmap(mi, bent), "surface": surface}
    if material.two_sided:
        surface = {"type": "twosided", "surface": surface}
    if material.alpha is not None:
        opacity = _bitmap(mi, material.alpha[..., None])
        surface = {"type": "mask", "opacity": opacity, "surface": surface}
    return surface


def _color(mi: Any, color: Floats) -> dict[str, Any]:
    if color.ndim == 1:
        return {"type": "rgb", "value": np.clip(color, 0, 1).tolist()}
    return _bitmap(mi, np.clip(color, 0, 1))


def _bitmap(mi: Any, image: NDArray[Any]) -> dict[str, Any]:
    bitmap = mi.Bitmap(np.ascontiguousarray(image, np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "clamp"}


# -------------------------------------------------------------------------------- the noise


def _denoised(image: Floats, guide: Floats) -> Floats:
    """Return the image smoothed where the guide, the rasterizer's image, is smooth as well.

    Edge-avoiding wavelets, Dammertz et al. (2010).
    """
    edges = np.asarray(np.log1p(4 * guide) / _GUIDE_CONTRAST, np.float32)
    for k in range(3):
        image = _smoothed(image, edges, 2**k, 0.5 / 2**k)
    return image


def _smoothed(image: Floats, edges: Floats, step: int, contrast: float) -> Floats:
    total, weights = np.zeros_like(image), np.zeros_like(image[..., :1])
    taps: Sequence[float] = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)
    tone = cv2.medianBlur(np.log1p(4 * image), 3)
    features = np.concatenate([tone / contrast, edges], 2)
    for down, row in zip(range(-2, 3), taps, strict=True):
        for right, column in zip(range(-2, 3), taps, strict=True):
            shift = (down * step, right * step)
            gap = ((np.roll(features, shift, (0, 1)) - features) ** 2).sum(-1, keepdims=True)
            weight = row * column * np.exp(-gap)
            total += weight * np.roll(image, shift, (0, 1))
            weights += weight
    return np.asarray(total / weights, np.float32)
