"""Compiled loops of the rasterizer: textures, visible triangles, layers of hair, points.

Everything works on flat arrays. A *point* is one place that gets light: the nearest opaque
surface of a subpixel, or a layer of hair in front of it. Results depend on the input only:
nothing runs in parallel, and sums have a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np

from moppet.values import MoppetError

try:
    import numba
except ImportError as error:
    raise MoppetError(
        "Rendering needs numba. Install it with: pip install 'moppet[render]'"
    ) from error

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

CHANNELS: Final = 8
"""Of a texel: color times alpha (3), alpha, tangent-space normal (3), ambient."""

_MOST_LAYERS: Final = 256
_FAINT: Final = 0.004
_HIDDEN: Final = 0.03
_SEVEN: Final = np.array(
    [[3, 0, 0], [0, 3, 0], [0, 0, 3], [2, 1, 0], [0, 2, 1], [1, 0, 2], [1, 1, 1]], np.float64
)
"""Corners, edges and middle of a triangle, in thirds."""


def compiled(function: _Kernel) -> _Kernel:
    """Return the function compiled on first use; kept on disk where a folder can be written."""
    try:
        kernel = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for compiled code
        kernel = numba.njit(error_model="numpy")(function)
    return cast(_Kernel, kernel)


# ------------------------------------------------------------------------------ textures


@compiled
def _texel(pool: Any, start: int, height: int, width: int, u: float, v: float, out: Any) -> None:
    """Add bilinear samples of one image to out, (CHANNELS,), weighted by out's last entry."""
    x = min(max(u, 0.0), 1.0) * width - 0.5
    y = (1.0 - min(max(v, 0.0), 1.0)) * height - 0.5
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    x0, x1 = max(int(left), 0), min(int(left) + 1, width - 1)
    y0, y1 = max(int(top), 0), min(int(top) + 1, height - 1)
    a, b = start + (y0 * width + x0) * CHANNELS, start + (y0 * width + x1) * CHANNELS
    c, d = start + (y1 * width + x0) * CHANNELS, start + (y1 * width + x1) * CHANNELS
    share = out[CHANNELS]
    wa, wb = (1 - fx) * (1 - fy) * share, fx * (1 - fy) * share
    wc, wd = (1 - fx) * fy * share, fx * fy * share
    for k in range(CHANNELS):
        out[k] += wa * pool[a + k] + wb * pool[b + k] + wc * pool[c + k] + wd * pool[d + k]


@compiled
def _sample(pool: Any, images: Any, part: int, level: float, u: float, v: float, out: Any) -> None:
    """Write a trilinear sample of a part's textures to out, (CHANNELS + 1,)."""
    for k in range(CHANNELS):
        out[k] = 0.0
    last = images[part, 0, 3] - 1
    level = min(max(level, 0.0), float(last))
    low = int(level)
    out[CHANNELS] = 1.0 - (level - low)
    _texel(pool, images[part, low, 0], images[part, low, 1], images[part, low, 2], u, v, out)
    if level > low:
        out[CHANNELS] = level - low
        high = low + 1
        _texel(pool, images[part, high, 0], images[part, high, 1], images[part, high, 2], u, v, out)


@compiled
def texture_levels(
    clip: Any,
    uv: Any,
    triangles: Any,
    part_of: Any,
    sizes: Any,
    width: float,
    height: float,
    near: float,
    coarser: float,
    levels: Any,
    areas: Any,
) -> None:
    """Write each triangle's level, the binary logarithm of its texture's texels a subpixel, by side
    length, and add up how much of the image, in subpixels, shows each level of each part.

    sizes: (parts,), texels. areas: (parts, levels), zeros.
    """
    most = areas.shape[1] - 1
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        aw, bw, cw = max(clip[a, 2], near), max(clip[b, 2], near), max(clip[c, 2], near)
        x, y = clip[a, 0] / aw, clip[a, 1] / aw
        x1, y1 = clip[b, 0] / bw - x, clip[b, 1] / bw - y
        x2, y2 = clip[c, 0] / cw - x, clip[c, 1] / cw - y
        area = abs(x1 * y2 - y1 * x2) / 2.0
        u1, v1 = uv[b, 0] - uv[a, 0], uv[b, 1] - uv[a, 1]
        u2, v2 = uv[c, 0] - uv[a, 0], uv[c, 1] - uv[a, 1]
        texels = abs(u1 * v2 - v1 * u2) / 2.0 * sizes[part_of[t]]
        level = 0.5 * math.log2(max(texels / max(area, 1e-12), 1e-12)) + coarser
        levels[t] = level
        if 0.0 < x < width and 0.0 < y < height and clip[a, 2] > near:
            areas[part_of[t], min(max(int(level), 0), most)] += area


@compiled
def read_alpha(pool: Any, images: Any, part: int, level: float, u: float, v: float) -> float:
    """Return the alpha of a part's texture, bilinear in the nearest of the smaller images."""
    k = min(int(max(level, 0.0) + 0.5), images[part, 0, 3] - 1)
    start, height, width = images[part, k, 0], images[part, k, 1], images[part, k, 2]
    x = min(max(u, 0.0), 1.0) * width - 0.5
    y = (1.0 - min(max(v, 0.0), 1.0)) * height - 0.5
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    x0, x1 = max(int(left), 0), min(int(left) + 1, width - 1)
    y0, y1 = max(int(top), 0), min(int(top) + 1, height - 1)
    upper = (1 - fx) * pool[start + (y0 * width + x0) * CHANNELS + 3]
    upper += fx * pool[start + (y0 * width + x1) * CHANNELS + 3]
    lower = (1 - fx) * pool[start + (y1 * width + x0) * CHANNELS + 3]
    lower += fx * pool[start + (y1 * width + x1) * CHANNELS + 3]
    return float((1 - fy) * upper + fy * lower)


# ---------------------------------------------------------------------------- visibility


@compiled
def _edges(clip: Any, a: int, b: int, c: int) -> Any:
    """Return the edge functions of a triangle in homogeneous coordinates, and its volume.

    Olano and Greer (1997), "Triangle scan conversion using 2D homogeneous coordinates": no
    clipping is needed, and barycentric coordinates are right in perspective.
    """
    ax, ay, aw = clip[a, 0], clip[a, 1], clip[a, 2]
    bx, by, bw = clip[b, 0], clip[b, 1], clip[b, 2]
    cx, cy, cw = clip[c, 0], clip[c, 1], clip[c, 2]
    p0, p1, p2 = by * cw - bw * cy, bw * cx - bx * cw, bx * cy - by * cx
    q0, q1, q2 = cy * aw - cw * ay, cw * ax - cx * aw, cx * ay - cy * ax
    r0, r1, r2 = ay * bw - aw * by, aw * bx - ax * bw, ax * by - ay * bx
    volume = ax * p0 + ay * p1 + aw * p2
    return p0, p1, p2, q0, q1, q2, r0, r1, r2, volume


@compiled
def _bounds(clip: Any, a: int, b: int, c: int, near: float, height: int, width: int) -> Any:
    """Return first and last column and row of a triangle; an empty range where it is unseen."""
    aw, bw, cw = clip[a, 2], clip[b, 2], clip[c, 2]
    if aw <= near and bw <= near and cw <= near:
        return 0, -1, 0, -1
    if aw <= near or bw <= near or cw <= near:
        return 0, width - 1, 0, height - 1
    x0, x1, x2 = clip[a, 0] / aw, clip[b, 0] / bw, clip[c, 0] / cw
    y0, y1, y2 = clip[a, 1] / aw, clip[b, 1] / bw, clip[c, 1] / cw
    left = math.ceil(max(min(x0, x1, x2) - 0.5, 0.0))
    right = math.floor(min(max(x0, x1, x2) - 0.5, width - 1.0))
    top = math.ceil(max(min(y0, y1, y2) - 0.5, 0.0))
    bottom = math.floor(min(max(y0, y1, y2) - 0.5, height - 1.0))
    return int(left), int(right), int(top), int(bottom)


@compiled
def rasterize(
    clip: Any, triangles: Any, first: int, end: int, near: float, closeness: Any, ids: Any
) -> None:
    """Write the nearest triangle of every subpixel to ids and 1 / depth to closeness.

    clip: (n, 3), x and y in subpixels times depth, and depth.
    """
    height, width = ids.shape
    for t in range(first, end):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        left, right, top, bottom = _bounds(clip, a, b, c, near, height, width)
        if left > right or top > bottom:
            continue
        p0, p1, p2, q0, q1, q2, r0, r1, r2, volume = _edges(clip, a, b, c)
        if volume == 0.0:
            continue
        s = 1.0 / volume
        for y in range(top, bottom + 1):
            p = (p1 * (y + 0.5) + p2) * s
            q = (q1 * (y + 0.5) + q2) * s
            r = (r1 * (y + 0.5) + r2) * s
            for x in range(left, right + 1):
                i = p + p0 * s * (x + 0.5)
                j = q + q0 * s * (x + 0.5)
                k = r + r0 * s * (x + 0.5)
                if i >= 0.0 and j >= 0.0 and k >= 0.0:
                    near_one = i + j + k
                    if near_one > closeness[y, x] and near_one * near < 1.0:
                        closeness[y, x] = near_one
                        ids[y, x] = t


@compiled
def collect_layers(
    clip: Any,
    triangles: Any,
    first: int,
    end: int,
    near: float,
    closeness: Any,
    uv: Any,
    part_of: Any,
    level_of: Any,
    pool: Any,
    images: Any,
) -> Any:
    """Return what is not opaque in front of the opaque surface: latest of each subpixel (h, w),
    -1 for none, and for every layer its previous one, triangle, 1 / depth and alpha.
    """
    height, width = closeness.shape
    latest = np.full((height, width), -1, np.int32)
    room, count = 4096, 0
    links = np.empty((room, 2), np.int32)
    values = np.empty((room, 2), np.float64)
    for t in range(first, end):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        left, right, top, bottom = _bounds(clip, a, b, c, near, height, width)
        if left > right or top > bottom:
            continue
        p0, p1, p2, q0, q1, q2, r0, r1, r2, volume = _edges(clip, a, b, c)
        if volume == 0.0:
            continue
        s = 1.0 / volume
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                i = (p0 * (x + 0.5) + p1 * (y + 0.5) + p2) * s
                j = (q0 * (x + 0.5) + q1 * (y + 0.5) + q2) * s
                k = (r0 * (x + 0.5) + r1 * (y + 0.5) + r2) * s
                if i < 0.0 or j < 0.0 or k < 0.0:
                    continue
                total = i + j + k
                if total <= closeness[y, x] or total * near >= 1.0:
                    continue
                i, j, k = i / total, j / total, k / total
                u = i * uv[a, 0] + j * uv[b, 0] + k * uv[c, 0]
                v = i * uv[a, 1] + j * uv[b, 1] + k * uv[c, 1]
                alpha = read_alpha(pool, images, part_of[t], level_of[t], u, v)
                if alpha < _FAINT:
                    continue
                if count == room:
                    more_links = np.empty((2 * room, 2), np.int32)
                    more_values = np.empty((2 * room, 2), np.float64)
                    more_links[:room], more_values[:room] = links, values
                    links, values, room = more_links, more_values, 2 * room
                links[count, 0], links[count, 1] = latest[y, x], t
                values[count, 0], values[count, 1] = total, alpha
                latest[y, x] = count
                count += 1
    return latest, links[:count], values[:count]


@compiled
def opaque_shares(
    ids: Any, latest: Any, closeness: Any, part_of: Any, matte: Any, step: float
) -> Any:
    """Return how many subpixels each one's opaque surface stands for, (h, w): 1, or, where all four
    of a pixel show about the same, 2 for those on a diagonal and 0 for the others.

    matte: (parts,), whose shade changes little inside a pixel. step: by which share of the depth
    the four may differ.
    """
    height, width = ids.shape
    shares = np.ones((height, width), np.uint8)
    for y in range(0, height - 1, 2):
        for x in range(0, width - 1, 2):
            if ids[y, x] < 0 or not matte[part_of[ids[y, x]]]:
                continue
            part, alike = part_of[ids[y, x]], True
            low, high = closeness[y, x], closeness[y, x]
            for k in range(4):
                v, u = y + k // 2, x + k % 2
                if latest[v, u] >= 0 or ids[v, u] < 0 or part_of[ids[v, u]] != part:
                    alike = False
                    break
                low, high = min(low, closeness[v, u]), max(high, closeness[v, u])
            if alike and high - low < step * high:
                shares[y, x], shares[y + 1, x + 1] = 2, 2
                shares[y, x + 1], shares[y + 1, x] = 0, 0
    return shares


@compiled
def choose_points(ids: Any, latest: Any, links: Any, values: Any, shares: Any) -> Any:
    """Return the points that can be seen and, (h, w) each, what shines through all layers and the
    triangle that is seen most, -1 where it is the background.

    Each point: (subpixel, triangle) and its weight in the subpixel; the opaque surface comes last.
    Layers are sorted from the nearest on; those behind others that hide them are left out.
    shares: see `opaque_shares`.
    """
    height, width = ids.shape
    most = links.shape[0] + height * width
    places = np.empty((most, 2), np.int32)
    weights = np.empty(most, np.float32)
    through = np.ones((height, width), np.float32)
    foremost = np.full((height, width), -1, np.int32)
    order = np.empty(_MOST_LAYERS, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            layers, item = 0, latest[y, x]
            while item >= 0 and layers < _MOST_LAYERS:
                place = layers
                while place > 0 and values[order[place - 1], 0] < values[item, 0]:
                    order[place] = order[place - 1]
                    place -= 1
                order[place] = item
                layers += 1
                item = links[item, 0]
            rest, most = 1.0, 0.0
            for k in range(layers):
                item = order[k]
                weight = rest * values[item, 1]
                rest -= weight
                if rest < _HIDDEN:
                    weight, rest = weight + rest, 0.0
                places[count, 0], places[count, 1] = y * width + x, links[item, 1]
                weights[count] = weight
                count += 1
                if weight > most:
                    most, foremost[y, x] = weight, links[item, 1]
                if rest == 0.0:
                    break
            if rest > 0.0 and ids[y, x] >= 0:
                if shares[y, x] > 0:
                    places[count, 0], places[count, 1] = y * width + x, ids[y, x]
                    weights[count] = rest * shares[y, x]
                    count += 1
                if rest > most:
                    most, foremost[y, x] = rest, ids[y, x]
                rest = 0.0
            if rest > most:
                foremost[y, x] = -1
            through[y, x] = rest
    return places[:count], weights[:count], through, foremost


@compiled
def _tangents(vertices: Any, uv: Any, a: int, b: int, c: int) -> Any:
    """Return how the position changes along u and along v (six numbers), zeros where undefined."""
    du1, dv1 = uv[b, 0] - uv[a, 0], uv[b, 1] - uv[a, 1]
    du2, dv2 = uv[c, 0] - uv[a, 0], uv[c, 1] - uv[a, 1]
    area = du1 * dv2 - du2 * dv1
    if area == 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s = 1.0 / area
    x1, x2 = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
    y1, y2 = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
    z1, z2 = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
    ux, uy, uz = (x1 * dv2 - x2 * dv1) * s, (y1 * dv2 - y2 * dv1) * s, (z1 * dv2 - z2 * dv1) * s
    vx, vy, vz = (x2 * du1 - x1 * du2) * s, (y2 * du1 - y1 * du2) * s, (z2 * du1 - z1 * du2) * s
    return ux, uy, uz, vx, vy, vz


@compiled
def unit(x: float, y: float, z: float) -> Any:
    length = math.sqrt(x * x + y * y + z * z)
    if length == 0.0:
        return 0.0, 0.0, 0.0
    return x / length, y / length, z / length


@compiled
def _bent(nx: float, ny: float, nz: float, tangents: Any, texel: Any) -> Any:
    """Return the normal bent by a texel's tangent-space normal."""
    ux, uy, uz, vx, vy, vz = tangents
    along = ux * nx + uy * ny + uz * nz
    ux, uy, uz = unit(ux - along * nx, uy - along * ny, uz - along * nz)
    along = vx * nx + vy * ny + vz * nz
    vx, vy, vz = unit(vx - along * nx, vy - along * ny, vz - along * nz)
    r, s, t = texel[4], texel[5], texel[6]
    return unit(
        r * ux + s * vx + t * nx,
        r * uy + s * vy + t * ny,
        r * uz + s * vz + t * nz,
    )


@compiled
def halve(image: Any, out: Any) -> None:
    """Write an image of half the size to out, (height, width, CHANNELS); odd lines are cut."""
    quarter = np.float32(0.25)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for k in range(CHANNELS):
                upper = image[2 * y, 2 * x, k] + image[2 * y, 2 * x + 1, k]
                lower = image[2 * y + 1, 2 * x, k] + image[2 * y + 1, 2 * x + 1, k]
                out[y, x, k] = quarter * (upper + lower)


@compiled
def read_points(
    places: Any,
    clip: Any,
    width: int,
    vertices: Any,
    normals: Any,
    uv: Any,
    triangles: Any,
    part_of: Any,
    level_of: Any,
    two_sided: Any,
    pool: Any,
    images: Any,
    eye: Any,
    position: Any,
    smooth: Any,
    normal: Any,
    toward: Any,
    mirror: Any,
    color: Any,
    ambient: Any,
) -> None:
    """Fill in place, smooth and bent normal, color and ambient of each point, the direction toward
    the eye, and the one that the bent normal mirrors to it.

    Points on the back of a one-sided surface get ambient -1: they are black.
    """
    out = np.zeros(CHANNELS + 1, np.float64)
    for n in range(places.shape[0]):
        t = places[n, 1]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        p0, p1, p2, q0, q1, q2, r0, r1, r2, volume = _edges(clip, a, b, c)
        x, y = places[n, 0] % width + 0.5, places[n, 0] // width + 0.5
        i, j, k = p0 * x + p1 * y + p2, q0 * x + q1 * y + q2, r0 * x + r1 * y + r2
        total = i + j + k
        i, j, k = i / total, j / total, k / total
        for m in range(3):
            position[n, m] = i * vertices[a, m] + j * vertices[b, m] + k * vertices[c, m]
            smooth[n, m] = i * normals[a, m] + j * normals[b, m] + k * normals[c, m]
        u = i * uv[a, 0] + j * uv[b, 0] + k * uv[c, 0]
        v = i * uv[a, 1] + j * uv[b, 1] + k * uv[c, 1]
        _sample(pool, images, part_of[t], level_of[t], u, v, out)
        share = max(out[3], 1e-6)
        for m in range(3):
            color[n, m] = out[m] / share
        ambient[n] = out[7]
        nx, ny, nz = unit(smooth[n, 0], smooth[n, 1], smooth[n, 2])
        bent = _bent(nx, ny, nz, _tangents(vertices, uv, a, b, c), out)
        side = 1.0
        if volume > 0.0:  # seen from behind
            side = -1.0 if two_sided[part_of[t]] else 1.0
            ambient[n] = ambient[n] if two_sided[part_of[t]] else -1.0
        smooth[n, 0], smooth[n, 1], smooth[n, 2] = side * nx, side * ny, side * nz
        nx, ny, nz = side * bent[0], side * bent[1], side * bent[2]
        ex, ey, ez = unit(eye[0] - position[n, 0], eye[1] - position[n, 1], eye[2] - position[n, 2])
        twice = 2.0 * (nx * ex + ny * ey + nz * ez)
        normal[n, 0], normal[n, 1], normal[n, 2] = nx, ny, nz
        toward[n, 0], toward[n, 1], toward[n, 2] = ex, ey, ez
        mirror[n, 0], mirror[n, 1] = twice * nx - ex, twice * ny - ey
        mirror[n, 2] = twice * nz - ez


@compiled
def mean_alpha(triangles: Any, uv: Any, part_of: Any, level_of: Any, pool: Any, images: Any) -> Any:
    """Return how opaque each triangle is on average."""
    means = np.zeros(triangles.shape[0], np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for n in range(_SEVEN.shape[0]):
            i, j, k = _SEVEN[n]
            u = (i * uv[a, 0] + j * uv[b, 0] + k * uv[c, 0]) / 3.0
            v = (i * uv[a, 1] + j * uv[b, 1] + k * uv[c, 1]) / 3.0
            alpha = read_alpha(pool, images, part_of[t], level_of[t] + 1.0, u, v)
            means[t] += alpha / _SEVEN.shape[0]
    return means


@compiled
def add_points(
    places: Any, weights: Any, color: Any, light: Any, gloss: Any, ambient: Any, image: Any
) -> None:
    """Add all points to image, (subpixels, 3)."""
    for n in range(places.shape[0]):
        place, weight = places[n, 0], weights[n]
        if ambient[n] < 0.0:
            continue
        for k in range(3):
            image[place, k] += weight * (color[n, k] * light[n, k] + gloss[n, k])
