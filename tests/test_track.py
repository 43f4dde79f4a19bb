"""Faces keep their number through crossings and short absences, and newcomers are followed back."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from model_folder import write_model
from moppet import load_model
from moppet.infer.face_reader import FaceReader, ReaderSettings, tracks_at_end
from moppet.infer.tracking import Track, assign, overlap
from moppet.values import Frame
from scripted import (
    FPS,
    Script,
    ScriptedDetector,
    ids_at,
    make_face,
    make_frame,
    one_person,
    read,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_model(tmp_path_factory.mktemp("model")))


# ------------------------------------------------------------------------------- assignment


def test_the_assignment_has_the_greatest_total_overlap():
    rng = np.random.default_rng(0)
    for _ in range(40):
        boxes = [make_face(*rng.uniform(100, 130, 2)).box_px for _ in range(4)]
        faces = [make_face(*rng.uniform(100, 130, 2)) for _ in range(4)]
        shared = np.array([[overlap(box, face.box_px) for face in faces] for box in boxes])
        best = max(shared[range(4), order].sum() for order in itertools.permutations(range(4)))
        found = assign(boxes, faces)
        assert sorted(found) == [0, 1, 2, 3]
        assert shared[range(4), found].sum() == pytest.approx(best)


def test_more_boxes_than_faces_leave_the_rest_unassigned():
    boxes = [make_face(x, 100).box_px for x in (100, 300, 500)]
    assert assign(boxes, [make_face(505, 100), make_face(98, 100)]) == [1, None, 0]
    assert assign(boxes, []) == [None, None, None]
    assert assign([], [make_face(1, 1)]) == []


def test_a_fast_face_is_matched_without_overlap_but_not_from_afar_or_of_another_size():
    box = make_face(100, 100).box_px
    assert assign([box], [make_face(190, 100)]) == [0]
    assert assign([box], [make_face(230, 100)]) == [None]
    assert assign([box], [make_face(190, 100, side=50)]) == [None]


def test_overlap_is_the_intersection_over_the_union():
    a = np.array([0, 0, 10, 10], np.float32)
    assert overlap(a, a) == 1
    assert overlap(a, np.array([5, 0, 10, 10], np.float32)) == pytest.approx(1 / 3)
    assert overlap(a, np.array([20, 0, 10, 10], np.float32)) == 0
    assert overlap(a, np.array([2, 2, 0, 0], np.float32)) == 0


def test_a_moving_face_is_expected_ahead_a_quarter_of_a_second_at_most():
    track = Track(0, make_face(100, 100), 0.0)
    for i in range(1, 30):
        track.move(make_face(100 + 4 * i, 100), i / 20)
    last = track.face.box_px
    np.testing.assert_allclose(track.expect(1.45 + 0.1)[:2] - last[:2], [8, 0], atol=0.2)
    np.testing.assert_allclose(track.expect(1.45 + 9)[:2] - last[:2], [20, 0], atol=0.2)


# ------------------------------------------------------------------------------ people in time


def crossing(speed: float, front: str) -> Script:
    def script(t: float):
        people = {"anna": (120 + speed * t, 110), "ben": (520 - speed * t, 130)}
        return people if front == "anna" else {"ben": people["ben"], "anna": people["anna"]}

    return script


@pytest.mark.parametrize("front", ["anna", "ben"])
@pytest.mark.parametrize("speed", [200, 120])
@pytest.mark.parametrize("mode", ["followed", "searched", "detector without follow"])
def test_faces_that_cross_keep_their_numbers(model, front, speed, mode):
    script = crossing(speed, front)
    frames = [make_frame(i) for i in range(round(400 / speed * FPS))]
    rows, _ = read(
        model,
        script,
        frames,
        detect_every_frame=mode == "searched",
        follows=mode != "detector without follow",
    )
    ids = ids_at(rows, script)
    for person in ("anna", "ben"):
        seen = [i for i in ids[person] if i is not None]
        assert len(set(seen)) == 1, ids[person]
        assert len(seen) > 0.7 * len(frames)
    assert ids["anna"][0] != ids["ben"][0]
    assert all(
        len({row["face_id"] for row in group}) == len(group)
        for group in (
            [row for row in rows if row["frame"] == frame.index and "face_id" in row]
            for frame in frames
        )
    )


@pytest.mark.parametrize("mode", [False, True])
def test_an_absence_shorter_than_a_second_keeps_the_number(model, mode):
    script = one_person(lambda t: not 0.62 < t < 1.41)
    rows, _ = read(model, script, [make_frame(i) for i in range(50)], detect_every_frame=mode)
    assert {row.get("face_id") for row in rows} == {0, None}
    away = [row["frame"] for row in rows if row["status"] == "no_face"]
    assert away == list(range(13, 29))


@pytest.mark.parametrize("mode", [False, True])
def test_an_absence_longer_than_a_second_gives_a_new_number(model, mode):
    script = one_person(lambda t: not 0.62 < t < 1.91)
    rows, _ = read(model, script, [make_frame(i) for i in range(60)], detect_every_frame=mode)
    ids = ids_at(rows, script)["anna"]
    assert ids[:13] == [0] * 13 and ids[13:39] == [None] * 26 and ids[39:] == [1] * 21


def test_the_time_after_which_a_face_is_forgotten_is_a_setting(model):
    script = one_person(lambda t: not 0.62 < t < 1.91)
    frames = [make_frame(i) for i in range(60)]
    rows, _ = read(model, script, frames, forget_after_s=2)
    assert {row.get("face_id") for row in rows} == {0, None}


def test_newcomers_are_followed_back_to_their_first_frame_in_the_chunk(model):
    def script(t: float):
        return {"anna": (150, 120), "ben": (450 + 40 * t, 120) if t >= 0.64 else None}

    rows, detector = read(model, script, [make_frame(i) for i in range(20)])
    ids = ids_at(rows, script)
    assert ids["anna"] == [0] * 20
    assert ids["ben"] == [None] * 13 + [1] * 7
    assert not {13, 14, 15, 16, 17, 18} <= set(detector.searched), "found without following back"


def test_two_newcomers_are_told_apart_on_the_way_back(model):
    def script(t: float):
        return {"anna": (150 + 20 * t, 120), "ben": (330 - 20 * t, 120)} if t > 0.12 else {}

    rows, _ = read(model, script, [make_frame(i) for i in range(10)])
    ids = ids_at(rows, script)
    assert [len({i for i in ids[p]}) for p in ("anna", "ben")] == [1, 1]
    assert {row["frame"] for row in rows if row["status"] == "no_face"} == {0, 1, 2}


@pytest.mark.parametrize("settings", [{}, {"detect_every_frame": True}])
def test_every_frame_has_a_row_and_every_face_one(model, settings):
    def script(t: float):
        there = {"anna": (150, 120), "ben": (450, 120) if 0.5 < t < 1.3 else None}
        return there if t < 1.7 else {}

    frames = [make_frame(i) for i in range(44)]
    frames[7], frames[8] = make_frame(7, "unreadable"), make_frame(8, "skipped")
    rows, _ = read(model, script, frames, chunk=9, **settings)
    assert sorted({row["frame"] for row in rows}) == list(range(44))
    keys = [(row["frame"], row.get("face_id")) for row in rows]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys, key=lambda key: (key[0], -1 if key[1] is None else key[1]))
    for row in rows:
        assert row["time_s"] == row["frame"] / FPS
        has_face = row["status"] in ("ok", "low_quality")
        assert has_face == ("face_id" in row)
        if has_face:
            assert len(row["p"]) == 7 and sum(row["p"]) == pytest.approx(1, abs=1e-5)
    assert [row["status"] for row in rows if row["frame"] in (7, 8)] == ["unreadable", "skipped"]
    assert {row["status"] for row in rows if row["frame"] >= 34} == {"no_face"}


@pytest.mark.parametrize("status", ["unreadable", "skipped"])
def test_a_chunk_without_any_image_has_its_rows(model, status):
    frames = [make_frame(i, status) for i in range(5)]
    rows, detector = read(model, one_person(), frames)
    assert [row["status"] for row in rows] == [status] * 5
    assert detector.searched == []
    assert read(model, one_person(), [])[0] == []


def test_a_search_in_every_frame_searches_each_once_and_follows_none(model):
    frames = [make_frame(i) for i in range(25)]
    _, detector = read(model, one_person(), frames, detect_every_frame=True)
    # Frame 0 shows a newcomer, who is looked at twice.
    assert detector.searched == list(range(25)) and detector.followed == [0]


def test_a_known_face_is_followed_and_searched_for_about_twice_a_second(model):
    frames = [make_frame(i) for i in range(40)]
    _, detector = read(model, one_person(), frames)
    assert detector.searched == [0, 9, 19, 29, 39]
    assert set(detector.followed) == set(range(40))


def test_live_frames_give_their_rows_one_by_one(model):
    def script(t: float):
        return {"anna": (150, 120), "ben": (450, 120) if t >= 0.74 else None}

    detector = ScriptedDetector(script)
    reader = FaceReader(detector, model, ReaderSettings())
    rows = []
    for i in range(40):
        new = reader.read([make_frame(i)], live=True)
        assert {row["frame"] for row in new} == {i}
        rows += new
    assert ids_at(rows, script)["anna"] == [0] * 40
    ben = ids_at(rows, script)["ben"]
    assert ben[15 + 10 :] == [1] * 15, "seen half a second late at most"
    assert len(detector.searched) <= 5


def test_a_face_of_low_quality_makes_such_a_row_and_is_classified(model):
    frames = [make_frame(i) for i in range(3)]
    rows, _ = read(model, one_person(), frames, low_quality_below=1.1)
    assert [row["status"] for row in rows] == ["low_quality"] * 3
    assert all(len(row["p"]) == 7 for row in rows)


def test_rows_of_an_earlier_run_give_the_numbers_back(model):
    def script(t: float):
        return {"anna": (150 + 20 * t, 120), "ben": (450, 120) if t < 0.9 else None, "cleo": None}

    frames = [make_frame(i) for i in range(60)]
    unbroken, _ = read(model, script, frames)
    for stop in (10, 20, 30):
        rows, _ = read(model, script, frames[:stop])
        reader = FaceReader(ScriptedDetector(script), model, ReaderSettings())
        reader.resume(rows)
        for start in range(stop, 60, 10):
            rows += reader.read(frames[start : start + 10])
        numbers = [(row["frame"], row.get("face_id")) for row in rows]
        assert numbers == [(row["frame"], row.get("face_id")) for row in unbroken]


def test_a_state_resumes_to_the_last_bit(model):
    def script(t: float):
        return {"anna": (150 + 20 * t, 120), "ben": (450, 120) if t < 0.9 else None, "cleo": None}

    frames = [make_frame(i) for i in range(60)]
    unbroken, _ = read(model, script, frames)
    for stop in (10, 30):
        first = FaceReader(ScriptedDetector(script), model, ReaderSettings())
        rows = [row for i in range(0, stop, 10) for row in first.read(frames[i : i + 10])]
        second = FaceReader(ScriptedDetector(script), model, ReaderSettings())
        second.restore(json.loads(json.dumps(first.state())))
        assert second.state() == first.state()
        rows += [row for i in range(stop, 60, 10) for row in second.read(frames[i : i + 10])]
        for row, other in zip(rows, unbroken, strict=True):
            assert np.array_equal(row.get("p", 0), other.get("p", 0))
            assert row | {"p": None} == other | {"p": None}


class OneFace:
    """Sees one face at a fixed place in every upright image."""

    name = "one"

    def detect(self, images):
        return [self.follow(image, [None], [0.0]) if wide(image) else [] for image in images]

    def follow(self, image, boxes_px, roll_deg):
        scale = np.float32(image.shape[1] / 640)
        face = make_face(400, 120)
        face = replace(face, box_px=face.box_px * scale, landmarks_px=face.landmarks_px * scale)
        return [face for _ in boxes_px]


def wide(image: np.ndarray) -> bool:
    return image.shape[1] > image.shape[0]


def scenery(seed: int, scale: float = 1) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (640, 240), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def numbers_of(model, images: list[np.ndarray], **settings) -> tuple[list[int], list[float]]:
    """The face_id in every image, and the cuts."""
    reader = FaceReader(OneFace(), model, ReaderSettings(**settings))
    frames = [Frame(i, i / FPS, image) for i, image in enumerate(images)]
    rows = [row for i in range(0, len(frames), 10) for row in reader.read(frames[i : i + 10])]
    assert [row["frame"] for row in rows] == list(range(len(images)))
    return [row.get("face_id") for row in rows], reader.cuts_s


def test_a_hard_cut_ends_every_track(model):
    ids, cuts_s = numbers_of(model, [scenery(1)] * 13 + [scenery(2)] * 20)
    assert ids == [0] * 13 + [1] * 20
    assert cuts_s == [13 / FPS]


def test_a_face_that_stays_while_much_around_it_changes_keeps_its_number(model):
    face = np.random.default_rng(7).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    images = [scenery(1)] * 13 + [scenery(2)] * 20
    images = [image.copy() for image in images]
    for image in images:
        image[60:180, 340:460] = cv2.resize(face, (120, 120), interpolation=cv2.INTER_CUBIC)
    ids, cuts_s = numbers_of(model, images)
    assert ids == [0] * 33
    assert cuts_s == [13 / FPS]


def test_after_a_flash_the_face_keeps_its_number(model):
    ids, cuts_s = numbers_of(model, [scenery(1)] * 15 + [scenery(2)] * 2 + [scenery(1)] * 20)
    assert ids == [0] * 15 + [1] * 2 + [0] * 20
    assert cuts_s == []


def test_a_change_of_resolution_keeps_the_number(model):
    ids, cuts_s = numbers_of(model, [scenery(1)] * 15 + [scenery(1, 0.5)] * 15)
    assert ids == [0] * 30 and cuts_s == []


def test_in_unrelated_photos_nobody_is_followed(model):
    ids, cuts_s = numbers_of(model, [scenery(1)] * 12, unrelated=True)
    assert ids == list(range(12)) and cuts_s == []


def test_only_tracks_alive_at_the_end_are_resumed(model):
    def script(t: float):
        return {"anna": (150, 120) if t < 0.3 else None, "ben": (450, 120)}

    rows, _ = read(model, script, [make_frame(i) for i in range(40)])
    (ben,) = tracks_at_end(rows, 1.0)
    assert ben.face_id == 1 and ben.time_s == 39 / FPS
    assert overlap(ben.face.box_px, make_face(450, 120).box_px) == pytest.approx(1)
    assert [t.face_id for t in tracks_at_end(rows, 2.0)] == [0, 1]
    assert tracks_at_end([], 1.0) == []
