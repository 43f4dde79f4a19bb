"""The world around a person: its lights, and what lies behind, out of focus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from moppet.synthesis.render.camera import LUMINANCE, decode_srgb
from moppet.synthesis.render.mesh import LightSource, Material, Part
from moppet.synthesis.render.scene import Background, Light
from moppet.synthesis.render.shapes import sheet
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

Color = tuple[float, float, float]

_WHITE: Final = (1.0, 1.0, 1.0)
# Kind of light → color of the main light, its brightness, its angular radius; colors of the sky
# and the ground, the light from everywhere else.
_KINDS: Final[dict[str, tuple[Color, float, float, Color, Color]]] = {
    "softbox": (_WHITE, 0.85, 0.32, _WHITE, (0.8, 0.77, 0.74)),
    "window": ((0.93, 0.99, 1.08), 0.95, 0.45, (1.0, 0.97, 0.93), (0.8, 0.7, 0.6)),
    "lamp": ((1.2, 0.98, 0.66), 0.95, 0.1, (1.12, 0.98, 0.8), (0.75, 0.58, 0.42)),
    "outdoor": ((1.08, 1.0, 0.88), 1.15, 0.05, (0.88, 0.99, 1.16), (0.72, 0.76, 0.55)),
    "dim": ((1.06, 0.99, 0.88), 0.16, 0.4, (0.95, 1.0, 1.1), (0.7, 0.66, 0.6)),
}
_KICKER: Final = {"softbox": 0.3, "window": 0.06, "lamp": 0.1, "outdoor": 0.12, "dim": 0.05}
"""Kind of light → a weak light from behind on the other side, as a share of the main light."""
_WARM: Final = np.array([0.16, 0.0, -0.26], np.float32)
_FACE_NORMALS: Final = np.array(
    [[0, 0, 1], [0.5, 0, 0.87], [-0.5, 0, 0.87], [0, 0.5, 0.87], [0, -0.3, 0.95]], np.float32
)


def lights_of(light: Light) -> tuple[tuple[LightSource, ...], Floats, Floats]:
    """Return the light sources and the colors of the light from above and from below.

    A white surface that faces a source of color 1 has brightness 1.
    """
    color, brightness, size, sky, ground = _KINDS[light.kind]
    warmth = np.exp(_WARM * light.warmth)
    main = np.array(color, np.float32) * warmth * (brightness * light.strength)
    around = brightness * light.strength * light.fill
    kicker_azimuth = light.azimuth - math.copysign(150.0, light.azimuth)
    sources = (
        LightSource(direction=direction(light.azimuth, light.elevation), color=main, size=size),
        LightSource(
            direction=direction(kicker_azimuth, 25.0),
            color=(main * _KICKER[light.kind]).astype(np.float32),
            size=0.3,
        ),
    )
    above = (np.array(sky, np.float32) * warmth * around).astype(np.float32)
    below = (np.array(ground, np.float32) * warmth * around).astype(np.float32)
    return sources, above, below


def direction(azimuth: float, elevation: float) -> Floats:
    """Return the unit vector to a light: azimuth 0 is the camera's side, 90 the viewer's right."""
    across, up = math.radians(azimuth), math.radians(elevation)
    flat = math.cos(up)
    return np.array([flat * math.sin(across), math.sin(up), flat * math.cos(across)], np.float32)


def light_level(light: Light) -> float:
    """Return the luminance of a white, convex face that looks into the camera."""
    sources, sky, ground = lights_of(light)
    height = _FACE_NORMALS[:, 1:2] / 2 + 0.5
    lit = height * sky + (1 - height) * ground
    for source in sources:
        lit = lit + np.maximum(_FACE_NORMALS @ source.direction, 0)[:, None] * source.color
    return float((lit @ LUMINANCE).mean())


def background_image(
    background: Background, light: Light, height: int, width: int, *, seed: int = 0
) -> Floats:
    """Return what lies behind the person: (height, width, 3), linear, out of focus, in this light.

    The same background, light, seed and shape give the same image; other shapes give the same
    objects at another size.
    """
    rng = np.random.default_rng(seed_of("background", background.kind, background.seed, seed))
    canvas = _Canvas(height, width, rng)
    _PAINTERS[background.kind](canvas, decode_srgb(np.array(background.color, np.float32)))
    return _lit(canvas, light)


def bedding(background: Background, landmarks: Mapping[str, Floats], back: float) -> Part:
    """Return the sheet that a head lies on, seen from above, with a dent around the head.

    back: z of the back of the head. The pattern and color are those of a "fabric" background.
    """
    rng = np.random.default_rng(seed_of("bedding", background.seed))
    canvas = _Canvas(256, 256, rng)
    _paint_fabric(canvas, decode_srgb(np.array(background.color, np.float32)))
    size = float(np.linalg.norm(landmarks["head_top"] - landmarks["chin"]))
    middle = (landmarks["head_top"] + landmarks["nape"]) / 2
    x, y = np.meshgrid(np.linspace(-4, 4, 60), np.linspace(4, -4, 60))
    waves = sum(
        np.sin(x * math.cos(turn) * pitch + y * math.sin(turn) * pitch + phase)
        for turn, pitch, phase in rng.uniform([0, 2, 0], [math.pi, 5, 6], (4, 3))
    )
    dent = np.exp(-(x**2 + y**2) / 0.7)
    z = 0.12 + 0.025 * waves * (1 - dent) - 0.2 * dent - 0.02 * (x**2 + y**2)
    points = np.stack([x, y, z], axis=-1) * size + np.array([middle[0], middle[1], back])
    material = Material(color=canvas.colors, roughness=0.95, specular=0.05, two_sided=True)
    return sheet("bedding", points, material)


class _Canvas:
    """A background in work: colors are linear reflectances, places are shares of the height."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.scale = 192
        self.aspect = width / height
        self.shape = (height, width)
        self.colors = np.zeros((self.scale, max(8, round(self.scale * self.aspect)), 3), np.float32)
        self.glow = np.zeros_like(self.colors)

    def fill(self, color: Sequence[float] | Floats) -> None:
        self.colors[:] = color

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        color: Sequence[float] | Floats,
        glow: float = 0.0,
    ) -> None:
        """Draw a rectangle; with a glow it is a source of light of that brightness."""
        rows = slice(*(round(np.clip(y, 0, 1) * self.scale) for y in (top, bottom)))
        columns = slice(*(round(np.clip(x, 0, self.aspect) * self.scale) for x in (left, right)))
        self.colors[rows, columns] = color
        self.glow[rows, columns] = glow

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        color: Sequence[float] | Floats,
        opacity: float = 1.0,
    ) -> None:
        x, y, radius = x * self.scale, y * self.scale, radius * self.scale
        left, top = (max(0, math.floor(at - radius - 1)) for at in (x, y))
        part = self.colors[top : math.ceil(y + radius + 2), left : math.ceil(x + radius + 2)]
        rows, columns = np.mgrid[0 : part.shape[0], 0 : part.shape[1]].astype(np.float32)
        inside = radius + 0.5 - np.hypot(columns + left - x, rows + top - y)
        share = opacity * np.clip(inside, 0, 1)[..., None]
        part += share * (np.asarray(color, np.float32) - part)

    def grid(self) -> tuple[Floats, Floats]:
        """Return x and y of every pixel, in shares of the height."""
        rows, columns = self.colors.shape[:2]
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / self.scale
        return x, y

    def clouds(self, cells: float) -> Floats:
        """Return smooth noise around 0 of standard deviation 1: (rows, columns)."""
        rows, columns = self.colors.shape[:2]
        small = (max(3, round(cells) + 2), max(3, round(cells * self.aspect) + 2))
        noise = self.rng.standard_normal(small).astype(np.float32)
        smooth = cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_CUBIC)
        return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)

    def blur(self, radius: float) -> None:
        """Put what is drawn so far out of focus; radius: standard deviation, of the height."""
        sigma = radius * self.scale
        if sigma >= 0.3:
            for layer in (self.colors, self.glow):
                cv2.GaussianBlur(layer, (0, 0), sigma, dst=layer, borderType=cv2.BORDER_REPLICATE)


def _lit(canvas: _Canvas, light: Light) -> Floats:
    """Return the canvas in its light, brighter on the main light's side, at the image's size."""
    sources, sky, ground = lights_of(light)
    x, y = canvas.grid()
    side = math.sin(math.radians(light.azimuth)) * (2 * x / canvas.aspect - 1)
    from_main = (0.55 + 0.35 * side)[..., None] * sources[0].color
    around = (1 - y)[..., None] * sky + y[..., None] * ground
    image = canvas.colors * (from_main + around) + canvas.glow * light_level(light)
    height, width = canvas.shape
    method = cv2.INTER_AREA if height < canvas.scale else cv2.INTER_CUBIC
    shown = cv2.resize(image.astype(np.float32), (width, height), interpolation=method)
    return np.asarray(np.maximum(shown, 0), np.float32)


def _some_color(rng: np.random.Generator, saturation: float, value: float) -> Floats:
    """Return a linear color of any hue."""
    hue = rng.uniform(0, 6)
    wheel = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return decode_srgb(np.asarray(value * (1 - saturation + saturation * wheel), np.float32))


def _paint_plain(canvas: _Canvas, color: Floats) -> None:
    """A wall: a little uneven, with a soft shadow toward one edge."""
    canvas.fill(color)
    x, y = canvas.grid()
    toward = canvas.rng.uniform(0, 2 * math.pi)
    slope = math.cos(toward) * (x / canvas.aspect - 0.5) + math.sin(toward) * (y - 0.5)
    shade = 1 + 0.25 * slope + 0.03 * canvas.clouds(4)
    canvas.colors *= np.clip(shade, 0.3, 1.5)[..., None]


def _paint_blur(canvas: _Canvas, color: Floats) -> None:
    """Something far out of focus: soft patches around one color."""
    canvas.fill(color)
    for cells, depth in ((2, 0.35), (5, 0.2)):
        tint = _some_color(canvas.rng, 0.4, 0.8) + 0.2
        canvas.colors *= np.exp(depth * canvas.clouds(cells))[..., None]
        canvas.colors *= 1 + (tint - tint.mean()) * np.tanh(canvas.clouds(cells))[..., None] * 0.6
    np.clip(canvas.colors, 0.01, 0.95, out=canvas.colors)


def _paint_room(canvas: _Canvas, color: Floats) -> None:
    """A living room: wall, window, pictures, furniture and a lamp, out of focus."""
    rng, wide = canvas.rng, canvas.aspect
    canvas.fill(color)
    canvas.colors *= (1 + 0.04 * canvas.clouds(3))[..., None]
    floor = rng.uniform(0.8, 0.95)
    canvas.box(0, floor, wide, 1, decode_srgb(np.array([0.5, 0.38, 0.27], np.float32)))
    if rng.random() < 0.6:
        _window(canvas)
    for _ in range(rng.integers(0, 4)):
        x, y, w, h = rng.uniform([0, 0.05, 0.1, 0.1], [wide, 0.35, 0.28, 0.3])
        canvas.box(x, y, x + w, y + h, _some_color(rng, 0.15, rng.uniform(0.15, 0.9)))
        inner = _some_color(rng, 0.5, rng.uniform(0.3, 0.9))
        canvas.box(x + 0.02, y + 0.02, x + w - 0.02, y + h - 0.02, inner)
    for _ in range(rng.integers(1, 4)):
        x, w, h = rng.uniform([-0.2, 0.25, 0.2], [wide, 0.8, 0.6])
        tone = _some_color(rng, rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.75))
        canvas.box(x, floor + 0.05 - h, x + w, 1, tone)
        canvas.box(x, floor + 0.05 - h, x + w, floor + 0.09 - h, tone * 1.35)
    if rng.random() < 0.4:
        x, y = rng.uniform([0, 0.2], [wide, 0.45])
        canvas.box(x - 0.015, y, x + 0.015, 1, (0.1, 0.08, 0.06))
        canvas.box(x - 0.09, y - 0.14, x + 0.09, y, (0.9, 0.8, 0.6), glow=0.5)
    canvas.blur(rng.uniform(0.008, 0.03))


def _window(canvas: _Canvas) -> None:
    """A bright window with a cross and curtains."""
    rng = canvas.rng
    x = rng.choice([rng.uniform(-0.1, 0.1), rng.uniform(0.6, 0.9)]) * canvas.aspect
    top, width, height = rng.uniform([0.02, 0.25, 0.4], [0.15, 0.45, 0.65])
    canvas.box(x - 0.03, top - 0.03, x + width + 0.03, top + height + 0.03, (0.75, 0.74, 0.7))
    canvas.box(x, top, x + width, top + height, (0.8, 0.85, 0.9), glow=rng.uniform(0.3, 1.1))
    middle = x + width / 2
    canvas.box(middle - 0.012, top, middle + 0.012, top + height, (0.6, 0.6, 0.58))
    cloth = _some_color(rng, 0.25, 0.8)
    for start in (x - 0.12, x + width - 0.02):
        for fold in range(5):
            left = start + fold * 0.028
            canvas.box(left, top - 0.06, left + 0.028, 0.9, cloth * (0.75 + 0.35 * (fold % 2)))


def _paint_garden(canvas: _Canvas, color: Floats) -> None:
    """Leaves, sky and grass, with discs of light far out of focus."""
    rng, wide = canvas.rng, canvas.aspect
    leaves = decode_srgb(np.array([[0.25, 0.38, 0.16], [0.4, 0.52, 0.22]], np.float32))
    _, y = canvas.grid()
    horizon = rng.uniform(0.1, 0.45)
    mix = 1 / (1 + np.exp(-(y - horizon + 0.06 * canvas.clouds(5)) * 24))
    sky = decode_srgb(np.array([0.72, 0.82, 0.93], np.float32))
    canvas.colors[:] = sky * (1 - mix)[..., None] + leaves[0] * mix[..., None]
    canvas.colors *= np.exp(0.35 * canvas.clouds(9))[..., None]
    if rng.random() < 0.4:
        trunk, thick = rng.uniform([0, 0.04], [wide, 0.12])
        canvas.box(trunk, 0, trunk + thick, 0.9, (0.09, 0.06, 0.04))
    canvas.blur(0.02)
    for _ in range(rng.integers(40, 110)):
        at_x, at_y, radius = rng.uniform([0, 0, 0.015], [wide, 0.95, 0.06])
        tone = leaves[rng.integers(2)] * rng.uniform(0.6, 2.2)
        if rng.random() < 0.06:
            tone = _some_color(rng, 0.45, 0.9)
        if at_y < horizon:
            tone = tone * 0.5 + sky * 0.5
        canvas.disc(at_x, at_y, radius, np.minimum(tone, 0.95), rng.uniform(0.2, 0.6))
    canvas.blur(rng.uniform(0.006, 0.015))
    canvas.colors *= 0.85 + 0.3 * color / max(float(color.mean()), 0.05)


def _paint_fabric(canvas: _Canvas, color: Floats) -> None:
    """A blanket or sheet with a printed pattern and folds."""
    rng = canvas.rng
    canvas.fill(color)
    x, y = canvas.grid()
    warp_x = x + 0.012 * canvas.clouds(4)
    warp_y = y + 0.012 * canvas.clouds(4)
    turn, pitch = rng.uniform(0, math.pi), rng.uniform(0.06, 0.16)
    along = (warp_x * math.cos(turn) + warp_y * math.sin(turn)) / pitch
    across = (-warp_x * math.sin(turn) + warp_y * math.cos(turn)) / pitch
    print_color = _some_color(rng, rng.uniform(0.1, 0.7), rng.uniform(0.25, 0.95))
    dot = np.hypot(along % 1 - 0.5, across % 1 - 0.5)
    cell = np.sin(3.1 * np.floor(along) + 5.7 * np.floor(across))
    petals = 0.28 + 0.1 * np.cos(5 * np.arctan2(across % 1 - 0.5, along % 1 - 0.5))
    shares = {
        "stripes": (along % 1 < 0.4) * 1.0,
        "check": ((along % 1 < 0.5) * 0.5 + (across % 1 < 0.5) * 0.5),
        "dots": (dot < 0.25) * 1.0,
        "flowers": (dot < petals) * (cell > -0.3) * 1.0,
        "none": np.zeros_like(x),
    }
    share = shares[str(rng.choice(list(shares)))].astype(np.float32)[..., None]
    canvas.colors += share * 0.85 * (print_color - canvas.colors)
    canvas.blur(rng.uniform(0.002, 0.008))
    folds = np.tanh(canvas.clouds(3)) * 0.1 + np.abs(np.tanh(canvas.clouds(5))) * 0.14 - 0.07
    canvas.colors *= (1 + folds)[..., None]


def _paint_shelf(canvas: _Canvas, color: Floats) -> None:
    """Shelves with books, blocks, balls and bears, out of focus."""
    rng, wide = canvas.rng, canvas.aspect
    canvas.fill(color * 0.8)
    wood = decode_srgb(np.array([0.72, 0.56, 0.38], np.float32)) * rng.uniform(0.4, 1.2)
    gap = rng.uniform(0.24, 0.38)
    board = rng.uniform(0.05, gap)
    while board < 1 + gap:
        canvas.box(0, board - gap, wide, board - gap + 0.05, color * 0.45)
        x = rng.uniform(0, 0.1)
        while x < wide:
            x += _toy(canvas, x, board, gap * 0.8) + rng.uniform(0.0, 0.08)
        canvas.box(0, board, wide, board + 0.025, wood)
        board += gap
    canvas.blur(rng.uniform(0.006, 0.022))


def _toy(canvas: _Canvas, x: float, board: float, room: float) -> float:
    """Draw one thing that stands on a board; returns its width."""
    rng = canvas.rng
    color = _some_color(rng, rng.uniform(0.3, 0.85), rng.uniform(0.4, 0.95))
    kind = rng.choice(["book", "book", "book", "block", "ball", "bear", "none"])
    if kind == "book":
        width, height = rng.uniform([0.02, 0.55 * room], [0.07, room])
        canvas.box(x, board - height, x + width, board, color)
        canvas.box(x, board - height * 0.8, x + width, board - height * 0.7, color * 0.5 + 0.3)
        return float(width)
    size = float(rng.uniform(0.3, 0.55) * room)
    if kind == "block":
        canvas.box(x, board - size, x + size, board, color)
        canvas.box(
            x + size * 0.2, board - size * 0.8, x + size * 0.8, board - size * 0.2, color * 2
        )
    elif kind == "ball":
        canvas.disc(x + size / 2, board - size / 2, size / 2, color)
        canvas.disc(x + size * 0.38, board - size * 0.65, size * 0.15, color * 0.6 + 0.35)
    elif kind == "bear":
        brown = decode_srgb(np.array([0.6, 0.42, 0.26], np.float32)) * rng.uniform(0.6, 1.4)
        for dx, dy, radius in (
            (0.5, 0.35, 0.36),
            (0.5, 0.88, 0.27),
            (0.28, 1.1, 0.1),
            (0.72, 1.1, 0.1),
        ):
            canvas.disc(x + dx * size, board - dy * size, radius * size, brown)
        canvas.disc(x + 0.5 * size, board - 0.82 * size, 0.12 * size, brown * 1.6)
    return size


_PAINTERS: Final[dict[str, Callable[[_Canvas, Floats], None]]] = {
    "plain": _paint_plain,
    "room": _paint_room,
    "garden": _paint_garden,
    "fabric": _paint_fabric,
    "shelf": _paint_shelf,
    "blur": _paint_blur,
}
