"""What covers parts of a face: hand, pacifier, glasses, scarf, hat, strands of hair, blanket."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
import scipy.ndimage

from moppet.synthesis.render.camera import decode_srgb
from moppet.synthesis.render.hands import load_hand
from moppet.synthesis.render.head_frame import HeadFrame
from moppet.synthesis.render.mesh import Material, MeshScene, Part, View
from moppet.synthesis.render.scene import Occluder, Person
from moppet.synthesis.render.shapes import Reals, ball, sheet, tube, vertex_normals
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

PREFIX: Final = "occluder_"
"""How the names of all parts begin that lie in front of the face."""

REGIONS: Final = {"left_eye": (0.3, 0.2), "right_eye": (0.3, 0.2), "mouth": (0.5, 0.25)}
"""Region of the face → half its width and height, in distances between the eyes."""
_SIGHT_PX: Final = 96
_ON_BODY: Final = ("scarf", "blanket")  # they do not turn with the head


def occluder_parts(
    occluder: Occluder, head: HeadFrame, person: Person, skin_color: Floats
) -> tuple[Part, ...]:
    """Return the parts of one occluder, laid onto the posed head.

    skin_color: (3,), linear, of a hand. The same occluder and head give the same parts.
    """
    rng = np.random.default_rng(seed_of("occluder", occluder.kind, occluder.seed))
    frame = head.body if occluder.kind in _ON_BODY else head
    parts = _MAKERS[occluder.kind](occluder, frame, rng, person, skin_color)
    return tuple(_placed(part, frame) for part in parts)


def under_hat(part: Part, occluder: Occluder, head: HeadFrame) -> Part:
    """Return hair pressed flat where the hat covers it."""
    middle, half = _hat_shape(head, occluder.amount)
    points = head.local(part.vertices)
    from_middle = (points - middle) / half
    reach = np.linalg.norm(from_middle, axis=1, keepdims=True)
    above = points[:, 1] > _brim(occluder.amount, points[:, 2], middle, half) - 0.1
    inside = middle + from_middle / np.maximum(reach, 1e-6) * half * np.minimum(reach, 0.93)
    return replace(part, vertices=head.world(np.where(above[:, None], inside, points)))


def region_parts(head: HeadFrame) -> tuple[Part, ...]:
    """Return patches just above the skin over the regions whose sight is measured: REGIONS."""
    material = Material(color=np.ones(3, np.float32), two_sided=True)
    turn = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    share = np.linspace(0, 1, 5)[:, None]
    parts = []
    for name, (wide, high) in REGIONS.items():
        middle = head.mouth if name == "mouth" else head.points[name]
        flat = np.stack([share * wide * np.cos(turn), share * high * np.sin(turn)], axis=-1)
        points = head.on_face(flat + middle[:2], smooth=0.05)
        points[..., 2] += 0.01
        parts.append(_placed(sheet(name, points, material, closed=True), head))
    return tuple(parts)


def visible_shares(parts: Sequence[Part], regions: Sequence[Part], view: View) -> dict[str, float]:
    """Return how much of each region no occluder hides: name → 0 to 1, NaN outside the image."""
    hiding = tuple(part for part in parts if part.name.startswith(PREFIX))
    if not hiding:
        return dict.fromkeys(REGIONS, 1.0)
    from moppet.synthesis.render.rasterizer import visible_share

    dark = np.zeros(3, np.float32)
    background = np.zeros((_SIGHT_PX, _SIGHT_PX, 3), np.float32)
    shares = {}
    for region in regions:
        scene = MeshScene(
            parts=(region, *hiding), lights=(), sky=dark, ground=dark, view=view,
            background=background,
        )  # fmt: skip
        shares[region.name] = visible_share(scene, background.shape[:2], (region.name,))
    return shares


def _placed(part: Part, head: HeadFrame) -> Part:
    """Return a part in the head's axes as a part of the scene."""
    ends = head.world(part.normals) - head.world(np.zeros(3, np.float32))
    return replace(part, vertices=head.world(part.vertices), normals=ends / head.unit)


def _point(*coordinates: float) -> Floats:
    return np.array(coordinates, np.float32)


def _linear(color: tuple[float, float, float]) -> Floats:
    return decode_srgb(np.array(color, np.float32))


# Glasses


def _glasses(occluder: Occluder, head: HeadFrame, rng: np.random.Generator, *_: Any) -> list[Part]:
    """Two rims on the nose, temples on the ears, and dark lenses in sunglasses."""
    dark = occluder.kind == "sunglasses"
    wide, high = np.array([0.4, 0.31]) * (0.95 + 0.2 * occluder.amount) * rng.uniform(0.95, 1.1)
    high *= rng.uniform(0.85, 1.1)
    squareness = rng.uniform(2.0, 3.6)
    thick = rng.uniform(0.02, 0.035) + 0.015 * dark
    frame = Material(color=_linear(occluder.color), roughness=0.3, specular=0.5, two_sided=True)
    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / squareness) * wide
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / squareness) * high
    depth = _glasses_depth(head, wide, high)
    parts = []
    for side in (1, -1):
        center = _point(side * (0.08 + wide), -0.03)
        flat = np.stack([center[0] + x, center[1] + y], axis=-1)
        rim = _bowed(flat, depth)
        parts.append(tube(f"{PREFIX}rim", rim, thick, frame, closed=True, sides=8))
        if dark:
            parts.append(_lens(center, x, y, depth, rng))
        hinge = _bowed(center + _point(side * wide, 0.5 * high), depth)
        ear = head.points["ear_left" if side > 0 else "ear_right"] + _point(0, 0.3, 0)
        bends = (hinge * _point(1.03, 1, 1) - _point(0, 0, 0.08), ear + _point(side * 0.02, 0, 0.4))
        path = np.array([hinge, *bends, ear, ear - _point(side * 0.03, 0.2, 0.15)])
        parts.append(tube(f"{PREFIX}temple", _smooth_path(path, 24), thick * 0.8, frame, sides=8))
    arch = np.linspace(-1, 1, 9)
    bridge = np.stack([0.12 * arch, 0.05 + 0.04 * (1 - arch**2)], axis=-1)
    parts.append(tube(f"{PREFIX}bridge", _bowed(bridge, depth), thick, frame, sides=8))
    return parts


def _glasses_depth(head: HeadFrame, wide: float, high: float) -> float:
    """Return z of the glasses' middle: just in front of nose, brows and cheeks."""
    x, y = np.meshgrid(np.linspace(-1, 1, 15) * 2 * wide, np.linspace(-high, 0.8 * high, 7))
    x, y = x[np.abs(x) > 0.2], y[np.abs(x) > 0.2]
    face = head.on_face(np.stack([x, y], axis=-1))[:, 2]
    return float(np.percentile(face + 0.16 * x**2, 93)) + 0.04


def _bowed(flat: Reals, depth: float) -> Reals:
    """Return points of a front that bends around the face a little."""
    z = depth - 0.16 * flat[..., 0] ** 2
    return np.concatenate([flat, z[..., None]], axis=-1)


def _lens(center: Reals, x: Reals, y: Reals, depth: float, rng: np.random.Generator) -> Part:
    share = np.linspace(0, 1, 5)[:, None]
    flat = np.stack([center[0] + share * x, center[1] + share * y], axis=-1)
    points = _bowed(flat, depth - 0.01)
    points[..., 2] += 0.05 * (1 - share**2)
    tint = np.array([0.006, 0.006, 0.007]) * rng.uniform(0.6, 3)
    material = Material(color=tint.astype(np.float32), roughness=0.08, specular=0.6, two_sided=True)
    return sheet(f"{PREFIX}lens", points, material, closed=True)


def _smooth_path(points: Reals, count: int) -> Reals:
    """Return count points on a smooth curve through the points (Catmull-Rom)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    at = np.linspace(0, len(points) - 1 - 1e-6, count)
    k, t = at.astype(int), (at % 1)[:, None]
    a, b, c, d = (padded[k + step] for step in range(4))
    curve: Reals = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                  + (3 * (b - c) + d - a) * t**3)  # fmt: skip
    return curve


# Pacifier


def _pacifier(occluder: Occluder, head: HeadFrame, rng: np.random.Generator, *_: Any) -> list[Part]:
    """A pacifier: a shield over the lips, a button and a ring."""
    color = _linear(occluder.color)
    plastic = Material(color=color, roughness=0.25, specular=0.5, two_sided=True)
    other = Material(
        color=np.asarray(np.sqrt(color) * 0.9, np.float32),
        roughness=0.2,
        specular=0.5,
        two_sided=True,
    )
    size = 0.42 + 0.2 * occluder.amount
    turn = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    outline = size * (1 + rng.uniform(0.08, 0.22) * np.cos(2 * turn) - 0.06 * np.sin(turn))
    share = np.array([0, 0.3, 0.6, 0.85, 0.97, 1.0, 1.0])[:, None]
    flat = np.stack([share * outline * np.cos(turn), share * outline * 0.72 * np.sin(turn)], -1)
    shield = head.on_face(flat + head.mouth[:2], smooth=0.2)
    lift = np.array([0.1, 0.1, 0.1, 0.1, 0.085, 0.05, 0.0])
    shield[..., 2] = np.maximum(shield[..., 2], head.mouth[2] - 0.35 * share**2) + lift[:, None]
    front = shield[0, 0] + _point(0, 0, 0.02)
    around = np.linspace(0, 2 * math.pi, 36, endpoint=False)
    tilt = rng.uniform(0.25, 0.6)
    radius = 0.24
    ring = np.stack([np.cos(around), np.sin(around) - 0.8, np.zeros(36)], -1) * radius
    ring[:, 2] += 0.14 + (-ring[:, 1]) * tilt * 0.3
    return [
        sheet(f"{PREFIX}shield", shield, plastic, closed=True),
        ball(f"{PREFIX}button", front, np.array([0.2, 0.17, 0.13]), other),
        tube(f"{PREFIX}ring", front + ring, 0.04, other, closed=True),
    ]


# Hand


def _hand(
    occluder: Occluder,
    head: HeadFrame,
    rng: np.random.Generator,
    person: Person,
    skin_color: Floats,
) -> list[Part]:
    """The person's hand, palm on the mouth, a cheek or an eye; its arm comes from below."""
    hand = load_hand()
    side = 1 if rng.random() < 0.5 else -1  # +1: the left hand
    young = float(np.clip(1 - person.age_years / 8, 0, 1))
    face = head.points["head_top"][1] - head.points["chin"][1]
    length = face * (0.62 - 0.16 * young) * rng.uniform(0.92, 1.05)
    target, turn, away = _hand_place(head, rng, side)
    middle = target + (1 - occluder.amount) * away * _point(side, 1)
    base = float(head.on_face(middle, smooth=0.22)[2]) + 0.04
    cos, sin = math.cos(turn * side), math.sin(turn * side)
    thick = np.array([1 + 0.2 * young, 1 - 0.06 * young, 1 + 0.35 * young])
    palm = float(np.percentile(hand.vertices[hand.vertices[:, 1] > -0.3][:, 2], 4))

    def laid(points: Reals) -> Reals:
        """Return points of the hand turned and brought to the face, not yet bent around it."""
        x, y, z = ((points - [0, 0, palm]) * thick * [side, 1, 1] * length).T
        return np.stack(
            [x * cos - y * sin + middle[0], x * sin + y * cos + middle[1], z + base], -1
        )

    bent = laid(hand.vertices)
    wrist = np.clip((hand.vertices[:, 1] + 0.9) / 0.6, 0, 1)
    surface = np.maximum(head.on_face(bent[:, :2], smooth=0.22)[:, 2] + 0.04, base - 1.2)
    bent[:, 2] += (surface - base) * wrist
    quads = hand.quads if side > 0 else hand.quads[:, ::-1]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    material = Material(
        color=_hand_colors(skin_color), roughness=0.5, specular=0.3, scattering=0.6, two_sided=True
    )
    uv = np.stack([np.full(len(bent), 0.5), 1 - hand.tips], axis=-1).astype(np.float32)
    own = Part(
        name=f"{PREFIX}hand", vertices=bent.astype(np.float32), uv=uv, triangles=triangles,
        normals=vertex_normals(bent, triangles), material=material,
    )  # fmt: skip
    return [own, _sleeve(laid, hand.vertices, length, person, rng)]


def _sleeve(
    laid: Callable[[Reals], Reals],
    hand: Floats,
    length: float,
    person: Person,
    rng: np.random.Generator,
) -> Part:
    """Return the sleeve over the arm, from the wrist out of the image."""
    arm = hand[hand[:, 1] < -0.85]
    middle, radius = arm.mean(axis=0), float(np.ptp(arm[:, 0])) / 2
    along = np.linspace(0, 1, 14)
    path = np.stack([0 * along, -0.86 - 4.5 * along, -0.6 * along], axis=-1)
    path += middle * _point(1, 0, 1)
    puffed = length * radius * (1.25 + 0.5 * along + 0.08 * np.sin(along * rng.uniform(20, 40)))
    of_shirt = np.random.default_rng(seed_of("clothing", person.seed))
    color = cloth_texture(_linear(person.clothing_color), of_shirt)
    cloth = Material(color=color, roughness=0.9, specular=0.1, two_sided=True)
    return tube(f"{PREFIX}sleeve", laid(path), puffed, cloth, sides=14)


def _hand_place(
    head: HeadFrame, rng: np.random.Generator, side: int
) -> tuple[Floats, float, Floats]:
    """Return where the palm's middle lies at most, the fingers' turn, and the way off the face."""
    mouth = head.mouth[:2]
    kind = rng.choice(["mouth", "cheek", "eye"])
    if kind == "mouth":
        return mouth + _point(side * 0.35, -0.15), rng.uniform(0.9, 1.3), _point(0.9, -0.5)
    if kind == "cheek":
        at = mouth + _point(side * 0.75, 0.15)
        return at, rng.uniform(-0.1, 0.3), _point(0.6, -0.3)
    return _point(side * 0.6, -0.15), rng.uniform(-0.1, 0.5), _point(0.7, -0.6)


def _hand_colors(skin_color: Floats) -> Floats:
    """Return a column of colors from the fingertips (a little redder) to the wrist."""
    red = np.linspace(1, 0, 16)[:, None, None] ** 2
    return np.asarray(skin_color * (1 + red * [0.12, -0.1, -0.06]), np.float32)


# Cloth: scarf, hat, blanket


def _scarf(occluder: Occluder, head: HeadFrame, rng: np.random.Generator, *_: Any) -> list[Part]:
    """A scarf around the neck that reaches the chin, the mouth or the nose."""
    chin, nose = head.points["chin"][1], head.points["nose_tip"][1]
    top = chin - 0.1 + occluder.amount * (nose - chin + 0.15)
    heights = np.linspace(top, chin - 1.1, 28).astype(np.float32)
    radii, axis = head.around(heights, 48)
    radii = np.minimum(radii, radii[0].max() + 0.15)
    radii = scipy.ndimage.maximum_filter(radii, (7, 3), mode=("nearest", "wrap"))
    radii = scipy.ndimage.gaussian_filter(radii, (2, 1.5), mode=("nearest", "wrap"))
    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    row = np.linspace(0, 1, 28)[:, None]
    wound = row * rng.integers(2, 4) + 0.18 * np.sin(turn + rng.uniform(0, 6))
    creases = 0.03 * np.sin(row * rng.uniform(16, 26) + 2 * np.sin(turn + rng.uniform(0, 6)))
    folded = radii + 0.05 + 0.26 * np.sqrt(np.abs(np.sin(math.pi * wound))) + creases
    folded[0] = radii[0] + 0.02
    back = 0.25 * (1 - np.cos(turn)) / 2  # the scarf stands higher at the nape
    return [
        sheet(f"{PREFIX}scarf", _ring_points(folded, turn, heights[:, None] + back, axis),
              _cloth(occluder, rng), closed=True)
    ]  # fmt: skip


def _ring_points(radii: Reals, turn: Reals, heights: Reals, axis: Reals) -> Reals:
    x, z = axis[0] + radii * np.sin(turn), axis[1] + radii * np.cos(turn)
    return np.stack([x, np.broadcast_to(heights, x.shape), z], axis=-1)


def _hat_shape(head: HeadFrame, amount: float) -> tuple[Floats, Floats]:
    middle, half = head.skull
    return middle, half + _point(0.14, 0.16, 0.14)


def _brim(amount: float, z: Reals, middle: Reals, half: Reals) -> Floats:
    """Return the height of a hat's edge: low on the forehead, lower at the nape."""
    front = 0.85 - 0.5 * amount
    back = front - 0.55
    share = np.clip((z - middle[2]) / half[2] / 2 + 0.5, 0, 1)
    return np.asarray(back + (front - back) * share, np.float32)


def _hat(
    occluder: Occluder, head: HeadFrame, rng: np.random.Generator, person: Person, *_: Any
) -> list[Part]:
    """A knitted cap, a sun hat or a cap with a visor, low on the forehead."""
    middle, half = _hat_shape(head, occluder.amount)
    turn = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    share = np.linspace(1, 0, 20)[:, None]
    edge = _brim(occluder.amount, middle[2] + half[2] * np.cos(turn), middle, half)
    heights = edge + (middle[1] + half[1] - edge) * share
    up = np.clip((heights - middle[1]) / half[1], -1, 1)
    round_ = (
        np.maximum(1 - np.maximum(up, 0) ** 2.6, 0) ** (1 / 2.6) - 0.08 * np.minimum(up, 0) ** 2
    )
    crown = np.stack([middle[0] + half[0] * round_ * np.sin(turn), heights,
                      middle[2] + half[2] * round_ * np.cos(turn)], axis=-1)  # fmt: skip
    cloth = _cloth(occluder, rng)
    parts = [sheet(f"{PREFIX}hat", crown, cloth, closed=True)]
    rim = crown[-1]
    kind = rng.choice(["knitted", "sun", "visor"])
    if kind == "knitted":
        band = rim + _point(0, 0.12, 0)
        band[:, [0, 2]] = middle[[0, 2]] + (band[:, [0, 2]] - middle[[0, 2]]) * 1.02
        parts.append(tube(f"{PREFIX}band", band, 0.16, cloth, closed=True, flat=0.4, sides=12))
        if person.age_years < 10 or rng.random() < 0.3:
            top = middle + _point(0, half[1] + 0.1, 0)
            parts.append(ball(f"{PREFIX}pompon", top, np.full(3, 0.3), cloth))
    else:
        parts.append(_hat_brim(rim, middle, turn, cloth, rng, all_around=kind == "sun"))
    return parts


def _hat_brim(
    rim: Reals, middle: Reals, turn: Reals, cloth: Material, rng: np.random.Generator,
    *, all_around: bool,
) -> Part:  # fmt: skip
    """Return a brim around a sun hat, or a cap's visor in front."""
    out = np.linspace(0, 1, 6)[:, None]
    outward = np.stack([np.sin(turn), np.zeros_like(turn), np.cos(turn)], axis=-1)
    reach = np.full(64, 0.8) if all_around else 1.0 * np.maximum(np.cos(turn), 0) ** 0.6
    wave = 0.06 * np.sin(3 * turn + rng.uniform(0, 6)) if all_around else 0.0
    droop = 0.22 if all_around else 0.15
    points = rim + (out * reach)[..., None] * outward
    points[..., 1] += (-droop * out**1.5 + wave * out) * np.minimum(reach, 1)
    return sheet(f"{PREFIX}brim", points, cloth, closed=True)


def _blanket(occluder: Occluder, head: HeadFrame, rng: np.random.Generator, *_: Any) -> list[Part]:
    """A blanket drawn up to the chin, the mouth or the nose."""
    chin, nose = head.points["chin"][1], head.points["nose_tip"][1]
    top = chin - 0.2 + occluder.amount * (nose - chin + 0.25)
    x = np.linspace(-7, 7, 90)
    edge = top + 0.06 * np.sin(x * rng.uniform(1, 2.5) + rng.uniform(0, 6)) - 0.03 * x**2
    down = np.linspace(0, 1, 44)[:, None] ** 1.4
    y = edge - down * (edge + 9)
    grid = np.stack([np.broadcast_to(x, y.shape), y], axis=-1)
    points = head.on_face(grid.astype(np.float32), smooth=0.35)
    folds = sum(
        np.sin((x * math.cos(a) + y * math.sin(a)) * pitch + phase)
        for a, pitch, phase in rng.uniform([0, 3, 0], [math.pi, 7, 6], (3, 3))
    )
    points[..., 2] = np.maximum(points[..., 2], points[..., 2].max() - 2.2 - 0.05 * x**2)
    points[..., 2] += 0.1 + 0.03 * folds * np.minimum(down * 8, 1)
    hem = points[:1] - _point(0, 0.06, 0.12)
    return [sheet(f"{PREFIX}blanket", np.concatenate([hem, points]), _cloth(occluder, rng))]


def _cloth(occluder: Occluder, rng: np.random.Generator) -> Material:
    """Return knitted or woven cloth with stripes, dots or no pattern."""
    color = cloth_texture(_linear(occluder.color), rng)
    return Material(color=color, roughness=0.9, specular=0.1, two_sided=True)


def cloth_texture(color: Floats, rng: np.random.Generator, size: int = 128) -> Floats:
    """Return cloth of a color, (size, size, 3), linear: plain, striped, checked or dotted."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    count = rng.integers(4, 12)
    pattern = rng.choice(["plain", "plain", "stripes", "checks", "dots"])
    share = {
        "plain": np.zeros_like(x),
        "stripes": (y * count % 1 < 0.4) * 1.0,
        "checks": (x * 2 * count % 1 < 0.5) * 0.5 + (y * count % 1 < 0.5) * 0.5,
        "dots": (np.hypot(x * 2 * count % 1 - 0.5, y * count % 1 - 0.5) < 0.25) * 1.0,
    }[str(pattern)]
    second = decode_srgb(rng.uniform(0.2, 0.95, 3).astype(np.float32))
    image = color + 0.65 * share[..., None] * (second - color)
    grain = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), 0.8)
    knit = 1 + 0.12 * grain + 0.06 * np.sin(x * size * math.pi / 2) * np.sin(y * size * math.pi / 2)
    return np.asarray(np.clip(image * knit[..., None], 0, 1), np.float32)


# Hair


def _hair(
    occluder: Occluder, head: HeadFrame, rng: np.random.Generator, person: Person, *_: Any
) -> list[Part]:
    """Strands that fall from the hairline over the forehead and one eye."""
    color = _linear(person.hair_color)
    material = Material(
        color=np.asarray(color * rng.uniform(0.7, 1.3, (1, 64, 1)), np.float32),
        alpha=_strand_alpha(rng), roughness=0.45, specular=0.35, two_sided=True,
    )  # fmt: skip
    side = 1 if rng.random() < 0.5 else -1
    top = 0.75 * head.points["head_top"][1]
    count = 16 + round(26 * occluder.amount)
    parts = []
    for _strand in range(count):
        root = np.array([side * rng.uniform(-0.75, 0.75), top + rng.uniform(-0.05, 0.15)])
        low = 0.2 - (0.5 + occluder.amount) * rng.uniform(0.2, 1.0)
        tip = np.array([root[0] + side * rng.uniform(0.0, 0.5), low])
        bend = (root + tip) / 2 + _point(side * rng.uniform(-0.1, 0.35), 0.1)
        t = np.linspace(0, 1, 16)[:, None]
        path = (1 - t) ** 2 * root + 2 * t * (1 - t) * bend + t**2 * tip
        width = 0.05 * rng.uniform(0.6, 1.4) * (1 - 0.75 * t**3)
        edges = np.stack([path - _point(1, 0) * width, path, path + _point(1, 0) * width], axis=1)
        points = head.on_face(edges.astype(np.float32), smooth=0.1)
        points[..., 2] += 0.05 + rng.uniform(0, 0.07) + _point(0, 0.02, 0)
        parts.append(sheet(f"{PREFIX}hair", points, material))
    return parts


def _strand_alpha(rng: np.random.Generator) -> Floats:
    """Return fine hairs along a strand, sparser to its edges and its tip: (64, 64)."""
    across = np.linspace(-1, 1, 64)
    hairs = rng.uniform(0.35, 1.2, 64) * (1 - across**4)
    along = np.linspace(1, 0, 64)[:, None]
    return np.clip(hairs * np.minimum(1, 0.25 + along * 3), 0, 1).astype(np.float32)


_Maker = Callable[[Occluder, HeadFrame, np.random.Generator, Person, Floats], list[Part]]
_MAKERS: Final[dict[str, _Maker]] = {
    "hand": _hand,
    "pacifier": _pacifier,
    "glasses": _glasses,
    "sunglasses": _glasses,
    "scarf": _scarf,
    "hat": _hat,
    "hair": _hair,
    "blanket": _blanket,
}
