"""Pictures of faces: the right frame and place, and nothing to know anybody by when blurred."""

from __future__ import annotations

import base64
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from moppet.pages.face_images import choose_episodes
from moppet.pages.report import read_thumbnails
from moppet.timeline import Episode
from report_samples import make_row, make_timeline

FPS = 10
BOX = {"box_x": 90.0, "box_y": 60.0, "box_w": 64.0, "box_h": 64.0}


def paint(frame: int) -> np.ndarray:
    """Fine stripes where the face is, red in the first half of the clip and blue in the second."""
    image = np.full((180, 320, 3), 40, dtype=np.uint8)
    face = image[60:124, 90:154]
    face[:, :, 0 if frame < 20 else 2] = 230
    face[:, ::8] = 255
    face[:, 1::8] = 255
    return image


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.bit_rate = 4_000_000
        for i in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(paint(i), format="rgb24")))
        container.mux(stream.encode())
    return path


def timeline_of(clip_frames: int = 40):
    happy, sad = (
        [0.05, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01],
        [0.05, 0.01, 0.9, 0.01, 0.01, 0.01, 0.01],
    )
    rows = [make_row(i, i / FPS, happy if i < 20 else sad, **BOX) for i in range(clip_frames)]
    return make_timeline(rows)


def photo(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_each_image_shows_the_face_at_the_peak_of_its_episode(clip):
    first, second = read_thumbnails(clip, timeline_of(), blur=False)
    assert (first.label, second.label) == ("happiness", "sadness")
    assert first.time_s < 2 <= second.time_s
    for thumb, strong, weak in ((first, 2, 0), (second, 0, 2)):
        image = photo(thumb.data_uri)
        assert image.shape == (96, 96, 3) and not thumb.blurred
        centre = image[32:64, 32:64].reshape(-1, 3).mean(axis=0)
        assert centre[strong] > centre[weak] + 60
        assert image[:, :6].mean() < 60, "the margin shows the background"


def test_a_blurred_image_keeps_no_detail_of_the_face(clip):
    sharp = photo(read_thumbnails(clip, timeline_of(), blur=False)[0].data_uri)
    blurred = read_thumbnails(clip, timeline_of(), blur=True)[0]
    image = photo(blurred.data_uri)
    assert blurred.blurred and image.shape == (96, 96, 3)

    def detail(photo: np.ndarray) -> float:
        return float(cv2.Laplacian(photo.astype(np.float32), cv2.CV_32F).var())

    assert detail(image) < detail(sharp) / 100


def test_count_limits_the_images_and_none_are_read_for_no_episode(clip):
    assert len(read_thumbnails(clip, timeline_of(), blur=True, count=1)) == 1
    assert read_thumbnails(clip, timeline_of(), blur=True, count=0) == []
    empty = make_timeline([make_row(i, i / FPS) for i in range(20)])
    assert read_thumbnails(clip.with_name("missing.mp4"), empty, blur=True) == []


def test_different_expressions_and_faces_come_before_repeats():
    def episode(face: int, label: str, start_s: float, p: float) -> Episode:
        return Episode(face, "expression", label, start_s, start_s + 1, 1.0, p, start_s, 25)

    episodes = [
        episode(0, "happiness", 0, 0.99),
        episode(0, "happiness", 2, 0.98),
        episode(0, "sadness", 4, 0.6),
        episode(1, "happiness", 1, 0.7),
    ]
    chosen = choose_episodes(episodes, 3)
    assert [(e.face_id, e.label, e.start_s) for e in chosen] == [
        *((0, "happiness", 0), (1, "happiness", 1), (0, "sadness", 4))
    ]
