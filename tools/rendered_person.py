"""One invented person in one image, path-traced, with the truth about the face.

Used by render_example.py. The head comes from the rendering sketch, passed in as `sf`.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np

BUILD = {"gender": 0.5, "weight": 0.55}

# Action units beyond 1 are wanted: the units come from adults, and small faces show less of them.
EXPRESSIONS: dict[str, dict[str, Any]] = {
    "neutral": {},
    "happiness": {"B": (0.02, 0.02, 0), "AU12": 1.45, "AU6": 1.15, "AU11": 0.7, "AU20": 0.35,
                  "AU25": 1.0, "AU26": 0.3, "AU7": 0.2},
    "surprise": {"B": (0.17, 0.17, 0), "AU5": 0.18, "AU26": 0.75},
    "sadness": {"B": (0.2, -0.05, 0.07), "AU15": 1.15, "AU15b": 1.0, "AU17": 0.9, "AU7": 0.3},
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One invented person: the arguments of the sketch's `build`."""

    name: str
    look: dict[str, Any]
    exposure: float = 1.0


@dataclass(frozen=True)
class Shot:
    """One person in one image: expression, head pose in degrees, and place in the image.

    units: action units as in EXPRESSIONS, by the sketch's names.
    zoom: 1 lets the head fill about two thirds of the height.
    shift: (right, down), in image heights, from the place in the middle.
    """

    person: Person
    units: dict[str, Any]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float] = (30.0, 40.0)  # azimuth, elevation of the key light, degrees
    seed: int = 0


def person(
    name: str, race: dict[str, float], years: float, exposure: float = 1.0, **look: Any
) -> Person:
    """Return a person; races sum to 1, exposure is as a camera would set it for this skin."""
    return Person(name, {"race": race, "years": years, **BUILD, **look}, exposure)


# ---------- camera and truth


@dataclass(frozen=True)
class Camera:
    """A pinhole on the z axis; all its own units are those of the mesh (decimetres)."""

    width: int
    height: int
    center: np.ndarray  # what stands in the middle of the image
    distance: float
    fov_deg: float = 18.0

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the points (n, 3) in pixels (n, 2), x to the right and y down."""
        focal_px = self.height / 2 / np.tan(np.radians(self.fov_deg / 2))
        scale = focal_px / (self.distance - (points[:, 2] - self.center[2]))
        x = self.width / 2 + scale * (points[:, 0] - self.center[0])
        y = self.height / 2 - scale * (points[:, 1] - self.center[1])
        return np.stack([x, y], 1)


def camera_for(info: dict[str, Any], shot: Shot, size: tuple[int, int]) -> Camera:
    eyes = (info["le"] + info["re"]) / 2
    height = (info["headtop"] - eyes[1]) * 2.75 / shot.zoom
    center = np.array([0.0, eyes[1] - 0.10 * height, eyes[2]])
    center += height * np.array([-shot.shift[0], shot.shift[1], 0.0])
    return Camera(*size, center=center, distance=height / 2 / np.tan(np.radians(9.0)))


def posed(points: np.ndarray, info: dict[str, Any], shot: Shot) -> np.ndarray:
    """Return the points turned with the head, exactly as the sketch turns its meshes."""
    a, b, c = np.radians([shot.yaw, shot.pitch, shot.roll])
    turn_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    neck, head = info["neck"], info["head"]
    t = np.clip((points[:, 1] - neck[1] + 0.15) / max(head[1] - neck[1], 0.2), 0, 1)[:, None]
    t = t * t * (3 - 2 * t)
    turned = (points - head) @ (turn_z @ turn_y @ turn_x).T + head
    return points * (1 - t) + turned * t


def movement(sf: ModuleType, target: str) -> np.ndarray:
    """Return how far the target moves each vertex: the mesh has no names, its targets have."""
    return np.linalg.norm(sf.T(target), axis=1)


def mouth_corner(sf: ModuleType, info: dict[str, Any], side: int) -> np.ndarray:
    """Return the point half way from the upper lip's last vertex to the fold beside it."""
    outward = info["neu"][:, 0] * side
    lip = movement(sf, "id/mouth/mouth-upperlip-volume-incr")
    last = np.argmax(np.where(lip > 0.1 * lip.max(), outward, -np.inf))
    fold = np.argmax(np.where(outward > 0, movement(sf, "id/mouth/mouth-angles-up"), -1))
    return (info["v"][last] + info["v"][fold]) / 2


def face_truth(sf: ModuleType, info: dict[str, Any], shot: Shot, camera: Camera) -> dict[str, Any]:
    """Return box_px (x, y, w, h) and landmarks_px of the face in the image.

    The box runs from the hairline to the chin and from ear to ear. Landmarks in the usual order:
    the viewer's left pupil, right pupil, nose tip, the viewer's left and right mouth corner.
    """
    neutral, now = info["neu"], info["v"]

    ear = neutral[movement(sf, "id/ears/l-ear-scale-incr") > 0.02]
    chin = movement(sf, "id/chin/chin-height-incr")
    eyes_y = (info["le"][1] + info["re"][1]) / 2
    hairline_y = eyes_y + 0.62 * (info["headtop"] - eyes_y)
    front = neutral[:, 2] > (ear[:, 2].mean() + neutral[:, 2].max()) / 2  # not what is below it
    chin_y = neutral[front & (chin > 0.5 * chin.max())][:, 1].min()
    skin = np.unique(sf.Z["body_f"])
    y, z = neutral[skin, 1], neutral[skin, 2]
    face = skin[(y >= chin_y) & (y <= hairline_y) & (z >= ear[:, 2].mean())]
    outline = camera.project(posed(now[face], info, shot))
    low, high = outline.min(0), outline.max(0)

    corners = [mouth_corner(sf, info, side) for side in (-1, 1)]
    nose = now[np.argmax(movement(sf, "id/nose/nose-point-up"))]
    pupils = sorted((info["le"], info["re"]), key=lambda eye: eye[0])
    front_z = sf.proxy("eyes", neutral)[:, 2].max()  # the helpers are the eyeballs' middles
    pupils = [np.array([eye[0], eye[1], front_z]) for eye in pupils]
    landmarks = camera.project(posed(np.array([*pupils, nose, *corners]), info, shot))
    return {
        "box_px": [round(float(n), 1) for n in (*low, *(high - low))],
        "landmarks_px": [[round(float(n), 1) for n in point] for point in landmarks],
    }


# ---------- images


def light_from(sf: ModuleType, shot: Shot) -> np.ndarray:
    return sf.envmap(np.random.default_rng(3), *shot.light, key=1.0, fill=0.6)


def render_shot(
    sf: ModuleType, shot: Shot, size: tuple[int, int], samples: int, maps: dict[Any, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the person as a float image (height, width, 4), color premultiplied, and the truth.

    maps: kept between calls; the sketch stores each person's expression transfer in it.
    """
    pose = {"yaw": shot.yaw, "pitch": shot.pitch, "roll": shot.roll}
    shapes, info = sf.build(aus=shot.units, cache=maps, **pose, **shot.person.look)
    camera = camera_for(info, shot, size)
    target = camera.center.tolist()
    origin = [target[0], target[1], target[2] + camera.distance]
    look = sf.mi.ScalarTransform4f().look_at(origin=origin, target=target, up=[0, 1, 0])
    scene = sf.mi.load_dict({
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 5, "hide_emitters": True},
        "sensor": {
            "type": "perspective", "fov": camera.fov_deg, "fov_axis": "y", "to_world": look,
            "film": {"type": "hdrfilm", "width": size[0], "height": size[1],
                     "pixel_format": "rgba", "rfilter": {"type": "gaussian"}},
            "sampler": {"type": "independent", "sample_count": samples},
        },
        "env": {"type": "envmap", "bitmap": sf.mi.Bitmap(light_from(sf, shot))},
        **shapes,
    })  # fmt: skip
    image = np.array(sf.mi.render(scene, seed=shot.seed))
    image[..., :3] *= shot.person.exposure
    image[..., :3] = np.minimum(image[..., :3], 4.0)  # single hot samples, not highlights
    image[..., 3] = np.clip(image[..., 3], 0, 1)
    return image, face_truth(sf, info, shot, camera)


def backdrop(size: tuple[int, int], color: tuple[float, float, float], seed: int) -> np.ndarray:
    """Return a softly lit wall as a linear float image (height, width, 3)."""
    width, height = size
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    shade = 1 - 0.22 * (x - 0.25) ** 2 - 0.18 * (y + 0.3) ** 2 - 0.08 * x
    blotches = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), height / 9)
    shade = shade + 0.05 * blotches / np.abs(blotches).max()
    return shade[..., None] * np.array(color)


def composite(sf: ModuleType, layers: list[np.ndarray], wall: np.ndarray) -> np.ndarray:
    """Return the layers over the wall, the last in front, as an RGB uint8 image."""
    linear = wall
    for layer in layers:
        rgb = layer[..., :3] / (1 + 0.18 * layer[..., :3])
        linear = rgb + (1 - layer[..., 3:]) * linear
    shown = (sf.to_srgb(linear) * 255 + 0.5).astype(np.uint8)
    if not layers:
        return shown
    return cv2.fastNlMeansDenoisingColored(shown, None, 3, 4, 3, 9)
