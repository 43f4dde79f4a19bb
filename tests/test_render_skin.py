"""Skin, wrinkles, hair, brows, eyes and teeth of rendered people."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.synthesis.render.brows import BROW_STYLES, brow_parts, brow_strength, lash_parts
from moppet.synthesis.render.eyes_teeth import eye_material, mouth_parts, teeth_at
from moppet.synthesis.render.hair import STYLES, hair_parts, style_names
from moppet.synthesis.render.head_assets import HeadAssets, load_assets
from moppet.synthesis.render.head_mesh import Head
from moppet.synthesis.render.scene import Person
from moppet.synthesis.render.skin import (
    MONK_TONES,
    skin_color,
    skin_layout,
    skin_material,
    tone_color,
)
from moppet.synthesis.render.skin_atlas import atlas_uv
from moppet.synthesis.render.wrinkles import LINES, wrinkle_strengths
from moppet.values import UsageError
from moppet.vocabulary import SIDED_MOVEMENTS

needs_heads = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None,
    reason="heads need the package anny: pip install 'moppet[render]'",
)
SIZE = 256
CHILD = Person(seed=3, age_years=6.0, skin_tone=3.0)
ADULT = Person(seed=3, age_years=30.0, skin_tone=3.0)


@pytest.fixture(scope="module")
def assets() -> HeadAssets:
    return load_assets()


@cache
def head_of(age: float, hair: str = "", **changes: Any) -> Head:
    return Head(Person(seed=3, age_years=age, hair=hair, **changes), load_assets())


def lab(linear: Any) -> Any:
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(srgb.reshape(1, 1, 3).astype(np.float32), cv2.COLOR_RGB2LAB)[0, 0]


def both(movement: str) -> dict[str, float]:
    if movement in SIDED_MOVEMENTS:
        return {f"{movement}_left": 1.0, f"{movement}_right": 1.0}
    return {movement: 1.0}


# Tone


def test_the_tones_are_the_published_ones() -> None:
    for number, code in enumerate(MONK_TONES, start=1):
        srgb = np.array([int(code[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        np.testing.assert_allclose(tone_color(number), linear, atol=5e-3)


@given(st.floats(3, 10), st.floats(3, 10))
def test_a_higher_tone_is_darker(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if high - low > 0.05:
        assert skin_color(high).mean() < skin_color(low).mean()


@pytest.mark.parametrize("tone", [0.5, 11, float("nan")])
def test_a_tone_off_the_scale_is_refused(tone: float) -> None:
    with pytest.raises(UsageError, match="between 1 and 10"):
        tone_color(tone)


@needs_heads
@pytest.mark.parametrize("tone", range(1, 11))
def test_the_painted_face_keeps_its_tone(tone: int, assets: HeadAssets) -> None:
    person = replace(CHILD, skin_tone=float(tone), brows="", hair="")
    layout = skin_layout(assets, SIZE)
    face = layout.regions["forehead"] + layout.regions["cheeks"] > 0.4
    color = skin_material(person, {}, assets, size=SIZE).color[face].mean(axis=0)
    # Seen as bright as the tone's sample, it has the tone's hue.
    sample = tone_color(tone)
    seen = color * sample.mean() / color.mean()
    assert np.linalg.norm(lab(seen) - lab(sample)) < 14
    nearest = min(range(1, 11), key=lambda k: np.linalg.norm(lab(color) - lab(skin_color(k))))
    assert abs(nearest - tone) <= (2 if tone <= 4 else 1)


@needs_heads
def test_painted_tones_keep_their_order(assets: HeadAssets) -> None:
    people = [replace(CHILD, skin_tone=float(tone), brows="") for tone in range(3, 11)]
    light = [skin_material(p, {}, assets, size=SIZE).color.mean() for p in people]
    assert light == sorted(light, reverse=True)


@needs_heads
def test_the_same_person_has_the_same_skin(assets: HeadAssets) -> None:
    first = skin_material(CHILD, both("brow_lower"), assets, size=SIZE)
    skin_material(ADULT, {}, assets, size=SIZE)
    again = skin_material(CHILD, both("brow_lower"), assets, size=SIZE)
    other = skin_material(replace(CHILD, seed=4), both("brow_lower"), assets, size=SIZE)
    assert np.array_equal(first.color, again.color)
    assert np.array_equal(first.normal_map, again.normal_map)  # type: ignore[arg-type]
    assert not np.array_equal(first.color, other.color)


@needs_heads
def test_a_blush_reddens_light_cheeks_most(assets: HeadAssets) -> None:
    layout = skin_layout(assets, SIZE)
    cheeks, chin = (layout.regions[name] > 0.6 for name in ("cheeks", "chin"))

    def reddened(tone: float, where: Any) -> float:
        person = replace(CHILD, skin_tone=tone)
        calm, flushed = (
            skin_material(person, {}, assets, size=SIZE, blush=b).color[where].mean(axis=0)
            for b in (0.0, 1.0)
        )
        return float(np.log(calm[1] / flushed[1]))

    assert reddened(2, cheeks) > reddened(9, cheeks) > 0
    assert reddened(2, cheeks) > reddened(2, chin)


@needs_heads
def test_an_asset_skin_that_is_not_there_is_refused(assets: HeadAssets) -> None:
    with pytest.raises(UsageError, match="no skin of the asset folder"):
        skin_material(CHILD, {}, assets, size=SIZE, texture="skin_none")


# Wrinkles


def rough(person: Person, movements: Mapping[str, float], assets: HeadAssets) -> Any:
    return skin_material(person, movements, assets, size=SIZE).normal_map


@needs_heads
@pytest.mark.parametrize("movement", sorted(LINES))
def test_a_wrinkle_comes_with_its_movement_and_on_its_side(
    movement: str, assets: HeadAssets
) -> None:
    rest = rough(ADULT, {}, assets)
    moved = np.abs(rough(ADULT, both(movement), assets) - rest).sum(axis=2)
    assert moved.max() > 0.1
    if movement not in SIDED_MOVEMENTS:
        return
    position = skin_layout(assets, SIZE).atlas.position
    left = np.abs(rough(ADULT, {f"{movement}_left": 1.0}, assets) - rest).sum(axis=2)
    assert left[position[..., 0] > 0.04].sum() > 20 * left[position[..., 0] < -0.04].sum()


@needs_heads
def test_movements_without_lines_leave_the_skin_alone(assets: HeadAssets) -> None:
    calm = {"jaw_open": 1.0, "gaze_x": -1.0, "blink_left": 1.0, "blink_right": 1.0}
    assert np.array_equal(rough(CHILD, calm, assets), rough(CHILD, {}, assets))


@given(st.sampled_from(sorted(LINES)), st.floats(0, 1), st.floats(0, 1), st.floats(0, 90))
def test_more_movement_never_means_less_wrinkle(
    movement: str, one: float, other: float, age: float
) -> None:
    channel = next(iter(both(movement)))
    low, high = sorted((one, other))
    assert wrinkle_strengths({channel: low}, age)[channel] <= (
        wrinkle_strengths({channel: high}, age)[channel] + 1e-9
    )


def test_only_old_faces_have_wrinkles_at_rest() -> None:
    assert not any(wrinkle_strengths({}, 8).values())
    assert sum(wrinkle_strengths({}, 75).values()) > 3


@needs_heads
def test_young_wrinkles_are_softer(assets: HeadAssets) -> None:
    sharp = np.abs(rough(ADULT, both("brow_lower"), assets) - rough(ADULT, {}, assets))
    soft = np.abs(rough(CHILD, both("brow_lower"), assets) - rough(CHILD, {}, assets))
    assert 0.05 < soft.max() < sharp.max()


# Teeth


@pytest.mark.parametrize(
    ("age", "upper", "lower"),
    [(0.3, 0, 0), (0.75, 0, 1), (1.12, 2, 1), (1.45, 3, 3), (3, 5, 5), (5, 5, 5), (30, 7, 7)],
)
def test_teeth_come_with_age(age: float, upper: int, lower: int) -> None:
    seeds = range(12)
    for jaw, wanted in (("upper", upper), ("lower", lower)):
        counts = [len(teeth_at(age, jaw, seed)) for seed in seeds]
        assert abs(float(np.median(counts)) - wanted) <= 1
        if age in (0.3, 3, 5, 30):
            assert set(counts) == {wanted}


def test_some_schoolchildren_lack_front_teeth() -> None:
    lacking = [min(t.x for t in teeth_at(6.8, "upper", seed)) > 6 for seed in range(40)]
    assert any(lacking) and not all(lacking)
    assert not any(min(t.x for t in teeth_at(5, "upper", s)) > 6 for s in range(40))


@settings(max_examples=30)
@given(st.floats(0, 90), st.integers(0, 1000), st.sampled_from(["upper", "lower"]))
def test_teeth_stand_side_by_side(age: float, seed: int, jaw: str) -> None:
    teeth = teeth_at(age, jaw, seed)
    for inner, outer in pairwise(teeth):
        assert outer.x - inner.x >= (outer.width + inner.width) / 2 - 1e-6


@needs_heads
def test_the_lower_teeth_move_with_the_jaw() -> None:
    head = head_of(30.0)

    def middle(name: str, movements: dict[str, float]) -> Any:
        parts = {p.name: p for p in mouth_parts(head, head.pose(movements))}
        return parts[name].vertices.mean(axis=0)

    opened = {"jaw_open": 1.0}
    assert middle("lower_teeth", opened)[1] < middle("lower_teeth", {})[1] - 0.1
    np.testing.assert_allclose(middle("upper_teeth", opened), middle("upper_teeth", {}), atol=1e-4)
    toothless = head_of(0.2)
    names = [p.name for p in mouth_parts(toothless, toothless.pose())]
    assert names == ["tongue", "gums", "gums"]


# Eyes


def test_the_iris_has_the_eye_color() -> None:
    blue = replace(CHILD, eye_color=(0.34, 0.46, 0.58))
    brown = replace(CHILD, eye_color=(0.28, 0.17, 0.10))

    def iris(person: Person) -> Any:
        color = eye_material(person).color
        place = (np.arange(len(color)) + 0.5) / len(color) * 2 - 1
        angle = np.hypot(*np.meshgrid(place, place)) * 100
        return color[(angle > 15) & (angle < 20)].mean(axis=0)

    assert iris(blue)[2] > iris(blue)[0]
    assert iris(brown)[0] > 1.5 * iris(brown)[2]


# Brows and lashes


@needs_heads
@pytest.mark.parametrize("age", [0.5, 6.0, 30.0])
def test_brows_follow_their_movement(age: float) -> None:
    head = head_of(age)

    def brows(movements: dict[str, float]) -> Any:
        return brow_parts(head, head.pose(movements))[0].vertices

    rest, unit = brows({}), np.linalg.norm(head.eyes["left"][0] - head.eyes["right"][0])
    raised = brows(both("inner_brow_raise") | both("outer_brow_raise"))
    lowered = brows(both("brow_lower"))
    assert (raised - rest)[:, 1].mean() > 0.03 * unit
    assert (lowered - rest)[:, 1].mean() < -0.02 * unit
    one = brows({"inner_brow_raise_left": 1.0}) - rest
    assert one[rest[:, 0] > 0, 1].mean() > 5 * abs(one[rest[:, 0] < 0, 1].mean())


@needs_heads
@pytest.mark.parametrize("style", sorted(BROW_STYLES))
def test_brows_lie_on_the_skin_above_the_eyes(style: str) -> None:
    head = head_of(6.0, brows=style)
    posed = head.pose()
    brows, skin = brow_parts(head, posed)[0].vertices, posed.shapes["skin"].vertices
    unit = float(np.linalg.norm(head.eyes["left"][0] - head.eyes["right"][0]))
    apart = np.linalg.norm(brows[:, None] - skin[None], axis=2).min(axis=1)
    assert apart.max() < 0.12 * unit
    assert (brows[:, 1] > 0.05 * unit).mean() > 0.95


def test_infants_have_faint_brows() -> None:
    strengths = [brow_strength(replace(CHILD, age_years=age)) for age in (0.2, 2, 8, 30)]
    assert strengths == sorted(strengths) and strengths[0] < 0.4 * strengths[-1]
    assert brow_strength(replace(CHILD, brows="")) == 0


@needs_heads
def test_an_unknown_style_is_refused() -> None:
    head = head_of(6.0, hair="shrot", brows="bushy")
    with pytest.raises(UsageError, match=r"'shrot' is no hair style.*'short'"):
        hair_parts(head, head.pose())
    with pytest.raises(UsageError, match="'bushy' is no style of brows"):
        brow_parts(head, head.pose())


@needs_heads
def test_lashes_follow_the_lids() -> None:
    head = head_of(6.0)
    opened, shut = (
        lash_parts(head, head.pose({"blink_left": b, "blink_right": b}))[0].vertices
        for b in (0.0, 1.0)
    )
    upper = opened[:, 1] > np.median(opened[:, 1])
    assert (shut - opened)[upper, 1].mean() < -0.03


# Hair


@needs_heads
@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("age", [1.0, 8.0])
def test_hair_leaves_the_face_free(style: str, age: float) -> None:
    head = head_of(age, hair=style)
    unit = float(np.linalg.norm(head.eyes["left"][0] - head.eyes["right"][0]))
    parts = hair_parts(head, head.pose())
    assert parts and len({p.name for p in parts}) == len(parts)
    for part in parts:
        x, y, z = part.vertices.T / unit
        before = (z > -0.6) & (np.abs(x) < 0.7) & (y < 0.2)
        assert not before.any()
        assert np.isfinite(part.vertices).all() and (part.uv >= 0).all() and (part.uv <= 1).all()
        np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-3)


@needs_heads
def test_hair_is_the_same_for_the_same_person() -> None:
    first, again = (Head(replace(CHILD, hair="bob"), load_assets()) for _ in range(2))
    other = Head(replace(CHILD, hair="bob", seed=9), load_assets())
    one, two, three = (hair_parts(h, h.pose())[1].vertices for h in (first, again, other))
    assert np.array_equal(one, two)
    assert one.shape != three.shape or not np.array_equal(one, three)


@needs_heads
def test_hair_turns_with_the_head() -> None:
    from moppet.synthesis.render.scene import HeadPose

    head = head_of(8.0, hair="short")
    turned = head.pose({}, HeadPose(yaw=40))
    rest, moved = (hair_parts(head, p)[0].vertices for p in (head.pose(), turned))
    motion = turned.head
    np.testing.assert_allclose(moved, rest @ motion[:3, :3].T + motion[:3, 3], atol=1e-4)


def test_styles_suit_their_age() -> None:
    assert style_names(0.2) == ("fuzz",)
    assert "fuzz" not in style_names(5) and "pigtails" in style_names(5)
    assert all(style_names(age) for age in np.linspace(0, 90, 91))


def test_no_hair_is_a_style() -> None:
    assert Person(seed=1, age_years=5, hair="").hair == ""


# The atlas


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_atlas_keeps_neighbors_in_order(u: float, v: float) -> None:
    here, right, down = atlas_uv(
        np.array([(u, v), (u, min(v + 0.01, 1)), (min(u + 0.01, 1), v)], np.float32)
    )
    assert ((here >= 0) & (here <= 1)).all()
    assert right[0] >= here[0] and down[1] <= here[1]
