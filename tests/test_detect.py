"""Every detector keeps one contract; `find_faces` finds the rendered heads, lying or upright."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from moppet.infer.alignment import head_pose
from moppet.infer.detectors import DETECTORS, Detector, find_faces, load_detector
from moppet.infer.detectors.mtcnn import Mtcnn
from moppet.infer.tracking import overlap
from moppet.values import ModelError, UsageError
from rendered import moved, nearest, read_stills

YUNET = sorted((Path(__file__).parents[2] / "shared" / "weights" / "yunet").glob("*.onnx"))
STILLS = read_stills()
ALONE = sorted(name for name, still in STILLS.items() if len(still.faces) == 1)
# Largest error of an eye, in distances between the eyes: YuNet puts them too high on infants.
EYES_OFF = {"mtcnn": 0.12, "yunet": 0.27}


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param == "yunet" and not YUNET:
        pytest.skip("YuNet's model is not shipped; none lies in ../shared")
    return load_detector(request.param, model_path=YUNET[0] if YUNET else None)


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn()


# ------------------------------------------------------------------ the contract of a detector


@pytest.mark.parametrize("name", ALONE)
def test_the_one_face_is_found_once_and_its_eyes_are_where_they_were_rendered(detector, name):
    faces = detector.detect([STILLS[name].image])[0]
    assert len(faces) == 1
    assert nearest(faces, STILLS[name].faces[0]) < EYES_OFF[detector.name]


def test_three_people_are_three_faces_the_surest_first(detector):
    still = STILLS["three_people.jpg"]
    faces = detector.detect([still.image])[0]
    assert len(faces) == 3
    assert max(nearest(faces, truth) for truth in still.faces) < EYES_OFF[detector.name]
    scores = [face.score for face in faces]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", sorted(STILLS))
def test_boxes_scores_and_landmarks_are_those_of_a_head(detector, name):
    still = STILLS[name]
    for face in detector.detect([still.image])[0]:
        truth = max(still.faces, key=lambda t: overlap(face.box_px, t.box_px))
        assert overlap(face.box_px, truth.box_px) > 0.6
        assert 0.5 < face.score <= 1
        assert face.box_px.shape == (4,) and face.box_px.dtype == np.float32
        assert face.landmarks_px.shape == (5, 2) and face.landmarks_px.dtype == np.float32
        inside = (face.landmarks_px - face.box_px[:2]) / face.box_px[2:]
        assert (inside > -0.05).all() and (inside < 1.05).all()
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_px
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_blank_image_holds_nobody(detector, shade):
    assert detector.detect([np.full((200, 300, 3), shade, np.uint8)]) == [[]]


def test_noise_holds_nobody(detector):
    noise = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8)
    assert detector.detect(list(noise)) == [[], [], []]


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (7, 13), (33, 47), (301, 5), (201, 319)])
def test_a_blank_image_of_any_size_is_looked_at(detector, size):
    assert detector.detect([np.full((*size, 3), 90, np.uint8)]) == [[]]


@pytest.mark.parametrize(("height", "width"), [(301, 299), (123, 321), (1283, 1111)])
def test_a_face_is_found_in_a_image_of_any_size(detector, height, width):
    still = STILLS["age01_light_neutral.jpg"]
    scale = min(height, width) / 320
    matrix = np.array([[scale, 0, 0], [0, scale, 0.0]])
    image = cv2.warpAffine(still.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    faces = detector.detect([image])[0]
    assert len(faces) == 1
    assert nearest(faces, still.faces[0], matrix) < EYES_OFF[detector.name]


def test_images_together_give_what_each_gives_alone(detector):
    images = [still.image for still in STILLS.values()]
    images.insert(2, np.zeros((320, 320, 3), np.uint8))
    together = detector.detect(images)
    alone = [detector.detect([image])[0] for image in images]
    assert [len(faces) for faces in together] == [len(faces) for faces in alone]
    for ours, theirs in zip(sum(together, []), sum(alone, []), strict=True):
        np.testing.assert_allclose(ours.box_px, theirs.box_px, atol=0.05)
        np.testing.assert_allclose(ours.landmarks_px, theirs.landmarks_px, atol=0.05)
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)


def test_no_images_give_no_lists(detector):
    assert detector.detect([]) == []


def test_images_are_left_as_they_were(detector):
    image = STILLS["three_people.jpg"].image.copy()
    detector.detect([image])
    np.testing.assert_array_equal(image, STILLS["three_people.jpg"].image)


def test_a_face_is_followed_to_where_it_is_and_nobody_into_the_background(detector):
    still = STILLS["age05_asian_happiness.jpg"]
    near = still.faces[0].box_px + np.array([12, -10, 8, 8], np.float32)
    away = np.array([0, 0, 60, 60], np.float32)
    found = detector.follow(still.image, np.stack([near, away]), np.zeros(2, np.float32))
    if found is None:
        assert detector.name == "yunet"
        return
    assert found[1] is None
    assert nearest([found[0]], still.faces[0]) < EYES_OFF[detector.name]


@pytest.mark.parametrize("degrees", [45, 90, 180, -120])
def test_a_tilted_face_is_followed_if_its_tilt_is_known(mtcnn, turned, degrees):
    still = STILLS["age05_asian_happiness.jpg"]
    image, matrix = turned(still.image, degrees)
    x, y, w, h = still.faces[0].box_px
    middle = moved(np.array([[x + w / 2, y + h / 2]]), matrix)[0]
    box = np.array([*(middle - 80), 160, 160], np.float32)
    (face,) = mtcnn.follow(image, box[None], np.array([degrees], np.float32))
    assert face is not None and nearest([face], still.faces[0], matrix) < 0.12


# ------------------------------------------------------------------------------- find_faces


def test_find_faces_takes_a_detector_by_name_or_ready(mtcnn):
    image = STILLS["age30_dark_neutral.jpg"].image
    (ready,), (named,) = find_faces(image, detector=mtcnn), find_faces(image, detector="mtcnn")
    np.testing.assert_array_equal(ready.landmarks_px, named.landmarks_px)
    assert 0 < ready.quality <= 1
    assert (ready.yaw, ready.pitch, ready.roll) == head_pose(ready.landmarks_px)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((9, 9), np.uint8), r"\(9, 9\)"),
        (np.zeros((9, 9, 4), np.uint8), r"\(9, 9, 4\)"),
        (np.zeros((9, 9, 3), np.float32), "float32"),
        ("child.jpg", "str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_rgb_image_is_refused_by_what_it_is(image, text):
    with pytest.raises(UsageError, match=text):
        find_faces(image)


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (0, 0)])
def test_a_image_without_pixels_is_refused_or_holds_nobody(mtcnn, size):
    try:
        assert find_faces(np.zeros((*size, 3), np.uint8), detector=mtcnn) == []
    except UsageError:
        pass


def test_an_unknown_detector_names_those_there_are():
    with pytest.raises(UsageError, match=r"'haar'.*mtcnn, yunet"):
        find_faces(np.zeros((9, 9, 3), np.uint8), detector="haar")


def test_yunet_without_its_file_says_how_to_name_it(tmp_path):
    with pytest.raises(UsageError, match="--detector-model FILE"):
        load_detector("yunet")
    with pytest.raises(ModelError, match=r"nowhere\.onnx; there is no such file"):
        load_detector("yunet", model_path=tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelError, match="is not a YuNet model"):
        load_detector("yunet", model_path=tmp_path / "text.onnx")


def test_small_faces_are_found_only_if_asked_for():
    still = STILLS["age30_dark_neutral.jpg"]
    image = np.full((480, 480, 3), 120, np.uint8)
    image[200:264, 200:264] = cv2.resize(still.image, (64, 64), interpolation=cv2.INTER_AREA)
    assert find_faces(image, min_face_px=100) == []
    (face,) = find_faces(image, min_face_px=20)
    assert 20 < face.box_px[2] < 50


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_head_turned_by_quarters_is_found_with_its_landmarks_in_place(mtcnn, turned, degrees):
    for name in ALONE:
        still = STILLS[name]
        image, matrix = turned(still.image, degrees)
        faces = find_faces(image, detector=mtcnn)
        off = nearest(faces, still.faces[0], matrix)
        assert len(faces) == 1 and off < EYES_OFF["mtcnn"], f"{name}: {off:.2f}"


def test_the_roll_of_a_head_follows_the_turn_of_the_image(mtcnn, turned):
    for name in ALONE:
        still = STILLS[name]
        upright = find_faces(still.image, detector=mtcnn)[0].roll
        for degrees in (-30, -15, 15, 30):
            image, _ = turned(still.image, degrees)
            (face,) = find_faces(image, detector=mtcnn)
            assert face.roll - upright == pytest.approx(degrees, abs=9), (name, degrees)


def test_most_rendered_heads_are_found_at_every_angle(mtcnn, turned):
    """A head is found if both eyes are: within a quarter of their distance."""
    everybody = sum(len(still.faces) for still in STILLS.values())
    placed, found = {}, {}
    for degrees in range(0, 360, 15):
        placed[degrees] = found[degrees] = 0
        for still in STILLS.values():
            image, matrix = turned(still.image, degrees)
            faces = find_faces(image, detector=mtcnn)
            found[degrees] += sum(nearest(faces, t, matrix) < 0.25 for t in still.faces)
            for truth in still.faces:
                x, y = moved(truth.landmarks_px, matrix).mean(axis=0)
                boxes = [face.box_px for face in faces]
                placed[degrees] += any(
                    bx < x < bx + w and by < y < by + h for bx, by, w, h in boxes
                )
    print(f"\nheads of {everybody}: angle, face there, eyes right")
    for degrees in found:
        print(f"{degrees:5} {placed[degrees]:5} {found[degrees]:5}")
    assert min(found[a] for a in (0, 15, 30, 330, 345)) >= everybody - 1
    assert found[0] == everybody
    assert sum(placed.values()) >= 0.85 * everybody * len(placed)
    assert sum(found.values()) >= 0.9 * everybody * len(found)


def test_detecting_imports_neither_torch_nor_tensorflow():
    code = (
        "import sys, numpy as np, moppet\n"
        "moppet.find_faces(np.zeros((64, 64, 3), np.uint8))\n"
        "print([m for m in ('torch', 'tensorflow', 'mtcnn', 'joblib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
