"""Compiled loops of the rasterizer: visible triangles, layers of hair, depth maps, light.

Everything works on flat arrays. A *point* is one place that gets light: the nearest opaque
surface of a subpixel, or a layer of hair in front of it. Results depend on the input only:
nothing runs in parallel, and sums have a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

CHANNELS: Final = 8
"""Of a texel: color times alpha (3), alpha, tangent-space normal (3), ambient."""

_FAR: Final = np.float32(-1e30)
_MOST_LAYERS: Final = 256
_FAINT: Final = 0.004
_HIDDEN: Final = 0.03
_EDGE: Final = -1e-6
_AWAY: Final = -0.25
"""Cosine to the light below which a triangle counts as turned away."""
_DITHER: Final = (
    52.9829189 * ((0.06711056 * np.arange(16) + 0.00583715 * np.arange(16)[:, None]) % 1) % 1
).astype(np.float32)
"""Noise between 0 and 1 in which neighbors differ; Jimenez (2014), "Next generation post
processing in Call of Duty"."""
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
def _alpha(pool: Any, images: Any, part: int, level: float, u: float, v: float) -> float:
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
                alpha = _alpha(pool, images, part_of[t], level_of[t], u, v)
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
def choose_points(ids: Any, latest: Any, links: Any, values: Any) -> Any:
    """Return the points that can be seen and, (h, w) each, what shines through all layers and the
    triangle that is seen most, -1 where it is the background.

    Each point: (subpixel, triangle) and its weight in the subpixel; the opaque surface comes last.
    Layers are sorted from the nearest on; those behind others that hide them are left out.
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
                places[count, 0], places[count, 1] = y * width + x, ids[y, x]
                weights[count] = rest
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
def _unit(x: float, y: float, z: float) -> Any:
    length = math.sqrt(x * x + y * y + z * z)
    if length == 0.0:
        return 0.0, 0.0, 0.0
    return x / length, y / length, z / length


@compiled
def _bent(nx: float, ny: float, nz: float, tangents: Any, texel: Any) -> Any:
    """Return the normal bent by a texel's tangent-space normal."""
    ux, uy, uz, vx, vy, vz = tangents
    along = ux * nx + uy * ny + uz * nz
    ux, uy, uz = _unit(ux - along * nx, uy - along * ny, uz - along * nz)
    along = vx * nx + vy * ny + vz * nz
    vx, vy, vz = _unit(vx - along * nx, vy - along * ny, vz - along * nz)
    r, s, t = texel[4], texel[5], texel[6]
    return _unit(
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
        nx, ny, nz = _unit(smooth[n, 0], smooth[n, 1], smooth[n, 2])
        bent = _bent(nx, ny, nz, _tangents(vertices, uv, a, b, c), out)
        side = 1.0
        if volume > 0.0:  # seen from behind
            side = -1.0 if two_sided[part_of[t]] else 1.0
            ambient[n] = ambient[n] if two_sided[part_of[t]] else -1.0
        smooth[n, 0], smooth[n, 1], smooth[n, 2] = side * nx, side * ny, side * nz
        nx, ny, nz = side * bent[0], side * bent[1], side * bent[2]
        ex, ey, ez = _unit(
            eye[0] - position[n, 0], eye[1] - position[n, 1], eye[2] - position[n, 2]
        )
        twice = 2.0 * (nx * ex + ny * ey + nz * ez)
        normal[n, 0], normal[n, 1], normal[n, 2] = nx, ny, nz
        toward[n, 0], toward[n, 1], toward[n, 2] = ex, ey, ez
        mirror[n, 0], mirror[n, 1] = twice * nx - ex, twice * ny - ey
        mirror[n, 2] = twice * nz - ez


# ---------------------------------------------------------------------- light and shadow


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
            alpha = _alpha(pool, images, part_of[t], level_of[t] + 1.0, u, v)
            means[t] += alpha / _SEVEN.shape[0]
    return means


@compiled
def _widest(vertices: Any, a: int, b: int, c: int) -> float:
    """Return the largest side of the box around a triangle."""
    widest = 0.0
    for k in range(3):
        low = min(vertices[a, k], vertices[b, k], vertices[c, k])
        widest = max(widest, max(vertices[a, k], vertices[b, k], vertices[c, k]) - low)
    return widest


@compiled
def coarsened(vertices: Any, triangles: Any, opacity: Any, solid: Any, cell: float) -> Any:
    """Return a mesh whose corners in one cell of a grid are one, and what is too large to merge.

    Light that reaches a depth map of texels as wide as a cell cannot tell the difference. So small
    triangles that are not opaque are left out or become opaque, as chance has it; the numbers of
    the large ones come last. Returned before: vertices, triangles, and the normals of what is
    solid, 0 for the rest; (n, 3) each.
    """
    size = 1
    while size < 4 * vertices.shape[0]:
        size *= 2
    table = np.full(size, -1, np.int32)
    cells = np.floor(vertices / cell + 0.37).astype(np.int64)
    merged = np.empty(vertices.shape[0], np.int32)
    first = np.empty(vertices.shape[0], np.int32)
    corners = 0
    for n in range(vertices.shape[0]):
        x, y, z = cells[n, 0], cells[n, 1], cells[n, 2]
        slot = (x * 73856093 ^ y * 19349663 ^ z * 83492791) & (size - 1)
        while table[slot] >= 0:
            other = first[table[slot]]
            if cells[other, 0] == x and cells[other, 1] == y and cells[other, 2] == z:
                break
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot], first[corners] = corners, n
            corners += 1
        merged[n] = table[slot]
    out, normals = np.empty_like(triangles), np.zeros(triangles.shape, np.float32)
    large = np.empty(triangles.shape[0], np.int32)
    count, wide = 0, 0
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        a, b, c = merged[i], merged[j], merged[k]
        if a in (b, c) or b == c or opacity[t] <= 0.03:
            continue
        if opacity[t] < 0.97:
            if _widest(vertices, i, j, k) > 6.0 * cell:
                large[wide] = t
                wide += 1
                continue
            if opacity[t] <= (t * 40503 & 65535) / 65536.0:
                continue
        out[count, 0], out[count, 1], out[count, 2] = a, b, c
        if solid[t]:
            x, y, z = _facing(vertices, i, j, k)
            normals[count, 0], normals[count, 1], normals[count, 2] = x, y, z
        count += 1
    return vertices[first[:corners]], out[:count].copy(), normals[:count].copy(), large[:wide]


@compiled
def _facing(vertices: Any, a: int, b: int, c: int) -> Any:
    """Return the normal of a triangle."""
    x1, x2 = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
    y1, y2 = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
    z1, z2 = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
    return _unit(y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)


@compiled
def depth_map(
    vertices: Any, frame: Any, triangles: Any, normals: Any, seen: Any, depths: Any
) -> None:
    """Write how near to the light the first surface is, for a light at infinity.

    frame: (3, 4), world to (texel x, texel y, nearness). seen: (n, 3), room for the result of it.
    Triangles whose normal points away from the light are left out: their front stops it before.
    """
    half, end = np.float32(0.5), np.float32(depths.shape[0])
    depths[:] = _FAR
    _project(vertices, frame, seen)
    for t in range(triangles.shape[0]):
        away = (
            normals[t, 0] * frame[2, 0] + normals[t, 1] * frame[2, 1] + normals[t, 2] * frame[2, 2]
        )
        if away < _AWAY:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = seen[a, 0], seen[b, 0], seen[c, 0]
        left, right = int(max(min(x0, x1, x2) + half, half)), int(min(max(x0, x1, x2), end) + half)
        if left >= right:
            continue
        y0, y1, y2 = seen[a, 1], seen[b, 1], seen[c, 1]
        top, bottom = int(max(min(y0, y1, y2) + half, half)), int(min(max(y0, y1, y2), end) + half)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if top >= bottom or area == 0.0:
            continue
        s = 1.0 / area
        i_x, j_x = (y1 - y2) * s, (y2 - y0) * s
        z2 = seen[c, 2]
        z_i, z_j = seen[a, 2] - z2, seen[b, 2] - z2
        for y in range(top, bottom):
            px, py = left + 0.5, y + 0.5
            i = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * s - i_x
            j = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * s - j_x
            for x in range(left, right):
                i += i_x
                j += j_x
                if i < _EDGE or j < _EDGE or i + j > 1.0 - _EDGE:
                    continue
                z = z2 + i * z_i + j * z_j
                if z > depths[y, x]:
                    depths[y, x] = z


@compiled
def _project(vertices: Any, frame: Any, seen: Any) -> None:
    for n in range(vertices.shape[0]):
        x, y, z = vertices[n, 0], vertices[n, 1], vertices[n, 2]
        for m in range(3):
            seen[n, m] = frame[m, 0] * x + frame[m, 1] * y + frame[m, 2] * z + frame[m, 3]


@compiled
def add_layers(
    vertices: Any,
    frame: Any,
    triangles: Any,
    uv: Any,
    part_of: Any,
    level_of: Any,
    pool: Any,
    images: Any,
    seen: Any,
    depths: Any,
) -> None:
    """Add large triangles that are not opaque to a depth map, dithered by their texture."""
    half, end = np.float32(0.5), np.float32(depths.shape[0])
    _project(vertices, frame, seen)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = seen[a, 0], seen[b, 0], seen[c, 0]
        y0, y1, y2 = seen[a, 1], seen[b, 1], seen[c, 1]
        left, right = int(max(min(x0, x1, x2) + half, half)), int(min(max(x0, x1, x2), end) + half)
        top, bottom = int(max(min(y0, y1, y2) + half, half)), int(min(max(y0, y1, y2), end) + half)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if left >= right or top >= bottom or area == 0.0:
            continue
        s = 1.0 / area
        i_x, j_x = (y1 - y2) * s, (y2 - y0) * s
        for y in range(top, bottom):
            px, py = left + 0.5, y + 0.5
            i = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * s - i_x
            j = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * s - j_x
            for x in range(left, right):
                i += i_x
                j += j_x
                k = 1.0 - i - j
                if i < _EDGE or j < _EDGE or k < _EDGE:
                    continue
                z = i * seen[a, 2] + j * seen[b, 2] + k * seen[c, 2]
                if z > depths[y, x]:
                    u = i * uv[a, 0] + j * uv[b, 0] + k * uv[c, 0]
                    v = i * uv[a, 1] + j * uv[b, 1] + k * uv[c, 1]
                    alpha = _alpha(pool, images, part_of[t], level_of[t] + 1.0, u, v)
                    if alpha > _DITHER[(y + 5 * t) & 15, (x + 11 * t) & 15]:
                        depths[y, x] = z


@compiled
def _lit(depths: Any, frame: Any, bias: float, lifted: Any, n: int) -> float:
    """Return the share of light, 0 to 1, that reaches a point: four comparisons, blended.

    lifted: (n, 3), points moved off their surface, so that it does not shadow itself.
    """
    size = depths.shape[0]
    x, y, z = lifted[n, 0], lifted[n, 1], lifted[n, 2]
    u = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z + frame[0, 3] - 0.5
    v = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z + frame[1, 3] - 0.5
    if u < 0.0 or v < 0.0 or u >= size - 1.0 or v >= size - 1.0:
        return 1.0
    w = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z + frame[2, 3] + bias
    left, top = int(u), int(v)
    fx, fy = u - left, v - top
    upper = (1.0 - fx) * (depths[top, left] <= w) + fx * (depths[top, left + 1] <= w)
    lower = (1.0 - fx) * (depths[top + 1, left] <= w) + fx * (depths[top + 1, left + 1] <= w)
    return float((1.0 - fy) * upper + fy * lower)


@compiled
def gather_light(
    depths: Any,
    frame: Any,
    bias: float,
    direction: Any,
    share: float,
    turn: int,
    lifted: Any,
    normal: Any,
    steps: Any,
    diffuse: Any,
    visible: Any,
) -> None:
    """Add one direction of a light: cosine times visibility to diffuse, visibility to visible.

    steps: (n,), a point takes only one direction in so many, beginning at another than its
    neighbors; 0 takes none. turn: the direction's number.
    """
    dx, dy, dz = direction[0], direction[1], direction[2]
    for n in range(lifted.shape[0]):
        step = steps[n]
        if step == 0 or (step > 1 and (n + turn) % step):
            continue
        cosine = normal[n, 0] * dx + normal[n, 1] * dy + normal[n, 2] * dz
        if cosine > 0.0:
            lit = _lit(depths, frame, bias, lifted, n) * share * step
            diffuse[n] += lit * cosine
            visible[n] += lit


@compiled
def gather_ambient(
    depths: Any,
    frame: Any,
    bias: float,
    direction: Any,
    turn: int,
    lifted: Any,
    normal: Any,
    mirror: Any,
    steps: Any,
    sums: Any,
) -> None:
    """Add one direction of the surroundings to sums, (n, 6).

    sums: what is seen of the sky and the sky, the same of the ground, both weighted by the cosine;
    the same of both around the mirrored view. steps, turn: see `gather_light`.
    """
    half = 0 if direction[1] >= 0.0 else 2
    dx, dy, dz = direction[0], direction[1], direction[2]
    for n in range(lifted.shape[0]):
        step = steps[n]
        if step == 0 or (step > 1 and (n + turn) % step):
            continue
        cosine = normal[n, 0] * dx + normal[n, 1] * dy + normal[n, 2] * dz
        if cosine <= 0.0:
            continue
        lit = _lit(depths, frame, bias, lifted, n)
        sums[n, half] += lit * cosine
        sums[n, half + 1] += cosine
        glance = mirror[n, 0] * dx + mirror[n, 1] * dy + mirror[n, 2] * dz
        if glance > 0.0:
            glance *= glance
            sums[n, 4] += lit * glance * glance
            sums[n, 5] += glance * glance


@compiled
def _highlight(alpha: float, f0: float, nl: float, nv: float, nh: float, vh: float) -> float:
    """Return the GGX reflection times pi and the cosine to the light; Walter et al. (2007)."""
    a2 = alpha * alpha
    d = nh * nh * (a2 - 1.0) + 1.0
    masking = nl * math.sqrt(nv * nv * (1.0 - a2) + a2) + nv * math.sqrt(nl * nl * (1.0 - a2) + a2)
    fresnel = f0 + (1.0 - f0) * (1.0 - vh) ** 5
    return float(a2 / (d * d) * 0.5 / masking * fresnel * nl)


@compiled
def _mirrored(glance: float, size: float, alpha: float, f0: float, nv: float) -> float:
    """Return how bright a light's disk is in a glossy surface; glance: cosine of the mirrored view
    to its middle. Its edge is as soft as the surface is rough.
    """
    angle = math.acos(min(max(glance, -1.0), 1.0))
    soft = 2.0 * alpha + 0.02
    cover = min(max((size + 0.5 * soft - angle) / soft, 0.0), 1.0)
    fresnel = f0 + (1.0 - f0) * (1.0 - nv) ** 5
    return float(fresnel * cover / math.sin(min(size, 1.5)) ** 2)


@compiled
def shade_light(
    direction: Any,
    color: Any,
    size: float,
    places: Any,
    part_of: Any,
    looks: Any,
    normal: Any,
    toward: Any,
    mirror: Any,
    diffuse: Any,
    visible: Any,
    light: Any,
    gloss: Any,
) -> None:
    """Add one light to the matte light and to the gloss of all points, (n, 3) each.

    looks: (parts, 3), roughness, specular and scattering. The light's size widens highlights, as
    in Karis (2013), "Real Shading in Unreal Engine 4"; what is smooth (eyes) mirrors its disk.
    Skin has a second, sharper lobe.
    """
    dx, dy, dz = direction[0], direction[1], direction[2]
    for n in range(normal.shape[0]):
        for k in range(3):
            light[n, k] += diffuse[n] * color[k]
        nx, ny, nz = normal[n, 0], normal[n, 1], normal[n, 2]
        nl = nx * dx + ny * dy + nz * dz
        if visible[n] <= 0.0 or nl <= 0.0:
            continue
        part = part_of[places[n, 1]]
        f0 = 0.08 * looks[part, 1]
        ex, ey, ez = toward[n, 0], toward[n, 1], toward[n, 2]
        nv = max(nx * ex + ny * ey + nz * ez, 0.02)
        hx, hy, hz = _unit(dx + ex, dy + ey, dz + ez)
        nh = min(max(nx * hx + ny * hy + nz * hz, 0.0), 1.0)
        vh = min(max(ex * hx + ey * hy + ez * hz, 0.0), 1.0)
        rough2 = max(looks[part, 0], 0.04) ** 4
        spread2 = 0.25 * math.sin(min(size, 1.5)) ** 2
        if rough2 < 0.04 * spread2:
            glance = mirror[n, 0] * dx + mirror[n, 1] * dy + mirror[n, 2] * dz
            value = _mirrored(glance, size, math.sqrt(rough2), f0, nv)
        else:
            value = _highlight(min(math.sqrt(rough2 + spread2), 1.0), f0, nl, nv, nh, vh)
        if looks[part, 2] > 0.0:
            fine = min(math.sqrt(0.1 * rough2 + spread2), 1.0)
            value = 0.85 * value + 0.15 * _highlight(fine, f0, nl, nv, nh, vh)
        for k in range(3):
            gloss[n, k] += visible[n] * value * color[k]


@compiled
def shade_ambient(
    sky: Any,
    ground: Any,
    places: Any,
    part_of: Any,
    looks: Any,
    normal: Any,
    toward: Any,
    mirror: Any,
    color: Any,
    ambient: Any,
    sums: Any,
    light: Any,
    gloss: Any,
) -> None:
    """Add sky and ground, as far as they are seen, and light that comes from near surfaces.

    What hides the surroundings is taken to be as bright as the whole scene is on average. The
    mirrored surroundings use the fit of Karis (2014), "Physically based shading on mobile".
    """
    mean, count = np.zeros(3), 0
    open_share = np.zeros(normal.shape[0], np.float32)
    for n in range(normal.shape[0]):
        if ambient[n] < 0.0:
            continue
        above = 0.5 + 0.5 * normal[n, 1]
        up = sums[n, 0] / sums[n, 1] if sums[n, 1] > 0.0 else 1.0
        down = sums[n, 2] / sums[n, 3] if sums[n, 3] > 0.0 else 1.0
        open_share[n] = (above * up + (1.0 - above) * down) * ambient[n]
        for k in range(3):
            surround = above * up * sky[k] + (1.0 - above) * down * ground[k]
            light[n, k] += surround * ambient[n]
            mean[k] += color[n, k] * light[n, k]
        count += 1
    for n in range(normal.shape[0]):
        if ambient[n] < 0.0:
            continue
        hidden = (1.0 - open_share[n]) * math.sqrt(open_share[n])
        for k in range(3):
            light[n, k] += hidden * mean[k] / count
        part = part_of[places[n, 1]]
        rough, f0 = looks[part, 0], 0.08 * looks[part, 1]
        nx, ny, nz = normal[n, 0], normal[n, 1], normal[n, 2]
        ex, ey, ez = toward[n, 0], toward[n, 1], toward[n, 2]
        nv = min(max(nx * ex + ny * ey + nz * ez, 0.0), 1.0)
        edge = 1.0 - rough
        a = min(edge * edge, 2.0 ** (-9.28 * nv)) * edge + 0.0425 - 0.0275 * rough
        strength = f0 * (1.04 - 0.572 * rough - 1.04 * a) + 1.04 * a - 0.04 + 0.022 * rough
        above = min(max(0.5 + 0.5 * mirror[n, 1] / (rough + 0.1), 0.0), 1.0)
        seen = sums[n, 4] / sums[n, 5] if sums[n, 5] > 0.0 else 1.0
        for k in range(3):
            surround = above * sky[k] + (1.0 - above) * ground[k]
            gloss[n, k] += strength * seen * ambient[n] * surround


# --------------------------------------------------------------------- skin and image


@compiled
def soften(light: Any, depth: Any, mix: Any, kernel: Any, step: float, along_x: bool) -> Any:
    """Return light (h, w, 3) blurred along one axis where mix (h, w) is above 0.

    kernel: (radius + 1, 3), a weight a channel. Neighbors that lie deeper or nearer than step,
    and those with mix 0, count less or not at all.
    """
    height, width = depth.shape
    out = light.copy()
    for y in range(height):
        for x in range(width):
            if mix[y, x] <= 0.0:
                continue
            here = depth[y, x]
            r, g, b = 0.0, 0.0, 0.0
            wr, wg, wb = 0.0, 0.0, 0.0
            for k in range(1 - kernel.shape[0], kernel.shape[0]):
                py, px = (y, x + k) if along_x else (y + k, x)
                if px < 0 or py < 0 or px >= width or py >= height or mix[py, px] <= 0.0:
                    continue
                gap = (depth[py, px] - here) / step
                near = 1.0 / (1.0 + gap * gap)
                i = abs(k)
                r += near * kernel[i, 0] * light[py, px, 0]
                g += near * kernel[i, 1] * light[py, px, 1]
                b += near * kernel[i, 2] * light[py, px, 2]
                wr += near * kernel[i, 0]
                wg += near * kernel[i, 1]
                wb += near * kernel[i, 2]
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = r / wr, g / wg, b / wb
    return out


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
