"""Head pose is recovered from projected landmarks; quality falls as a face gets harder to read."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moppet.infer.alignment import (
    HEAD_POINTS,
    TEMPLATE_PX,
    crop_quality,
    face_quality,
    head_pose,
    pose_factor,
    sharpness,
)
from moppet.values import Face

SWAPPED = [1, 0, 2, 4, 3]


def project(yaw: float, pitch: float, roll: float, scale: float = 2.3) -> np.ndarray:
    """The landmarks of a head that is nodded, then turned, then tilted, under weak perspective.

    x to the viewer's right, y down, z away: a nose (toward -z) goes right with -y's rotation.
    """
    turn = Rotation.from_euler("ZYX", [roll, -yaw, -pitch], degrees=True).as_matrix()
    return (scale * (HEAD_POINTS @ turn.T)[:, :2] + [310, 205]).astype(np.float32)


def test_the_pose_of_a_projected_head_is_recovered():
    yaws, pitches, rolls = (-60, -30, 0, 15, 45), (-40, -20, 0, 25), (-170, -90, -30, 0, 60, 120)
    for pose in itertools.product(yaws, pitches, rolls):
        assert head_pose(project(*pose)) == pytest.approx(pose, abs=0.5), pose


@pytest.mark.parametrize("scale", [0.05, 1.0, 40.0])
def test_the_pose_does_not_depend_on_size(scale):
    assert head_pose(project(20, -10, 5, scale)) == pytest.approx((20, -10, 5), abs=0.5)


def test_yaw_is_positive_when_the_nose_points_to_the_viewers_right():
    landmarks = TEMPLATE_PX.copy()
    landmarks[2, 0] += 6
    yaw, _, roll = head_pose(landmarks)
    assert yaw > 5 and abs(roll) < 8


def test_pitch_is_positive_when_the_nose_points_up():
    landmarks = TEMPLATE_PX.copy()
    landmarks[2, 1] -= 6
    assert head_pose(landmarks)[1] > head_pose(TEMPLATE_PX)[1] + 5


def test_roll_is_positive_when_the_viewers_right_eye_is_the_lower_one():
    turn = cv2.getRotationMatrix2D((55, 55), -20, 1)  # OpenCV counts counter-clockwise
    landmarks = (TEMPLATE_PX @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    assert landmarks[1, 1] > landmarks[0, 1]
    assert head_pose(landmarks)[2] == pytest.approx(20, abs=0.1)


def test_a_mirrored_face_has_the_opposite_yaw_and_roll():
    rng = np.random.default_rng(0)
    for _ in range(20):
        landmarks = project(*rng.uniform(-40, 40, 3)) + rng.normal(0, 1, (5, 2))
        mirrored = landmarks[SWAPPED] * [-1, 1] + [640, 0]
        yaw, pitch, roll = head_pose(landmarks.astype(np.float32))
        assert head_pose(mirrored.astype(np.float32)) == pytest.approx(
            (-yaw, pitch, -roll), abs=0.01
        )


@pytest.mark.parametrize(
    "landmarks",
    [np.full((5, 2), 7.0), np.outer(np.arange(5.0), [1.0, 2.0])],
    ids=["one point", "one line"],
)
def test_points_that_describe_no_head_have_no_pose(landmarks):
    assert all(map(math.isnan, head_pose(landmarks.astype(np.float32))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_landmarks_that_are_not_numbers_have_no_pose(bad):
    landmarks = TEMPLATE_PX.copy()
    landmarks[3, 1] = bad
    assert all(map(math.isnan, head_pose(landmarks)))


def test_the_pose_of_rendered_heads_is_near_the_truth(pictures):
    for still in pictures.values():
        for truth in still.faces:
            yaw, _, roll = head_pose(truth.landmarks_px)
            assert abs(yaw - truth.yaw) < 16 and abs(roll - truth.roll) < 8, still.name


# ---------------------------------------------------------------------------------- quality


@pytest.fixture(scope="module")
def face(pictures) -> tuple[np.ndarray, Face]:
    still = pictures["age30_dark_neutral.jpg"]
    truth = still.faces[0]
    return still.image, Face(truth.box_px, truth.landmarks_px, 0.99, yaw=0.0, pitch=0.0, roll=0.0)


def falls(values: list[float]) -> bool:
    return all(a >= b for a, b in itertools.pairwise(values)) and values[0] > values[-1]


def test_a_sharp_near_frontal_face_is_of_full_quality(face):
    assert face_quality(*face) == pytest.approx(1, abs=0.05)


def test_quality_falls_with_blur_to_nothing(face):
    image, found = face
    values = [
        face_quality(cv2.GaussianBlur(image, (0, 0), s) if s else image, found)
        for s in (0, 1, 2, 3, 4, 6, 9, 14)
    ]
    assert falls(values) and values[-1] < 0.1


def test_quality_falls_with_size_to_nothing(face):
    image, found = face
    values = []
    for scale in (1, 0.5, 0.3, 0.22, 0.16, 0.12, 0.09, 0.05):
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points = ((found.landmarks_px + 0.5) * scale - 0.5).astype(np.float32)
        shrunk = replace(found, box_px=found.box_px * np.float32(scale), landmarks_px=points)
        values.append(face_quality(small, shrunk))
    assert falls(values) and values[-1] == 0


@pytest.mark.parametrize("side", ["yaw", "pitch"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_quality_falls_with_the_pose_to_nothing(face, side, sign):
    image, found = face
    angles = (0, 20, 30, 40, 50, 60, 70, 80)
    values = [face_quality(image, replace(found, **{side: sign * a})) for a in angles]
    assert falls(values) and values[-1] == 0


def test_quality_falls_with_the_detection_score_to_nothing(face):
    image, found = face
    scores = (1, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.2)
    values = [face_quality(image, replace(found, score=score)) for score in scores]
    assert falls(values) and values[-1] == 0


def test_quality_is_between_0_and_1_whatever_comes():
    rng = np.random.default_rng(0)
    for _ in range(60):
        crop = rng.integers(0, 256, (*rng.integers(20, 150, 2), 3), np.uint8)
        crop //= rng.integers(1, 200, dtype=np.uint8)
        box = rng.normal(0, 60, 4).astype(np.float32)
        pose = dict(zip(("yaw", "pitch", "roll"), rng.normal(0, 60, 3), strict=True))
        value = crop_quality(crop, Face(box, TEMPLATE_PX, rng.uniform(), **pose))
        assert 0 <= value <= 1


def test_a_face_whose_pose_or_landmarks_are_unknown_has_no_quality(face):
    image, found = face
    assert face_quality(image, replace(found, yaw=math.nan)) == 0
    assert face_quality(image, replace(found, landmarks_px=np.zeros((5, 2), np.float32))) == 0


def test_sharpness_does_not_depend_on_brightness_or_contrast(pictures):
    image = pictures["age30_dark_neutral.jpg"].image[70:260, 80:270]
    darker = (image * 0.6 + 20).astype(np.uint8)
    assert sharpness(darker) == pytest.approx(sharpness(image), rel=0.1)
    assert sharpness(np.full((60, 60, 3), 90, np.uint8)) == 0


def test_a_face_up_to_25_degrees_off_the_front_loses_nothing():
    assert pose_factor(25, 0) == pose_factor(-25, 10) == 1 and pose_factor(26, 0) < 1
