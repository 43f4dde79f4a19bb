"""Compiled loops of the rasterizer: depth maps, light from lamps and surroundings, skin.

Points, triangles and textures are the flat arrays of `surface_kernels`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from moppet.synthesis.render.surface_kernels import compiled, read_alpha, unit

_FAR: Final = np.float32(-1e30)
_EDGE: Final = np.float32(-1e-6)
_AWAY: Final = np.float32(-0.25)
"""Cosine to the light below which a triangle counts as turned away."""
_DITHER: Final = (
    52.9829189 * ((0.06711056 * np.arange(16) + 0.00583715 * np.arange(16)[:, None]) % 1) % 1
).astype(np.float32)
"""Noise between 0 and 1 in which neighbors differ; Jimenez (2014), "Next generation post
processing in Call of Duty"."""


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
    return unit(y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)


@compiled
def depth_map(
    vertices: Any, frame: Any, triangles: Any, normals: Any, seen: Any, depths: Any
) -> None:
    """Write how near to the light the first surface is, for a light at infinity.

    frame: (3, 4), world to (texel x, texel y, nearness). seen: (n, 3), room for the result of it.
    depths: (1, size, size), or (2, size, size) for a light on the other side too, whose nearness
    has the other sign. Triangles whose normal points away from a light are left out: their front
    stops it before.
    """
    half, one, end = np.float32(0.5), np.float32(1.0), np.float32(depths.shape[1])
    depths[:] = _FAR
    _project(vertices, frame, seen)
    dx, dy, dz = np.float32(frame[2, 0]), np.float32(frame[2, 1]), np.float32(frame[2, 2])
    two = depths.shape[0] > 1
    for t in range(triangles.shape[0]):
        away = normals[t, 0] * dx + normals[t, 1] * dy + normals[t, 2] * dz
        front, back = away >= _AWAY, two and -away >= _AWAY
        if not (front or back):
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
        s = one / area
        i_x, j_x, i_y, j_y = (y1 - y2) * s, (y2 - y0) * s, (x2 - x1) * s, (x0 - x2) * s
        z2 = seen[c, 2]
        z_i, z_j = seen[a, 2] - z2, seen[b, 2] - z2
        px, py = np.float32(left) + half, np.float32(top) + half
        i_row = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * s
        j_row = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * s
        for y in range(top, bottom):
            i, j = i_row, j_row
            for x in range(left, right):
                if i >= _EDGE and j >= _EDGE and i + j <= one - _EDGE:
                    z = z2 + i * z_i + j * z_j
                    if front and z > depths[0, y, x]:
                        depths[0, y, x] = z
                    if back and -z > depths[1, y, x]:
                        depths[1, y, x] = -z
                i += i_x
                j += j_x
            i_row += i_y
            j_row += j_y


@compiled
def _project(vertices: Any, frame: Any, seen: Any) -> None:
    for n in range(vertices.shape[0]):
        x, y, z = vertices[n, 0], vertices[n, 1], vertices[n, 2]
        for m in range(3):
            seen[n, m] = frame[m, 0] * x + frame[m, 1] * y + frame[m, 2] * z + frame[m, 3]


@compiled
def add_layers(
    frame: Any,
    depths: Any,
    vertices: Any,
    triangles: Any,
    uv: Any,
    part_of: Any,
    level_of: Any,
    pool: Any,
    images: Any,
    seen: Any,
) -> None:
    """Add large triangles that are not opaque to depth maps, dithered by their texture."""
    half, end = np.float32(0.5), np.float32(depths.shape[1])
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
                front = z > depths[0, y, x]
                back = depths.shape[0] > 1 and -z > depths[1, y, x]
                if front or back:
                    u = i * uv[a, 0] + j * uv[b, 0] + k * uv[c, 0]
                    v = i * uv[a, 1] + j * uv[b, 1] + k * uv[c, 1]
                    alpha = read_alpha(pool, images, part_of[t], level_of[t] + 1.0, u, v)
                    if alpha > _DITHER[(y + 5 * t) & 15, (x + 11 * t) & 15]:
                        if front:
                            depths[0, y, x] = z
                        if back:
                            depths[1, y, x] = -z


@compiled
def _lit(depths: Any, side: int, frame: Any, bias: float, lifted: Any, n: int) -> float:
    """Return the share of light, 0 to 1, that reaches a point: four comparisons, blended.

    side: 0, or 1 for the light on the other side. lifted: (n, 3), points moved off their surface,
    so that it does not shadow itself.
    """
    size = depths.shape[1]
    x, y, z = lifted[n, 0], lifted[n, 1], lifted[n, 2]
    u = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z + frame[0, 3] - 0.5
    v = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z + frame[1, 3] - 0.5
    if u < 0.0 or v < 0.0 or u >= size - 1.0 or v >= size - 1.0:
        return 1.0
    w = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z + frame[2, 3]
    w = (w if side == 0 else -w) + bias
    left, top = int(u), int(v)
    fx, fy = u - left, v - top
    upper = (1.0 - fx) * (depths[side, top, left] <= w) + fx * (depths[side, top, left + 1] <= w)
    top += 1
    lower = (1.0 - fx) * (depths[side, top, left] <= w) + fx * (depths[side, top, left + 1] <= w)
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
    phases: Any,
    diffuse: Any,
    visible: Any,
) -> None:
    """Add one direction of a light: cosine times visibility to diffuse, visibility to visible.

    steps: (n,), a point takes only one direction in so many, from a phase, (n,), on that differs
    among a pixel's subpixels; 0 takes none. turn: the direction's number.
    """
    dx, dy, dz = direction[0], direction[1], direction[2]
    for n in range(lifted.shape[0]):
        step = steps[n]
        if step == 0 or (step > 1 and (phases[n] + turn) % step):
            continue
        cosine = normal[n, 0] * dx + normal[n, 1] * dy + normal[n, 2] * dz
        if cosine > 0.0:
            lit = _lit(depths, 0, frame, bias, lifted, n) * share * step
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
    phases: Any,
    sums: Any,
) -> None:
    """Add one direction of the surroundings and its opposite to sums, (n, 6).

    A surface sees only one of the two. depths: (2, size, size), see `depth_map`.
    sums: what is seen of the sky and the sky, the same of the ground, both weighted by the cosine;
    the same of both around the mirrored view. steps, phases, turn: see `gather_light`.
    """
    dx, dy, dz = direction[0], direction[1], direction[2]
    for n in range(lifted.shape[0]):
        step = steps[n]
        if step == 0 or (step > 1 and (phases[n] + turn) % step):
            continue
        cosine = normal[n, 0] * dx + normal[n, 1] * dy + normal[n, 2] * dz
        glance = mirror[n, 0] * dx + mirror[n, 1] * dy + mirror[n, 2] * dz
        side = 0 if cosine > 0.0 else 1
        if side == 1:
            cosine, glance = -cosine, -glance
        lit = _lit(depths, side, frame, bias, lifted, n)
        half = 0 if (dy >= 0.0) == (side == 0) else 2
        sums[n, half] += lit * cosine
        sums[n, half + 1] += cosine
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
        hx, hy, hz = unit(dx + ex, dy + ey, dz + ez)
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


# ---------------------------------------------------------------------------------- skin


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
