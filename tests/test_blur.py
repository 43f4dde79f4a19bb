"""`moppet blur`: no face is left in a video for a talk."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import rendered
from command_line import Run
from moppet.infer.blurring import (
    FaceRegions,
    Region,
    blur_recording,
    check_hidden,
    draw_labels,
    hide_faces,
    shows_face,
)
from moppet.media import recording_sha256
from report_samples import make_row, make_timeline

P = (0.9, 0.05, 0.01, 0.01, 0.01, 0.01, 0.01)


def timeline_of(seen: dict[int, tuple[float, ...]], fps: int = 10, **more: object):
    """A timeline of a face with these boxes by frame."""
    last = max(seen)
    rows = []
    for i in range(last + 1):
        if i in seen:
            box = dict(zip(("box_x", "box_y", "box_w", "box_h"), seen[i], strict=True))
            rows.append(make_row(i, i / fps, P, detection_score=0.99, **box, **more))
        else:
            rows.append(make_row(i, i / fps))
    return make_timeline(rows)


def test_a_lost_face_is_hidden_on_its_way_and_wider() -> None:
    regions = FaceRegions(timeline_of({0: (100, 50, 20, 20), 10: (200, 50, 20, 20)}))
    (found,) = regions.at(0.0)
    assert found.box == pytest.approx((94, 44, 32, 32)) and found.label == "neutral"
    (middle,) = regions.at(0.5)
    assert middle.box == pytest.approx((150 - 14, 36, 48, 48)) and middle.label == ""


def test_a_face_is_hidden_before_and_after_it_is_seen() -> None:
    regions = FaceRegions(timeline_of({i: (10, 10, 20, 20) for i in range(20, 30)}))
    assert regions.at(1.2) is not None and regions.at(3.7) is not None
    assert regions.at(0.5) is None and regions.at(4.5) is None  # nobody is known: all is hidden


def test_the_whole_frame_is_hidden_while_a_face_is_lost_for_long() -> None:
    seen = {0: (10.0, 10.0, 20.0, 20.0), 60: (10.0, 10.0, 20.0, 20.0)}
    timeline = timeline_of(seen)
    assert FaceRegions(timeline).at(3.0) is None
    other = [make_row(i, i / 10, P, face_id=1) for i in range(61)]
    rows = [make_row(i, i / 10, P) for i in (0, 60)]
    both = FaceRegions(make_timeline([*rows, *other]))
    assert len(both.at(0.0)) == 2 and both.at(3.0) is None  # the other face alone is not enough


def test_a_face_of_low_quality_is_hidden_wider() -> None:
    sure = FaceRegions(timeline_of({0: (100, 50, 20, 20), 1: (100, 50, 20, 20)})).at(0.0)
    low = timeline_of({0: (100, 50, 20, 20), 1: (100, 50, 20, 20)}, status="low_quality")
    (wide,) = FaceRegions(low).at(0.0)
    assert wide.box[2] > sure[0].box[2] * 1.3


def test_only_the_region_changes_and_keeps_no_detail() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    region = Region((-10.0, 20.0, 60.0, 60.0), "")
    for how in ("blur", "cover"):
        hidden = hide_faces(image, [region], how)
        inside = np.zeros((120, 160), bool)
        inside[20:80, 0:50] = True
        assert (hidden[~inside] == image[~inside]).all()
        assert hidden[inside].astype(float).std() < 0.2 * image[inside].astype(float).std()
    assert hide_faces(image, None, "blur").astype(float).std() < 0.25 * image.std()


def test_a_label_is_written_above_the_face_inside_the_image() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    draw_labels(image, [Region((250.0, -5.0, 40.0, 40.0), "happiness"), Region((9, 99, 9, 9), "")])
    rows, columns = np.nonzero(image.sum(axis=2))
    assert rows.max() < 60 and columns.min() > 100 and len(rows) > 500


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of one rendered face, at 10 a second, with 1.2 s of sound."""
    still = next(s for n, s in sorted(rendered.read_stills().items()) if shows_face(s.image))
    image = still.image[: still.image.shape[0] // 2 * 2, : still.image.shape[1] // 2 * 2]
    path = tmp_path_factory.mktemp("blur") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"crf": "12"})
        video.pix_fmt, video.height, video.width = "yuv420p", *image.shape[:2]
        sound = container.add_stream("aac", rate=16_000)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = (0.3 * np.sin(np.arange(19_200) / 5)).astype(np.float32)[None]
        for start in range(0, 19_200, 1024):
            part = tone[:, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def box_of(clip: Path) -> tuple[float, ...]:
    from moppet.infer.detectors import find_faces
    from moppet.media import read_frames

    image = next(frame.image for frame in read_frames(clip))
    return tuple(float(x) for x in find_faces(image)[0].box_px)


def test_no_face_is_left_and_every_frame_keeps_its_time(clip: Path, tmp_path: Path) -> None:
    timeline = timeline_of({i: box_of(clip) for i in range(12)})
    output = tmp_path / "talk.mp4"
    done = blur_recording(clip, timeline, output, sound=True, check_every=4)
    assert (done.frames, done.whole, done.seen) == (12, 0, ()) and done.checked == 3
    assert check_hidden(clip, 4)[1] != ()  # the recording does show a face
    with av.open(str(output)) as written:
        times = [frame.time for frame in written.decode(video=0)]
        assert times == pytest.approx([i / 10 for i in range(12)], abs=1e-3)
    with av.open(str(output)) as written:
        samples = np.concatenate([f.to_ndarray()[0] for f in written.decode(audio=0)])
        assert len(samples) / 16_000 == pytest.approx(1.2, abs=0.15)
        assert 0.1 < np.abs(samples[2000:-3000]).mean() < 0.3
    blur_recording(clip, timeline, output, check_every=12)
    with av.open(str(output)) as written:
        assert not written.streams.audio


def test_a_face_that_the_timeline_misses_hides_the_frames(clip: Path, tmp_path: Path) -> None:
    wrong = timeline_of({i: (0.0, 0.0, 10.0, 10.0) for i in range(12)})
    done = blur_recording(clip, wrong, tmp_path / "talk.mp4", how="cover", check_every=6)
    assert done.whole == 12 and done.seen == ()


def test_the_command_refuses_what_it_should(clip: Path, tmp_path: Path, moppet: Run) -> None:
    timeline = timeline_of({0: (0, 0, 9, 9)}).write(tmp_path / "t.parquet")
    done = moppet("blur", clip, "-o", tmp_path / "talk.mp4", "--timeline", timeline)
    assert done.code == 2 and "belongs to another recording" in done.err
    assert moppet("blur", clip, "-o", clip).code == 2
    done = moppet("blur", clip, "-o", tmp_path / "talk.avi")
    assert done.code == 2 and "ends in .mp4" in done.err
    done = moppet("blur", clip, "-o", tmp_path / "talk.mp4", "--how", "hide")
    assert done.code == 2 and "--how takes blur or cover" in done.err


def test_the_command_fails_if_a_face_is_still_found(
    clip: Path, tmp_path: Path, moppet: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"metadata": {"source_sha256": recording_sha256(clip)}}
    rows = [make_row(i, i / 10, P) for i in range(12)]
    timeline = make_timeline(rows, **own).write(tmp_path / "t.parquet")
    from moppet.infer import blurring

    found: Callable[..., tuple[int, tuple[float, ...]]] = lambda video, every: (2, (0.5,))  # noqa: E731
    monkeypatch.setattr(blurring, "check_hidden", found)
    monkeypatch.setattr(blurring, "shows_face", lambda image: False)
    done = moppet("blur", clip, "-o", tmp_path / "talk.mp4", "--timeline", timeline)
    assert done.code == 1 and "faces are still found in 1 of 2 frames" in done.err
