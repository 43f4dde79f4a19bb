"""Eyes, teeth by age, gums and tongue."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from moppet.synthesis.render.head_assets import Indices
from moppet.synthesis.render.head_mesh import Head, PosedHead
from moppet.synthesis.render.mesh import Material, Part
from moppet.synthesis.render.scene import Person
from moppet.synthesis.render.shapes import Reals
from moppet.synthesis.render.skin import to_linear
from moppet.synthesis.render.skin_atlas import soften
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

Body = tuple[Reals, Indices]
"""Vertices and triangles."""
_EYE_SIZE: Final = 192
_EYE_EDGE_DEGREES: Final = 100.0
"""The eyeball's uv: the distance from the middle is the angle from the gaze's axis."""


def eye_part(head: Head, posed: PosedHead) -> Part:
    """Return both eyeballs: iris of the person's color, pupil, sclera, and a wet cornea."""
    return posed.shapes["eyes"].part("eyes", eye_material(head.person))


def eye_material(person: Person) -> Material:
    """Return the eyes' material. Infants' irises fill more of the lid's opening."""
    color = _eye_color(person.seed, person.age_years, person.eye_color)
    return Material(color=color, roughness=0.08, specular=0.6)


@functools.lru_cache(maxsize=16)
def _eye_color(seed: int, age_years: float, eye_color: tuple[float, float, float]) -> Floats:
    rng = np.random.default_rng(seed_of("eyes", seed))
    place = ((np.arange(_EYE_SIZE) + 0.5) / _EYE_SIZE * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(place, -place)
    angle = np.hypot(x, y) * np.float32(_EYE_EDGE_DEGREES)
    around = np.arctan2(y, x)
    young = float(np.interp(age_years, (0, 2, 12), (1.0, 0.5, 0.0)))
    iris, pupil = 25.5 + 3.5 * young, float(rng.uniform(8.5, 11.0)) + young
    color = _sclera(angle, around, age_years, rng)
    ring = _iris(angle, around, iris, pupil, to_linear(eye_color), rng)
    inside = _below(angle, iris, 1.6)[..., None]
    color = color * (1 - inside) + ring * inside
    color = color * (1 - _below(angle, pupil, 1.0)[..., None] * 0.985)
    return np.asarray(color, np.float32)


def _below(angle: Reals, limit: float, soft: float) -> Reals:
    return np.asarray(np.clip((limit - angle) / soft + 0.5, 0, 1), np.float32)


def _sclera(angle: Reals, around: Reals, age_years: float, rng: np.random.Generator) -> Reals:
    """Return the eye's white: bluish in infants, yellower in the old, veined to the corners."""
    old = float(np.interp(age_years, (0, 3, 30, 80), (-0.6, 0.0, 0.4, 1.0)))
    white = np.array([0.45, 0.43 - 0.02 * old, 0.415 - 0.05 * old], np.float32)
    side = np.clip(angle / 60, 0, 1) ** 2 * np.abs(np.cos(around))
    color = white * np.exp(-side[..., None] * np.array([0.10, 0.32, 0.30], np.float32))
    veins = np.zeros(angle.shape, np.float32)
    for _ in range(int(8 + 10 * max(old, 0))):
        turn = rng.choice([0, np.pi]) + rng.normal(0, 0.4)
        t = np.linspace(0.9, rng.uniform(0.42, 0.6), 14)
        wander = turn + np.cumsum(rng.normal(0, 0.05, 14))
        points = (np.stack([t * np.cos(wander), t * np.sin(wander)], axis=1) + 1) * _EYE_SIZE / 2
        cv2.polylines(veins, [np.rint(points * 8).astype(np.int32)], False, 0.35, 1, cv2.LINE_8, 3)
    veins = soften(veins, 0.7)
    return np.asarray(
        color * np.exp(-veins[..., None] * np.array([0.1, 1.0, 0.9], np.float32)), np.float32
    )


def _iris(
    angle: Reals,
    around: Reals,
    iris: float,
    pupil: float,
    color: Reals,
    rng: np.random.Generator,
) -> Reals:
    """Return the iris: fibers from pupil to rim, a lighter collar, a dark limbal ring."""
    t = np.clip((angle - pupil) / (iris - pupil), 0, 1)
    fibers = np.zeros(angle.shape, np.float32)
    for count in (23, 41, 67):
        phase, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.6)
        fibers += np.sin(count * around + np.float32(phase) + np.float32(4 * bend) * t) / 3
    collar = np.exp(-0.5 * ((t - 0.28) / 0.12) ** 2)
    limbus = np.clip((t - 0.80) / 0.20, 0, 1)
    light = np.exp(0.28 * fibers * (1 - 0.5 * t) + 0.35 * collar - 1.5 * limbus)
    warm = np.array([1.25, 1.0, 0.7], np.float32) ** (0.5 * collar)[..., None]
    return np.asarray(1.15 * color * light[..., None] * warm, np.float32)


@dataclass(frozen=True)
class Tooth:
    """One tooth of the left half of a jaw. Lengths in millimeters.

    width, height: of the crown. x: of its middle along the arch from the jaw's middle.
    kind: "incisor", "canine" or "molar".
    """

    width: float
    height: float
    x: float
    kind: str


_KINDS: Final = ("incisor", "incisor", "canine", "molar", "molar", "molar", "molar")
_ADULT: Final = {
    "upper": ((8.5, 10.0), (6.6, 8.8), (7.6, 9.6), (7.1, 8.0), (6.8, 7.4), (10.2, 7.0), (9.8, 6.6)),
    "lower": ((5.3, 8.8), (5.9, 9.2), (6.8, 9.8), (7.0, 8.2), (7.1, 7.6), (11.2, 7.0), (10.7, 6.6)),
}
_MILK: Final = {
    "upper": ((6.5, 6.0), (5.2, 5.6), (6.9, 6.4), (7.2, 5.2), (8.6, 5.4)),
    "lower": ((4.2, 5.0), (4.4, 5.2), (5.0, 6.0), (7.8, 5.6), (9.6, 5.4)),
}
"""Mean crowns, width and height, from the middle outward (Wheeler's Dental Anatomy)."""
_ERUPTION: Final = {
    "upper": (0.80, 0.95, 1.6, 1.25, 2.2),
    "lower": (0.62, 1.05, 1.65, 1.3, 2.1),
}
"""Years at which the milk teeth come, lower middle ones first."""
_CHANGE: Final = {
    "upper": ((6.3, 7.3), (7.2, 8.3), (10.6, 11.6), (10.0, 10.8), (10.6, 11.4)),
    "lower": ((5.8, 6.6), (6.6, 7.6), (9.6, 10.6), (10.2, 11.0), (10.8, 11.6)),
}
"""Years at which a milk tooth falls out, and at which its successor stands in full."""
_MOLARS_AT: Final = (6.2, 12.2)
_GAP: Final = {"milk": 0.55, "adult": 0.05}


def teeth_at(age_years: float, jaw: str, seed: int = 0) -> list[Tooth]:
    """Return the teeth of the left half of a jaw ("upper" or "lower") at an age.

    None until about seven months, first the lower middle ones; small milk teeth with gaps until
    six; then the front ones are missing and come again, larger. The seed shifts every child's
    times by up to some weeks in infants and months in schoolchildren.
    """
    shift = float(np.random.default_rng(seed_of("teeth", seed)).uniform(-1, 1))
    early, late = age_years + 0.08 * shift, age_years + 0.5 * shift
    teeth: list[Tooth] = []
    x = 0.0
    for k, (width, height) in enumerate(_ADULT[jaw]):
        kind = _KINDS[k]
        if k >= len(_MILK[jaw]):
            grown = float(np.clip((late - _MOLARS_AT[k - 5]) / 0.8, 0, 1))
        else:
            falls, full = _CHANGE[jaw][k]
            milk_width, milk_height = _MILK[jaw][k]
            grown = float(np.clip((late - falls - 0.25) / (full - falls - 0.25), 0, 1))
            if late < falls:
                grown = float(np.clip((early - _ERUPTION[jaw][k]) / 0.25, 0, 1))
                width, height = milk_width, milk_height
                x += _GAP["milk"]
        x += width / 2 + _GAP["adult"]
        if grown > 0.08:
            teeth.append(Tooth(width, height * grown, x, kind))
        x += width / 2
    return teeth


def mouth_parts(head: Head, posed: PosedHead) -> list[Part]:
    """Return gums, teeth and tongue of a posed head; there may be no teeth."""
    person = head.person
    tongue = posed.shapes["tongue"]
    parts = [
        Part(
            name="tongue",
            vertices=tongue.vertices,
            normals=tongue.normals,
            uv=tongue.uv,
            triangles=tongue.triangles,
            material=Material(
                color=np.array([0.42, 0.145, 0.14], np.float32),
                roughness=0.38,
                specular=0.4,
                scattering=0.5,
            ),
        )
    ]
    bodies = _jaws(head)
    for jaw, motion in (("upper", posed.head), ("lower", posed.jaw)):
        gum, teeth = bodies[jaw]
        parts.append(_placed("gums", gum, motion, _GUM))
        if teeth is not None:
            parts.append(_placed(f"{jaw}_teeth", teeth, motion, _enamel(person)))
    return parts


_JAWS: Final[WeakKeyDictionary[Head, dict[str, tuple[Body, Body | None]]]] = WeakKeyDictionary()


def _jaws(head: Head) -> dict[str, tuple[Body, Body | None]]:
    """Return each jaw's gum and teeth on the neutral head."""
    if head not in _JAWS:
        found: dict[str, tuple[Body, Body | None]] = {}
        for jaw in ("upper", "lower"):
            arch = _Arch.of(head, jaw)
            teeth = teeth_at(head.person.age_years, jaw, head.person.seed)
            crowns = [_crown(tooth, arch, mirror) for tooth in teeth for mirror in (1, -1)]
            found[jaw] = _gum(arch, teeth), _joined(crowns) if crowns else None
        _JAWS[head] = found
    return _JAWS[head]


_GUM: Final = Material(
    color=np.array([0.40, 0.13, 0.13], np.float32), roughness=0.35, specular=0.45, scattering=0.5
)


def _enamel(person: Person) -> Material:
    yellow = float(np.interp(person.age_years, (2, 8, 30, 80), (0.0, 0.5, 0.7, 1.6)))
    color = np.array([0.74, 0.70, 0.63]) * np.exp(-yellow * np.array([0.06, 0.12, 0.28]))
    return Material(color=color.astype(np.float32), roughness=0.22, specular=0.5, scattering=0.2)


@dataclass(frozen=True)
class _Arch:
    """A jaw's row of teeth, seen from above, on the neutral head; decimeters.

    path: (n, 3), outer line of the left half at the biting edge, from the middle outward.
    length: (n,), along the path. up: 1 where crowns grow upward (lower jaw), -1 downward.
    """

    path: Reals
    length: Reals
    up: float

    @classmethod
    def of(cls, head: Head, jaw: str) -> _Arch:
        points = head.assets.fitted[f"{jaw}_teeth"].points(head.neutral)
        low, high = points.min(axis=0), points.max(axis=0)
        t = np.linspace(0, np.pi / 2, 60)
        half = (high[0] - low[0]) / 2 * 0.93
        deep = (high[2] - low[2]) * 0.98
        x = (low[0] + high[0]) / 2 + half * np.sin(t) ** 0.95
        z = high[2] - deep + deep * np.cos(t) ** 0.85
        front = points[points[:, 2] > high[2] - 0.25 * deep]
        # The edges of the front teeth: they meet with a small overbite.
        edge = front[:, 1].min() if jaw == "upper" else front[:, 1].max() - 0.035
        lift = 0.03 * (1 - np.cos(t))
        path = np.stack([x, edge + lift, z], axis=1)
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        return cls(path, length, 1.0 if jaw == "lower" else -1.0)

    def at(self, millimeters: Reals) -> tuple[Reals, Reals]:
        """Return points on the path and directions along it, for lengths from the middle."""
        where = np.clip(np.asarray(millimeters) / 100, 0, self.length[-1])
        point = np.stack(
            [np.interp(where, self.length, self.path[:, k]) for k in range(3)], axis=-1
        )
        ahead = np.gradient(self.path, axis=0)
        along = np.stack([np.interp(where, self.length, ahead[:, k]) for k in range(3)], axis=-1)
        along[..., 1] = 0
        return point, along / np.linalg.norm(along, axis=-1, keepdims=True)


_AROUND: Final = 12
_SHAPES: Final = {
    # At five heights from neck to edge: width, thickness.
    "incisor": ((0.80, 0.95, 1.0, 0.99, 0.93), (0.75, 0.80, 0.62, 0.36, 0.20)),
    "canine": ((0.80, 1.0, 1.0, 0.86, 0.50), (0.90, 1.0, 0.85, 0.55, 0.25)),
    "molar": ((0.86, 1.0, 1.02, 0.98, 0.80), (1.0, 1.1, 1.1, 1.0, 0.75)),
}


def _crown(tooth: Tooth, arch: _Arch, mirror: int) -> Body:
    """Return one tooth: rings of a rounded rectangle from the gum to the biting edge."""
    point, along = arch.at(np.array(tooth.x))
    inward = np.cross(along, [0.0, 1.0, 0.0])
    inward = inward if inward[2] < 0 else -inward
    widths, depths = _SHAPES[tooth.kind]
    phi = np.arange(_AROUND) * 2 * np.pi / _AROUND
    c, s = np.cos(phi), np.sin(phi)
    square = (np.sign(c) * np.abs(c) ** 0.6, np.sign(s) * np.abs(s) ** 0.6)
    thick = tooth.width * (0.75 if tooth.kind != "molar" else 0.9) / 100
    rings = []
    for level, (w, d) in enumerate(zip(widths, depths, strict=True)):
        height = (1 - level / 4) * (tooth.height + 1.5) / 100
        lean = 0.008 * level / 4
        ring = point + along * (square[0] * w * tooth.width / 200)[:, None]
        ring = ring + inward * ((square[1] * d + d) * thick / 2 - lean)[:, None]
        ring[:, 1] -= arch.up * height
        rings.append(ring)
    edge = rings[-1].mean(axis=0)
    edge[1] += arch.up * 0.004
    vertices = np.concatenate([*rings, edge[None]])
    k = np.arange(_AROUND)
    after = (k + 1) % _AROUND
    triangles = []
    for level in range(4):
        a, b = level * _AROUND, (level + 1) * _AROUND
        triangles += [np.stack([a + k, a + after, b + after], axis=1)]
        triangles += [np.stack([a + k, b + after, b + k], axis=1)]
    triangles.append(np.stack([4 * _AROUND + k, 4 * _AROUND + after, 0 * k + 5 * _AROUND], axis=1))
    vertices[:, 0] *= mirror
    return _outward(vertices, np.concatenate(triangles).astype(np.int32))


def _gum(arch: _Arch, teeth: list[Tooth]) -> Body:
    """Return both halves of a jaw's gum: a ridge that the teeth stand in."""
    scale = arch.length[-1] / 0.6  # an adult's arch is some 6 cm long on each side
    x = np.linspace(0, 65 * scale, 26)
    point, along = arch.at(x)
    inward = np.cross(along, [0.0, 1.0, 0.0])
    inward = np.where(inward[:, 2:] < 0, inward, -inward)
    inward[0] = [0, 0, -1]
    crown = np.interp(x, [t.x for t in teeth], [t.height for t in teeth]) if teeth else 0 * x + 2.0
    between = np.min([np.abs(x - t.x) / t.width for t in teeth], axis=0) if teeth else 0 * x
    top = (crown - 0.9 - 1.2 * np.clip(between - 0.25, 0, 0.25) * 2) / 100
    phi = np.linspace(0, np.pi, 9)
    rows = []
    for angle in phi:
        out = 0.045 * scale * np.cos(angle)
        rise = 0.05 * np.sin(angle)
        skirt = 0.05 if angle in (phi[0], phi[-1]) else 0.0
        row = point + inward * (0.034 * scale - out)
        row[:, 1] -= arch.up * (top + (0.03 - rise + skirt) * scale)
        rows.append(row)
    half = np.stack(rows)
    whole = np.concatenate([half[:, :0:-1] * [-1, 1, 1], half], axis=1)
    count, steps = whole.shape[:2]
    index = np.arange(count * steps).reshape(count, steps)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate(
        [np.stack([a, b, c], axis=2).reshape(-1, 3), np.stack([a, c, d], axis=2).reshape(-1, 3)]
    )
    if arch.up < 0:
        triangles = triangles[:, ::-1]
    return whole.reshape(-1, 3), triangles.astype(np.int32)


def _outward(vertices: Reals, triangles: Indices) -> Body:
    """Return a closed body whose triangles face outward."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    volume = ((a - vertices.mean(axis=0)) * np.cross(b - a, c - a)).sum()
    return vertices, triangles if volume > 0 else triangles[:, ::-1]


def _joined(bodies: list[Body]) -> Body:
    counts = np.cumsum([0, *(len(body[0]) for body in bodies)])
    triangles = [body[1] + k for body, k in zip(bodies, counts, strict=False)]
    return np.concatenate([body[0] for body in bodies]), np.concatenate(triangles)


def _placed(name: str, body: Body, motion: Reals, material: Material) -> Part:
    vertices, triangles = body
    moved = vertices @ motion[:3, :3].T + motion[:3, 3]
    a, b, c = (moved[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(moved)
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Part(
        name=name,
        vertices=moved.astype(np.float32),
        normals=normals.astype(np.float32),
        uv=np.zeros((len(moved), 2), np.float32),
        triangles=triangles,
        material=material,
    )
