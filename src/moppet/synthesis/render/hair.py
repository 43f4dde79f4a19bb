"""Hair of the head without any asset: cards with painted strands that grow from the scalp.

A style is a cap that hides the skin, ribbons of strands that flow over it, and, for curls, small
clumps at several heights. Everything is grown once on the neutral head and moves with the skull.
With an asset folder, its hair meshes are styles too, named as there ("hair_bob02").
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import scipy.spatial

from moppet.synthesis.render.head_assets import HeadAssets, Indices
from moppet.synthesis.render.head_mesh import Head, PosedHead
from moppet.synthesis.render.mesh import Material, Part
from moppet.synthesis.render.scene import Person
from moppet.synthesis.render.shapes import Reals
from moppet.synthesis.render.skin import scalp_share, to_linear
from moppet.synthesis.render.skin_atlas import soften
from moppet.synthesis.render.strands import (
    card_texture,
    clump_texture,
    hair_material,
    picture,
)
from moppet.synthesis.render.wrinkles import EYES_DISTANCE, EYES_HEIGHT
from moppet.synthesis.settings import seed_of
from moppet.values import UsageError, name_hint

_STEPS: Final = 8
_CLEAR: Final = 0.012  # distances between the pupils: no edge of a card lies closer to the skin


@dataclass(frozen=True, kw_only=True)
class Style:
    """A hair style. Lengths are in distances between the pupils.

    ages: years in which it is usual. female: share of girls and women among those who wear it.
    length: of the strands. ribbons: how many cards. width: of a card. lift: how far the hair
        stands off the head. flow: where strands lie to: "crown" (away from the crown), "part" (to
        both sides of a parting), "back", "down". fall: 0 follows the head to 1 hangs.
    curl: how far strands wind. clumps: how many tufts of curls, clump: their size.
    cap: opacity of the layer below, 0 for none. shade: of the hair's color on the scalp.
    lowest: where the front hair ends, above the eyes (0.3: at the brows). tails: (side, height,
        depth) of the ties of a ponytail or of pigtails. front: share of hair above the forehead.
    bangs: length of front hair that falls on the forehead beside what lies otherwise.
    fine: thin, single hairs, of an opacity alpha. frayed: how hairy the skin is where hair begins.
    """

    ages: tuple[float, float]
    female: float = 0.5
    length: float = 0.5
    ribbons: int = 520
    width: float = 0.2
    lift: float = 0.12
    flow: str = "crown"
    fall: float = 0.3
    curl: float = 0.0
    clumps: int = 0
    clump: float = 0.3
    cap: float = 1.0
    shade: float = 0.8
    lowest: float = 0.8
    tails: tuple[tuple[float, float, float], ...] = ()
    front: float = 1.0
    bangs: float = 0.0
    fine: bool = False
    alpha: float = 1.0
    frayed: float = 0.72


def _read_styles() -> dict[str, Style]:
    text = resources.files(__package__).joinpath("hair_styles.toml").read_text(encoding="utf-8")
    return {
        name: Style(**{key: _frozen(value) for key, value in fields.items()})
        for name, fields in tomllib.loads(text).items()
    }


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


STYLES: Final = _read_styles()
"""Names for Person.hair, beside those of an asset folder; "" is a bald head."""


def style_names(person_age: float, assets: HeadAssets | None = None) -> tuple[str, ...]:
    """Return the styles usual at an age, in years, and those of the assets from three years on."""
    own = [name for name, style in STYLES.items() if style.ages[0] <= person_age <= style.ages[1]]
    folder = folder_styles(assets) if assets else []
    return (*own, *(folder if person_age >= 3 else ()))


def folder_styles(assets: HeadAssets) -> list[str]:
    """Return the hair of an asset folder that has both its mesh and its texture."""
    return sorted(n for n in assets.fitted if n.startswith("hair_") and n in assets.textures)


def scalp_shade(person: Person) -> float:
    """Return how much of the hair's color lies on the scalp itself, 0 to 1."""
    if person.hair.startswith("hair_"):
        return 0.75
    return STYLES[person.hair].shade if person.hair in STYLES else 0.0


def hair_parts(head: Head, posed: PosedHead) -> list[Part]:
    """Return the hair of a posed head: none to three parts.

    Raises UsageError where person.hair is no style, or one of an asset folder that is not there.
    """
    person, assets = head.person, head.assets
    if not person.hair:
        return []
    if person.hair in folder_styles(assets):
        return [_folder_part(person.hair, head, posed)]
    if person.hair not in STYLES:
        known = [*STYLES, *folder_styles(assets)]
        raise UsageError(f"{person.hair!r} is no hair style.{name_hint(person.hair, known)}")
    return [_moved(part, posed.head) for part in _grown(head)]


def _moved(part: Part, motion: Reals) -> Part:
    turned = motion[:3, :3].T
    return Part(
        name=part.name,
        vertices=np.asarray(part.vertices @ turned + motion[:3, 3], np.float32),
        normals=np.asarray(part.normals @ turned, np.float32),
        uv=part.uv,
        triangles=part.triangles,
        material=part.material,
    )


_GROWN: Final[WeakKeyDictionary[Head, list[Part]]] = WeakKeyDictionary()


def _grown(head: Head) -> list[Part]:
    if head not in _GROWN:
        _GROWN[head] = _grow(head)
    return _GROWN[head]


@dataclass(frozen=True)
class _Scalp:
    """Where hair grows on a neutral head. unit: the distance between its pupils, decimeters.

    points, normals: (n, 3) of all skin vertices. share: (n,), 0 to 1. triangles: (m, 3), those
    with hair. center: (3,), of the skull. crown: (3,).
    """

    points: Reals
    normals: Reals
    share: Reals
    triangles: Indices
    center: Reals
    crown: Reals
    unit: float
    tree: scipy.spatial.cKDTree


def _scalp_of(head: Head) -> _Scalp:
    assets = head.assets
    points = head.neutral[: assets.skin_count]
    place = (assets.vertices[: assets.skin_count] - [0, EYES_HEIGHT, 0]) / EYES_DISTANCE
    share = scalp_share(place.astype(np.float32))
    quads = assets.quads[(share[assets.quads] > 0.08).any(axis=1)]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    normals = np.zeros_like(points)
    all_quads = assets.quads
    cross = np.cross(
        points[all_quads[:, 2]] - points[all_quads[:, 0]],
        points[all_quads[:, 3]] - points[all_quads[:, 1]],
    )
    for k in range(4):
        np.add.at(normals, all_quads[:, k], cross)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    hairy = points[share > 0.5]
    low, high = hairy.min(axis=0), hairy.max(axis=0)
    center = (low + high) / 2
    crown = points[np.argmax(points @ np.array([0.0, 0.9, -0.45]))]
    eyes = head.eyes["left"][0] - head.eyes["right"][0]
    outside = np.flatnonzero(place[:, 1] > -2.2)
    return _Scalp(
        points,
        normals,
        share,
        triangles.astype(np.int32),
        center,
        crown,
        float(np.linalg.norm(eyes)),
        scipy.spatial.cKDTree(points[outside]),
    )


def _grow(head: Head) -> list[Part]:
    person = head.person
    style = STYLES[person.hair]
    scalp = _scalp_of(head)
    rng = np.random.default_rng(seed_of("hair", person.seed))
    parts = []
    if style.cap:
        parts.append(_cap(scalp, style, person))
    cards = [_ribbons(scalp, style, rng)] if style.ribbons else []
    cards += [_tail(scalp, style, tail, rng) for tail in style.tails]
    if style.bangs:
        cards.append(_bangs(scalp, style, np.random.default_rng(seed_of("bangs", person.seed))))
    if cards:
        light, alpha = card_texture(style.fine)
        parts.append(
            _cards_part(
                "hair",
                cards,
                hair_material(person.hair_color, person.seed, light, alpha * style.alpha),
            )
        )
    if style.clumps:
        material = hair_material(person.hair_color, person.seed, *clump_texture())
        parts.append(_cards_part("hair_curls", [_clumps(scalp, style, rng)], material))
    return parts


Card = tuple[Reals, Reals, Reals, Indices]
"""Vertices, normals, uv and triangles of many cards together."""


def _cards_part(name: str, cards: list[Card], material: Material) -> Part:
    counts = np.cumsum([0, *(len(card[0]) for card in cards)])
    vertices, normals, uv = (np.concatenate([card[k] for card in cards]) for k in range(3))
    triangles = np.concatenate([card[3] + k for card, k in zip(cards, counts, strict=False)])
    return Part(
        name=name,
        vertices=vertices.astype(np.float32),
        normals=normals.astype(np.float32),
        uv=uv.astype(np.float32),
        triangles=triangles.astype(np.int32),
        material=material,
    )


def _roots(
    scalp: _Scalp, style: Style, count: int, rng: np.random.Generator
) -> tuple[Reals, Reals, Reals]:
    """Return points of the scalp, (n, 3), their normals, and how hairy they are, (n,)."""
    a, b, c = (scalp.points[scalp.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    share = scalp.share[scalp.triangles].mean(axis=1)
    front = np.clip((a[:, 2] - scalp.center[2]) / (0.6 * scalp.unit), 0, 1)
    top = np.clip((a[:, 1] - scalp.center[1]) / (0.3 * scalp.unit), 0, 1)
    bare = np.maximum(front, 0.8 * top) if style.front < 0.3 else front
    weight = area * share * (1 - (1 - style.front) * bare)
    weight = weight * (share > (0.3 if style.fine else style.frayed))
    # One root in each of as many equal shares of the area: they lie evenly.
    shares = np.cumsum(weight) / weight.sum()
    chosen = np.searchsorted(shares, (np.arange(count) + rng.random(count)) / count)
    chosen = np.minimum(chosen, len(area) - 1)
    bary = rng.dirichlet((1, 1, 1), count)
    corners = scalp.triangles[chosen]
    points = np.einsum("nk,nkd->nd", bary, scalp.points[corners])
    normals = np.einsum("nk,nkd->nd", bary, scalp.normals[corners])
    return points, _unit(normals), share[chosen]


def _unit(vectors: Reals) -> Reals:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9))


def _flow(points: Reals, normals: Reals, scalp: _Scalp, style: Style) -> Reals:
    """Return where hair lies to at points near the scalp, (n, 3), along the surface."""
    away = points - scalp.crown
    if style.flow == "crown":
        # Away from the crown, and swept to a side above the forehead.
        front = np.clip((points[:, 2:] - scalp.center[2]) / scalp.unit - 0.1, 0, 1)
        toward = (1 - 0.7 * front) * _unit(away) + front * np.array([0.9, 0.1, 0.0])
    elif style.flow == "part":
        side = np.where(points[:, 0] > 0.28 * scalp.unit, 1.0, -1.0)[:, None]
        toward = side * np.array([1.0, 0.0, 0.0]) + np.array([0.0, -0.35, -0.25])
    elif style.flow == "back":
        ties = np.array([_tie(scalp, tail) for tail in style.tails])
        apart = ties[None] - points[:, None]
        near = np.linalg.norm(apart, axis=2).argmin(axis=1)
        toward = _unit(apart[np.arange(len(points)), near])
    else:
        flat = away * [1.0, 0.25, 1.0]
        toward = _unit(flat) + np.array([0.0, -0.5, 0.0])
    return _unit(toward - normals * (toward * normals).sum(axis=1, keepdims=True))


def _tie(scalp: _Scalp, tail: tuple[float, float, float]) -> Reals:
    """Return where a tail is tied: on the head's surface, seen from its center."""
    aim = scalp.center + np.array(tail) * scalp.unit
    _, nearest = scalp.tree.query(aim)
    return np.asarray(scalp.tree.data[nearest], np.float64)


def _grow_strands(
    scalp: _Scalp,
    style: Style,
    roots: Reals,
    normals: Reals,
    lengths: Reals,
    rng: np.random.Generator,
) -> Reals:
    """Return the strands' points, (n, _STEPS, 3), from root to tip."""
    step = (lengths / (_STEPS - 1))[:, None]
    jitter = rng.normal(0, 0.10, roots.shape)
    lift = style.lift * scalp.unit * rng.uniform(0.45, 1.15, (len(roots), 1))
    points: list[Reals] = [roots + 0.35 * lift * normals]
    down = np.array([0.0, -1.0, 0.0])
    current: Reals = points[0]
    surface = normals
    for k in range(1, _STEPS):
        flow = _flow(current, surface, scalp, style) + jitter
        share = style.fall * min(1.0, 1.8 * k / (_STEPS - 1)) ** 0.7
        current = current + step * _unit((1 - share) * flow + share * down)
        current, surface = _above(current, lift * min(1.0, 0.5 + k / 4), scalp)
        points.append(current)
    strands = np.stack(points, axis=1)
    for _ in range(2):  # a strand bends softly where the head or a shoulder pushes it out
        middle = (strands[:, :-2] + 2 * strands[:, 1:-1] + strands[:, 2:]) / 4
        strands[:, 1:-1] = middle
    return strands


def _above(points: Reals, height: Reals | float, scalp: _Scalp) -> tuple[Reals, Reals]:
    """Return points moved to at least a height above the skin, and the skin's normals there."""
    _, nearest = scalp.tree.query(points, k=3)
    base = np.asarray(scalp.tree.data)[nearest].mean(axis=1)
    surface = _unit(scalp.normals[nearest].mean(axis=1))
    is_at = ((points - base) * surface).sum(axis=1, keepdims=True)
    return points + np.maximum(height - is_at, 0) * surface, surface


def _shorten(strands: Reals, scalp: _Scalp, style: Style) -> Reals:
    """Return the strands cut where they would cover the face."""
    x, y, z = (strands[..., k] / scalp.unit for k in range(3))
    deep = z > (scalp.center[2] / scalp.unit) + 0.25
    inside = (
        deep & (np.abs(x) < 0.98 - 0.1 * np.clip(y, -1, 0)) & (y < style.lowest - 0.12 * np.abs(x))
    )
    inside[:, 0] = False
    first = np.where(inside.any(axis=1), inside.argmax(axis=1) - 0.6, _STEPS - 1.0)
    long = first > (4.5 if style.flow == "part" else 2.5)  # no stubs that lie on the forehead
    strands, first = strands[long], first[long]
    at = np.linspace(0, 1, _STEPS)[None] * first[:, None]
    low = np.minimum(at.astype(int), _STEPS - 2)
    t = (at - low)[..., None]
    rows = np.arange(len(strands))[:, None]
    return np.asarray(strands[rows, low] * (1 - t) + strands[rows, low + 1] * t)


def _ribbons(scalp: _Scalp, style: Style, rng: np.random.Generator) -> Card:
    roots, normals, share = _roots(scalp, style, style.ribbons, rng)
    lengths = style.length * scalp.unit * rng.uniform(0.75, 1.1, len(roots)) * (0.5 + 0.5 * share)
    if style.tails:
        ties = np.array([_tie(scalp, tail) for tail in style.tails])
        lengths = 0.95 * np.linalg.norm(ties[None] - roots[:, None], axis=2).min(axis=1)
    strands = _shorten(_grow_strands(scalp, style, roots, normals, lengths, rng), scalp, style)
    return _cards_along(strands, scalp, style, style.width * scalp.unit, rng)


def _bangs(scalp: _Scalp, style: Style, rng: np.random.Generator) -> Card:
    """Return front hair that falls on the forehead, as that of the style "fringe"."""
    middle = scalp.points[scalp.triangles].mean(axis=1)
    ahead = middle - scalp.center > np.array([-np.inf, 0.0, 0.2]) * scalp.unit
    narrow = np.abs(middle[:, 0] - scalp.center[0]) < 0.95 * scalp.unit
    front = dataclasses.replace(scalp, triangles=scalp.triangles[ahead.all(axis=1) & narrow])
    length = style.bangs * rng.uniform(0.8, 1.1)
    fringe = dataclasses.replace(STYLES["fringe"], length=length, ribbons=340, width=0.27)
    return _ribbons(front, fringe, rng)


def _cards_along(
    strands: Reals, scalp: _Scalp, style: Style, width: float, rng: np.random.Generator
) -> Card:
    """Return ribbons along strands, their broad side outward, rounded by their normals."""
    count, steps, _ = strands.shape
    ahead = _unit(np.gradient(strands, axis=1))
    outward = _unit(strands - scalp.center)
    across = _unit(np.cross(ahead, outward))
    if style.curl:
        phase = rng.uniform(0, 2 * np.pi, (count, 1)) + np.arange(steps)[None] * 2.2
        strands = strands + style.curl * scalp.unit * np.sin(phase)[..., None] * across
    outward = _unit(np.cross(across, ahead))
    taper = np.linspace(1.0, 0.75, steps)[None, :, None]
    half = width / 2 * rng.uniform(0.6, 1.25, (count, 1, 1)) * taper
    tilt = rng.normal(0, 0.25, (count, 1, 1))
    lean = across + tilt * outward
    vertices = np.stack([strands - half * lean, strands + half * lean], axis=2)
    clear, _ = _above(vertices.reshape(-1, 3), _CLEAR * scalp.unit, scalp)
    normals = np.stack([_unit(outward - 0.55 * across), _unit(outward + 0.55 * across)], axis=2)
    column = rng.integers(0, 4, (count, 1))
    flip = rng.random((count, 1)) < 0.5
    left, right = column / 4 + 0.01, column / 4 + 0.24
    u = np.stack([np.where(flip, right, left), np.where(flip, left, right)], axis=2)
    u = np.broadcast_to(u, (count, steps, 2))
    v = np.broadcast_to(np.linspace(0.99, 0.01, steps)[None, :, None], (count, steps, 2))
    first = (np.arange(count)[:, None] * steps + np.arange(steps - 1)[None]).ravel() * 2
    triangles = np.concatenate(
        [
            np.stack([first, first + 1, first + 3], axis=1),
            np.stack([first, first + 3, first + 2], axis=1),
        ]
    )
    return (
        clear,
        normals.reshape(-1, 3),
        np.stack([u, v], axis=3).reshape(-1, 2),
        triangles.astype(np.int32),
    )


def _tail(
    scalp: _Scalp, style: Style, tail: tuple[float, float, float], rng: np.random.Generator
) -> Card:
    """Return a bunch of hair that hangs from its tie."""
    tie = _tie(scalp, tail)
    count = 70
    out = _unit((tie - scalp.center)[None])[0]
    spread = rng.normal(0, 0.05, (count, 3)) * scalp.unit
    t = np.linspace(0, 1, _STEPS)[None, :, None]
    length = style.length * scalp.unit * rng.uniform(0.7, 1.1, (count, 1, 1))
    swing = out * 0.45 * np.sqrt(t) * (1 - 0.4 * t) + np.array([0.0, -1.0, 0.0]) * t**1.3
    wide = 1 + 3.2 * np.sin(np.pi * np.clip(t * 0.85 + 0.05, 0, 1))
    strands = tie + length * swing + spread[:, None] * wide
    return _cards_along(strands, scalp, style, style.width * 1.2 * scalp.unit, rng)


def _clumps(scalp: _Scalp, style: Style, rng: np.random.Generator) -> Card:
    """Return tufts of curls: small cards that face outward at several heights."""
    roots, normals, share = _roots(scalp, style, style.clumps, rng)
    height = (
        style.lift
        * scalp.unit
        * np.sqrt(rng.uniform(0.05, 1.25, len(roots)))
        * (0.35 + 0.65 * share)
    )
    outward = _unit(normals + 0.5 * _unit(roots - scalp.center))
    middle = roots + height[:, None] * outward
    low = (middle[:, 1] < style.lowest * scalp.unit) & (
        middle[:, 2] > scalp.center[2] + 0.55 * scalp.unit
    )
    middle, outward = middle[~low], outward[~low]
    count = len(middle)
    facing = _unit(outward + rng.normal(0, 0.35, middle.shape))
    across = _unit(np.cross(facing, rng.normal(0, 1, middle.shape)))
    along = np.cross(facing, across)
    half = style.clump / 2 * scalp.unit * rng.uniform(0.7, 1.3, (count, 1))
    turns = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    offsets = np.stack([a * across + b * along for a, b in turns], axis=1)
    corners = middle[:, None] + half[:, None] * offsets
    normal = _unit(outward[:, None] + 0.5 * offsets)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) / 2 * 0.98 + 0.005
    cell = rng.integers(0, 2, (count, 1, 2)) / 2
    first = np.arange(count)[:, None] * 4
    triangles = np.concatenate([first + np.array(three) for three in ((0, 1, 2), (0, 2, 3))])
    return (
        corners.reshape(-1, 3),
        normal.reshape(-1, 3),
        (square + cell).reshape(-1, 2),
        triangles.astype(np.int32),
    )


def _cap(scalp: _Scalp, style: Style, person: Person) -> Part:
    """Return the layer right above the scalp; its hairline is frayed."""
    used, triangles = np.unique(scalp.triangles, return_inverse=True)
    share = scalp.share[used]
    normals = scalp.normals[used]
    height = style.lift * scalp.unit * 0.3 * np.clip(share * 1.5 - 0.35, 0.02, 1)
    vertices = scalp.points[used] + height[:, None] * normals
    apart = vertices - scalp.center
    around = np.abs(np.arctan2(apart[:, 0], apart[:, 2] + 1e-6)) / np.pi
    uv = np.stack([0.01 + 0.98 * around, np.clip(share, 0.01, 0.99)], axis=1)
    rng = np.random.default_rng(seed_of("cap", person.seed))
    noise = soften(rng.normal(0, 1, (64, 256)).astype(np.float32), 0.8) * 1.5
    noise += cv2.resize(rng.normal(0, 1, (1, 256)).astype(np.float32), (256, 64))
    level = np.linspace(1, 0, 64, dtype=np.float32)[:, None]
    alpha = style.cap * np.clip((level - 0.54 + 0.12 * noise) / 0.3, 0, 1)
    tone = to_linear(person.hair_color) * np.exp(0.22 * noise - 0.35)[..., None]
    material = Material(
        color=np.clip(tone, 0.002, 0.9).astype(np.float32),
        alpha=alpha.astype(np.float32),
        roughness=0.55,
        specular=0.25,
        two_sided=False,
    )
    return Part(
        name="hair_cap",
        vertices=vertices.astype(np.float32),
        normals=normals.astype(np.float32),
        uv=uv.astype(np.float32),
        triangles=triangles.reshape(-1, 3).astype(np.int32),
        material=material,
    )


def _folder_part(name: str, head: Head, posed: PosedHead) -> Part:
    shape = posed.fit(head.assets.fitted[name])
    textures = picture(head.assets.textures[name])
    return shape.part("hair", hair_material(head.person.hair_color, head.person.seed, *textures))
