"""The rasterizer beside closed forms: areas, cosines, shadows, textures, layers, light of a sky."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="the rasterizer needs numba (moppet[render])")

from moppet.synthesis.render.lighting import half_sphere_directions
from moppet.synthesis.render.mesh import LightSource, Material, MeshScene, Part, View
from moppet.synthesis.render.rasterizer import render, render_layers, visible_share
from moppet.synthesis.render.surfaces import rasterize
from moppet.values import MoppetError

MATTE = {"specular": 0.0, "roughness": 1.0}
BLACK = (0.0, 0.0, 0.0)
SIZE = (64, 64)
DARK = np.full(3, 0.05, np.float32)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def quad(z: float = 0.0, half: float = 1.0, name: str = "quad", **look: Any) -> Part:
    """A square that faces the camera, around the axis."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    return Part(
        name=name,
        vertices=np.column_stack([corners * half, np.full(4, z)]).astype(np.float32),
        normals=np.tile(floats(0, 0, 1), (4, 1)),
        uv=(corners + 1) / 2,
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        material=Material(**{"color": floats(1, 1, 1), **MATTE, **look}),
    )


def sphere(radius: float = 1.0, count: int = 64, **look: Any) -> Part:
    rows, columns = np.meshgrid(np.arange(count + 1), np.arange(2 * count + 1), indexing="ij")
    down, around = rows * math.pi / count, columns * math.pi / count
    normals = np.stack(
        [np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1
    ).reshape(-1, 3)
    a = (rows * (2 * count + 1) + columns)[:-1, :-1].ravel()
    b = a + 2 * count + 1
    triangles = np.concatenate([np.stack([a, b, b + 1], 1), np.stack([a, b + 1, a + 1], 1)])
    uv = np.stack([columns / (2 * count), 1 - rows / count], -1).reshape(-1, 2)
    return Part(
        name="sphere",
        vertices=(normals * radius).astype(np.float32),
        normals=normals.astype(np.float32),
        uv=uv.astype(np.float32),
        triangles=triangles.astype(np.int32),
        material=Material(**{"color": floats(1, 1, 1), **MATTE, **look}),
    )


def lamp(direction: tuple[float, float, float], size: float = 0.0) -> LightSource:
    vector = np.array(direction, np.float32)
    return LightSource(direction=vector / np.linalg.norm(vector), color=floats(1, 1, 1), size=size)


def scene(*parts: Part, size: tuple[int, int] = SIZE, **changes: Any) -> MeshScene:
    """Seen from 10 dm, 4 dm high at the origin."""
    known: dict[str, Any] = {
        "parts": parts,
        "lights": (lamp((0, 0, 1)),),
        "sky": floats(*BLACK),
        "ground": floats(*BLACK),
        "view": View(
            eye=floats(0, 0, 10),
            target=floats(0, 0, 0),
            up=floats(0, 1, 0),
            fov_degrees=2 * math.degrees(math.atan(0.2)),
        ),
        "background": np.zeros((*size, 3), np.float32),
    }
    return MeshScene(**{**known, **changes})


def test_a_sphere_covers_the_area_that_perspective_gives_it() -> None:
    alpha = render_layers(scene(sphere(), size=(128, 128)), (128, 128)).alpha
    radius_px = 128 / 4 * 10 / math.sqrt(10**2 - 1)
    assert alpha.sum() == pytest.approx(math.pi * radius_px**2, rel=0.005)


@pytest.mark.parametrize("degrees", [0, 30, 60, 80])
@pytest.mark.parametrize("size", [0.0, 0.2])
def test_a_matte_surface_is_as_bright_as_the_cosine(degrees: float, size: float) -> None:
    angle = math.radians(degrees)
    light = lamp((math.sin(angle), 0, math.cos(angle)), size)
    image = render(scene(quad(), lights=(light,)), SIZE)
    expected = math.cos(angle)
    assert image[20:44, 20:44] == pytest.approx(expected, abs=0.025 if size else 1e-4)


def test_the_surroundings_are_blended_by_the_normals_height() -> None:
    ball = sphere(color=floats(0.5, 0.5, 0.5))
    sky, ground = floats(1, 0.5, 0), floats(0, 0.5, 1)
    image = render(scene(ball, sky=sky, ground=ground, lights=()), SIZE)
    assert image[32, 32] == pytest.approx([0.25, 0.25, 0.25], abs=0.02)
    height = math.sin(math.radians(50))
    row = 32 - round(64 / 4 * height)
    above = 0.5 + 0.5 * height
    expected = 0.5 * (above * sky + (1 - above) * ground)
    assert image[row, 32] == pytest.approx(expected, abs=0.03)


def test_a_shadow_lies_where_the_light_is_blocked_and_nowhere_else() -> None:
    blocker = quad(z=1.0, half=0.4, name="blocker", color=DARK)
    slanted = lamp((1, 0, 1))  # moves the shadow one decimeter to the left
    wall = quad(half=1.9, color=DARK)  # hardly any light goes from the wall to the blocker and back
    image = render(scene(wall, blocker, lights=(slanted,)), SIZE)[..., 0]
    lit = 0.05 * math.cos(math.pi / 4)
    assert image[32, 32 - 16] < 0.02 * lit
    assert image[32, 32 + 14] == pytest.approx(lit, rel=0.02)
    assert image[32 - 12, 32 - 16] == pytest.approx(lit, rel=0.02)


def test_a_larger_light_casts_a_softer_shadow() -> None:
    blocker = quad(z=1.0, half=0.4, name="blocker")

    def edge(size: float) -> Any:
        parts = quad(half=1.9), blocker
        return render(scene(*parts, lights=(lamp((1, 0, 1), size),)), SIZE)[32, 8:28, 0]

    def widths(values: Any) -> int:
        return int(((values > 0.07) & (values < 0.64)).sum())

    assert widths(edge(0.3)) >= widths(edge(0.0)) + 4


def test_a_surface_does_not_shadow_itself() -> None:
    image = render(scene(sphere(), lights=(lamp((0.8, 0.3, 0.5)),), size=(128, 128)), (128, 128))
    y, x = np.mgrid[:128, :128] + 0.5
    ray = np.stack([(x - 64) / 32, (64 - y) / 32, np.full((128, 128), -10)], -1) / 10
    a, b, c = (ray**2).sum(-1), -20.0, 99.0  # |(0, 0, 10) + t ray|² = 1
    inside = b * b - 4 * a * c > 0.5
    t = (-b - np.sqrt(np.maximum(b * b - 4 * a * c, 0))) / (2 * a)
    normal = np.array([0, 0, 10]) + t[..., None] * ray
    cosine = np.maximum(normal @ np.array([0.8, 0.3, 0.5]) / math.sqrt(0.98), 0)
    assert np.abs(image[..., 0] - cosine)[inside].max() < 0.05
    assert np.abs(image[..., 0] - cosine)[inside].mean() < 0.004


def test_a_textures_first_row_is_the_top_and_its_first_column_the_left() -> None:
    texture = np.zeros((8, 8, 3), np.float32)
    texture[:4, :4, 0] = texture[:4, 4:, 1] = texture[4:, :4, 2] = 1
    image = render(scene(quad(color=texture)), SIZE)
    assert image[24, 24] == pytest.approx([1, 0, 0])
    assert image[24, 40] == pytest.approx([0, 1, 0])
    assert image[40, 24] == pytest.approx([0, 0, 1])
    assert image[40, 40] == pytest.approx([0, 0, 0])


def test_a_fine_texture_is_averaged() -> None:
    checks = np.indices((512, 512)).sum(0) % 2
    texture = np.repeat(checks[..., None], 3, 2).astype(np.float32)
    image = render(scene(quad(color=texture)), SIZE)
    assert image[20:44, 20:44] == pytest.approx(0.5, abs=0.01)


def test_textures_are_right_in_perspective() -> None:
    """A floor from 4 dm to 16 dm: half of its texture lies far above half of its image."""
    half = np.zeros((256, 4, 3), np.float32)
    half[128:] = 1  # v below 0.5: the near half
    floor = Part(
        name="floor",
        vertices=np.array([[-9, -1, 6], [9, -1, 6], [9, -1, -6], [-9, -1, -6]], np.float32),
        normals=np.tile(floats(0, 1, 0), (4, 1)),
        uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        material=Material(color=half, **MATTE),
    )
    image = render(scene(floor, lights=(lamp((0, 1, 0)),)), SIZE)[:, 32, 0]
    edge = 32 + 64 / 4 * 1.0  # the row of z = 0, where v = 0.5
    rows = np.arange(64) + 0.5
    assert image[(rows > edge + 2) & (rows < 70)] == pytest.approx(1, abs=0.02)
    assert image[(rows < edge - 2)] == pytest.approx(0, abs=0.02)


def test_a_normal_map_turns_the_light_along_u_and_v() -> None:
    def brightness(normal: tuple[float, float, float], light: tuple[float, float, float]) -> float:
        bent = np.tile(floats(*normal), (4, 4, 1))
        lit = scene(quad(normal_map=bent, color=DARK), lights=(lamp(light),))
        return float(render(lit, SIZE)[32, 32, 0]) / 0.05

    tilted = 1 / math.sqrt(2)
    assert brightness((tilted, 0, tilted), (1, 0, 1)) == pytest.approx(1, abs=0.01)
    assert brightness((0, tilted, tilted), (0, 1, 1)) == pytest.approx(1, abs=0.01)
    assert brightness((-tilted, 0, tilted), (1, 0, 1)) == pytest.approx(0, abs=0.01)


def test_layers_are_blended_exactly_and_by_depth_not_by_order() -> None:
    def layer(z: float, color: tuple[float, float, float], alpha: float) -> Part:
        return quad(z=z, color=floats(*color), alpha=np.full((2, 2), alpha, np.float32))

    red, green = layer(0.002, (1, 0, 0), 0.5), layer(0.001, (0, 1, 0), 0.25)
    blue = quad(color=floats(0, 0, 1))
    expected = [0.5, 0.5 * 0.25, 0.5 * 0.75]
    for parts in ((red, green, blue), (green, red, blue), (blue, green, red)):
        lights = (lamp((0, 0, 1)),)
        seen = render(scene(*parts, lights=lights), SIZE)[32, 32]
        # layers shade those below in a dithered pattern, and light them: compare the front one
        assert seen[0] == pytest.approx(0.5, abs=0.02)
    open_air = scene(red, green, background=np.ones((*SIZE, 3), np.float32))
    layers = render_layers(open_air, SIZE)
    assert layers.alpha[32, 32] == pytest.approx(1 - 0.5 * 0.75, abs=1e-3)
    ambient = scene(red, green, blue, lights=(), sky=floats(1, 1, 1), ground=floats(1, 1, 1))
    assert render(ambient, SIZE)[32, 32, 0] == pytest.approx(expected[0], abs=0.05)


def test_the_nearer_surface_hides_the_farther_one() -> None:
    near, far = quad(z=1, half=0.5, color=floats(1, 0, 0)), quad(color=floats(0, 1, 0))
    for parts in ((near, far), (far, near)):
        layers = render_layers(scene(*parts), SIZE)
        assert layers.image[32, 32] == pytest.approx([1, 0, 0])
        assert parts[layers.part[32, 32]] is near
        assert layers.depth[32, 32] == pytest.approx(9)
        assert layers.part[2, 2] == -1 and math.isinf(layers.depth[2, 2])


def test_the_back_of_a_surface_is_black_unless_it_is_two_sided() -> None:
    def turned(two_sided: bool) -> Part:
        front = quad(two_sided=two_sided)
        return replace(front, triangles=front.triangles[:, ::-1].copy(), normals=-front.normals)

    assert render(scene(turned(True)), SIZE)[32, 32] == pytest.approx(1)
    back = render_layers(scene(turned(False)), SIZE)
    assert back.image[32, 32] == pytest.approx(0) and back.alpha[32, 32] == 1


def test_skin_lets_red_light_past_a_shadows_edge() -> None:
    blocker = quad(z=1.0, half=0.4, name="blocker")
    view = scene().view
    near = replace(view, fov_degrees=8.0)
    parts = quad(half=1.9, scattering=1.0), blocker
    row = render(scene(*parts, lights=(lamp((1, 0, 1)),), view=near), SIZE)[32]
    assert (row[:, 0] > row[:, 2] + 0.03).any()
    assert row[-1] == pytest.approx(row[-1, 0], abs=0.01)  # far from the edge: all colors alike


def test_what_lies_behind_the_camera_or_has_no_area_does_no_harm() -> None:
    ahead = quad(half=0.5, color=floats(0, 1, 0))
    behind = quad(z=11, half=1)
    floor = Part(
        name="floor",
        vertices=floats(-50, -1, 20, 50, -1, 20, 0, -1, -900).reshape(3, 3),
        normals=np.tile(floats(0, 1, 0), (3, 1)),
        uv=np.zeros((3, 2), np.float32),
        triangles=np.array([[0, 1, 2], [0, 0, 1], [1, 1, 1]], np.int32),
        material=Material(color=floats(1, 0, 0), **MATTE),
    )
    image = render(scene(ahead, behind, floor, lights=(lamp((0, 1, 1)),)), SIZE)
    assert np.isfinite(image).all()
    assert image[32, 32] == pytest.approx([0, math.sqrt(0.5), 0], abs=0.03)
    assert image[60, 32, 0] > 0.5 and image[60, 32, 1] < 0.02


def test_an_empty_scene_is_its_background() -> None:
    background = np.random.default_rng(0).random((*SIZE, 3)).astype(np.float32)
    layers = render_layers(scene(background=background), SIZE)
    assert np.allclose(layers.image, background)
    assert (layers.part == -1).all() and not layers.alpha.any()


def test_two_shaded_subpixels_stand_for_a_pixel_that_shows_one_surface() -> None:
    ball = scene(sphere())
    whole = rasterize(ball, 2 * SIZE[0], 2 * SIZE[1])
    half = rasterize(ball, 2 * SIZE[0], 2 * SIZE[1], samples=2)
    assert len(half.places) < 0.6 * len(whole.places)
    weights = np.zeros(half.through.size)
    np.add.at(weights, half.places[:, 0], half.weights)
    covered = weights.reshape(SIZE[0], 2, SIZE[1], 2).sum((1, 3))
    free = half.through.reshape(SIZE[0], 2, SIZE[1], 2).sum((1, 3))
    assert np.allclose(covered + free, 4)
    shiny = scene(sphere(roughness=0.05))  # a highlight is smaller than a pixel
    assert len(rasterize(shiny, 128, 128, samples=2).places) == len(whole.places)


def test_the_surroundings_are_looked_at_evenly() -> None:
    directions = half_sphere_directions(12)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1) and (directions[:, 1] > 0).all()
    assert np.allclose(directions.T @ directions / 12, np.eye(3) / 3, atol=0.04)


def test_the_same_scene_gives_the_same_bytes() -> None:
    hair = quad(z=0.5, half=0.7, alpha=np.random.default_rng(1).random((16, 16), np.float32))
    made = scene(sphere(scattering=1.0), hair, lights=(lamp((1, 1, 1), 0.3),))
    assert render(made, SIZE).tobytes() == render(made, SIZE).tobytes()


def test_a_background_of_another_size_is_refused() -> None:
    with pytest.raises(MoppetError, match=r"\(32, 64, 3\), not \(64, 64, 3\)"):
        render(scene(), (32, 64))


def test_the_visible_share_counts_what_stands_in_front() -> None:
    face = quad(half=1.0, name="face")
    half = replace(quad(z=0.01, name="hand"), uv=np.zeros((4, 2), np.float32))
    half.vertices[:, 0] = np.maximum(half.vertices[:, 0], 0)
    assert visible_share(scene(face), SIZE, ("face",)) == pytest.approx(1)
    assert visible_share(scene(face, half), SIZE, ("face",)) == pytest.approx(0.5, abs=0.02)
    veil = quad(z=0.01, name="veil", alpha=np.full((2, 2), 0.25, np.float32))
    assert visible_share(scene(face, veil), SIZE, ("face",)) == pytest.approx(0.75, abs=0.01)
    assert math.isnan(visible_share(scene(face), SIZE, ("nobody",)))


# ------------------------------------------------------------------ beside the path tracer


def with_mitsuba(made: MeshScene, size: tuple[int, int]) -> Any:
    pytest.importorskip("mitsuba", reason="the path tracer needs mitsuba (moppet[render])")
    from moppet.synthesis.render import mitsuba_renderer

    return mitsuba_renderer.render(made, size, samples=48)


@pytest.mark.parametrize("size", [0.0, 0.3])
def test_both_renderers_agree_on_outline_light_and_shadow(size: float) -> None:
    texture = np.random.default_rng(0).random((6, 6, 3)).astype(np.float32)
    bumps = np.tile(floats(0, 0, 1), (8, 8, 1))
    bumps[:4, :, :2] = floats(0.2, 0.2)
    bumps[:4, :, 2] = math.sqrt(0.92)
    holes = np.repeat(np.eye(4, dtype=np.float32), 8, 0).repeat(8, 1)
    parts = (
        sphere(0.9, count=32, color=texture, roughness=0.5, specular=0.5),
        quad(z=-1.2, half=1.8, color=floats(0.6, 0.6, 0.6), normal_map=bumps),
        quad(z=1.2, half=0.7, color=floats(0.1, 0.5, 0.1), alpha=holes, two_sided=True),
    )
    lights = (lamp((0.7, 0.6, 0.6), size),)
    sky, ground = floats(0.3, 0.35, 0.4), floats(0.2, 0.18, 0.15)
    made = scene(*parts, lights=lights, sky=sky, ground=ground)
    ours, theirs = render(made, SIZE), with_mitsuba(made, SIZE)
    assert np.abs(ours - theirs).mean() < 0.02
    assert ours.mean((0, 1)) == pytest.approx(theirs.mean((0, 1)), rel=0.06)


def test_both_renderers_frame_alike() -> None:
    made = scene(sphere(0.7, color=floats(0, 0, 0)), quad(z=-1, half=0.9, color=floats(0, 0, 0)))
    size = (128, 128)
    made = replace(made, lights=(), background=np.ones((*size, 3), np.float32))
    shifted = replace(made.view, eye=floats(1, 2, 9), target=floats(0.1, 0.2, 0), fov_degrees=20)
    made = replace(made, view=shifted)
    covered = render_layers(made, size).alpha >= 0.5
    theirs = with_mitsuba(made, size)[..., 0] < 0.5
    assert (covered & theirs).sum() / (covered | theirs).sum() > 0.98


def test_an_llvm_library_that_fails_is_tried_once_and_never_here(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mitsuba", reason="the path tracer needs mitsuba (moppet[render])")
    from moppet.synthesis.render import mitsuba_renderer

    broken = tmp_path / "libLLVM-broken.so"
    broken.write_bytes(b"no library")
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert mitsuba_renderer.find_llvm() is None
    monkeypatch.setattr(mitsuba_renderer, "_tried", lambda library: pytest.fail("tried again"))
    assert mitsuba_renderer.find_llvm() is None
