"""Media made here with PyAV, broken byte by byte, and what `media` gives of it."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from moppet.media import (
    StrictClock,
    find_recordings,
    probe,
    read_frames,
    recording_sha256,
    skipped_files,
)
from moppet.values import Frame, MediaError, UsageError

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 180, 30), (30, 30, 200), (230, 230, 230)
LINUX_ONLY = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")


def quarters(width: int = 160, height: int = 120) -> np.ndarray:
    """An image that shows which way up it is: red, green over blue, white."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def noisy(index: int, width: int = 160, height: int = 120) -> np.ndarray:
    image = quarters(width, height).astype(int)
    image += np.random.default_rng(index).integers(-25, 25, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    stamps: Iterable[int] = range(30),
    base: Fraction = Fraction(1, 25),
    images: Iterable[np.ndarray] | None = None,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (160, 120),
    options: dict[str, str] | None = None,
    turn: tuple[Any, ...] | None = None,
    ratio: Fraction | None = None,
    file_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    pictures = itertools.repeat(quarters(*size)) if images is None else iter(images)
    with av.open(str(path), "w", options=file_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = base
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        if turn is not None:
            stream.set_display_rotation(*turn)
        for stamp, image in zip(stamps, pictures, strict=False):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def packets_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [p for p in container.demux(container.streams.video[0]) if p.size]


def times(frames: Iterable[Frame]) -> list[float]:
    return [frame.time_s for frame in frames]


def lost(frames: Iterable[Frame]) -> list[int]:
    return [frame.index for frame in frames if frame.status == "unreadable"]


def close_to(image: np.ndarray | None, wanted: np.ndarray, tolerance: int = 12) -> bool:
    """Compare the middles of the quarters: what lies between them is the codec's business."""
    assert image is not None and image.dtype == np.uint8 and image.shape == wanted.shape
    height, width = wanted.shape[:2]
    spots = [(y * height // 4, x * width // 4) for y in (1, 3) for x in (1, 3)]
    return all(
        np.abs(image[s].astype(int) - wanted[s].astype(int)).max() <= tolerance for s in spots
    )


@pytest.fixture(autouse=True)
def _same_priority() -> Iterator[None]:
    """SVT-AV1 makes root's process a real-time one, and all that it starts later: a browser among
    them starves the kernel's own work until both hang. Put it back."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# ---------------------------------------------------------------------------- codecs and time

CODECS = [
    ("libx264", "mp4", "yuv420p"),
    ("libx264", "avi", "yuv420p"),  # reordered images in a container without their times
    ("libx264", "ts", "yuv420p"),
    ("libx265", "mkv", "yuv420p10le"),
    ("mpeg4", "avi", "yuv420p"),
    ("mpeg2video", "mpg", "yuv420p"),
    ("libvpx", "webm", "yuv420p"),
    ("libvpx-vp9", "webm", "yuv420p"),
    ("libsvtav1", "mp4", "yuv420p10le"),
    ("ffv1", "mkv", "yuv444p"),
    ("mjpeg", "avi", "yuvj420p"),
    ("prores_ks", "mov", "yuv422p10le"),
    ("rawvideo", "avi", "yuv420p"),
]


@pytest.mark.parametrize(("codec", "suffix", "pixels"), CODECS)
def test_every_packet_gives_its_image_at_its_time(
    tmp_path: Path, codec: str, suffix: str, pixels: str
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg cannot write {codec}")
    path = encode(tmp_path / f"clip.{suffix}", codec, pixels=pixels)
    frames = list(read_frames(path))
    assert len(frames) == len(packets_of(path)) == 30
    assert times(frames) == pytest.approx([i / 25 for i in range(30)], abs=6e-4)
    assert [frame.index for frame in frames] == list(range(30))
    assert all(frame.status == "ok" and close_to(frame.image, quarters()) for frame in frames)


def test_variable_frame_rate_keeps_every_stamp_to_the_millisecond(tmp_path: Path) -> None:
    stamps = [0, 33, 40, 200, 1000, 1001, 5000]
    path = encode(tmp_path / "v.mkv", "ffv1", stamps=stamps, base=Fraction(1, 1000))
    assert times(read_frames(path)) == [stamp / 1000 for stamp in stamps]


def test_a_stream_without_any_stamps_runs_at_its_nominal_rate(tmp_path: Path) -> None:
    path = encode(tmp_path / "raw.h264")
    assert times(read_frames(path)) == pytest.approx([i / 25 for i in range(30)])


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_a_late_start_of_the_whole_file_is_time_zero(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"late.{suffix}", stamps=range(250, 280))
    got = times(read_frames(path))
    assert got[0] == 0.0
    assert got == pytest.approx([i / 25 for i in range(30)], abs=6e-4)


def test_images_before_an_mp4s_start_are_not_shown(tmp_path: Path) -> None:
    path = encode(tmp_path / "early.mp4", stamps=range(-10, 20), options={"bf": "0"})
    assert times(read_frames(path)) == pytest.approx([i / 25 for i in range(20)])


def test_a_video_that_begins_after_its_sound_begins_later_than_zero(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv444p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        for stamp in (20, 21):
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert times(read_frames(path)) == [0.8, 0.84]


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("vob", "mpeg2video")])
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_joined_recordings_go_on_in_time_and_lose_no_frame(
    tmp_path: Path, suffix: str, codec: str, b_frames: str
) -> None:
    images = [noisy(i) for i in range(100)]
    options = {"bf": b_frames}
    one = encode(
        tmp_path / f"one.{suffix}", codec, stamps=range(100), images=images, options=options
    )
    two = tmp_path / f"two.{suffix}"
    two.write_bytes(one.read_bytes() * 2)
    frames = list(read_frames(two))
    assert [frame.status for frame in frames] == ["ok"] * 200
    assert np.diff(times(frames)) == pytest.approx(0.04, abs=1e-3)


finite = st.floats(-1e6, 1e6)


@given(st.lists(st.none() | finite | st.just(math.nan), max_size=60), st.floats(0.001, 1))
def test_repaired_times_grow_strictly(stamps: list[float | None], step_s: float) -> None:
    clock = StrictClock(step_s)
    got = [clock.tick(stamp) for stamp in stamps]
    assert all(a < b for a, b in itertools.pairwise(got))
    assert all(math.isfinite(time_s) for time_s in got)


@given(st.lists(finite, unique=True, max_size=60), st.floats(0.001, 1))
def test_good_stamps_stay_as_they_are(stamps: list[float], step_s: float) -> None:
    clock = StrictClock(step_s)
    assert [clock.tick(stamp) for stamp in sorted(stamps)] == sorted(stamps)


@given(st.integers(1, 58), st.none() | st.floats(0, 1))
def test_one_bad_stamp_moves_no_other(at: int, fraction: float | None) -> None:
    true = [i * 0.04 for i in range(60)]
    bad: list[float | None] = [*true]
    bad[at] = None if fraction is None else true[at - 1] * fraction
    clock = StrictClock(0.04)
    got = [clock.tick(stamp, 0.04) for stamp in bad]
    assert [t for i, t in enumerate(got) if i != at] == [t for i, t in enumerate(true) if i != at]


def test_stamps_that_stand_still_or_fall_back_a_little_are_caught_up_with() -> None:
    clock = StrictClock(1.0)
    stamps = [0.0, 1.0, 1.0, 2.0, 5.0, 4.5, 4.75, 6.25, 7.0]
    got = [clock.tick(stamp) for stamp in stamps]
    assert got == [0.0, 1.0, 1.5, 2.0, 5.0, 5.5, 6.0, 6.25, 7.0]


def test_a_missing_stamp_takes_the_last_duration() -> None:
    clock = StrictClock(0.04)
    got = [clock.tick(None), clock.tick(1.0, 0.5), clock.tick(None), clock.tick(None, 0.1)]
    assert got == [0.0, 1.0, 1.5, 2.0]
    assert clock.tick(None) == 2.1


# ------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_images_are_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    path = encode(tmp_path / "r.mp4", stamps=range(3), turn=(degrees, mirrored))
    wanted = np.rot90(quarters(), degrees // 90)
    wanted = wanted[:, ::-1] if mirrored else wanted
    assert all(close_to(frame.image, wanted) for frame in read_frames(path))
    info = probe(path)
    assert (info.height, info.width) == wanted.shape[:2]


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [
        ("ffv1", "yuv420p", (321, 241)),
        ("libx264", "yuv444p", (321, 241)),
        ("libx264", "yuv420p10le", (320, 240)),
        ("libx264", "yuv422p10le", (322, 242)),
        ("ffv1", "bgra", (33, 17)),
        ("ffv1", "yuva420p", (160, 120)),
        ("png", "rgb48be", (161, 121)),
        ("libx264", "yuv420p", (3840, 2160)),
    ],
)
def test_depths_and_sizes_come_as_8_bit_rgb_in_full(
    tmp_path: Path, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    path = encode(
        tmp_path / ("p.mov" if codec == "png" else "p.mkv"),
        codec,
        stamps=range(2),
        pixels=pixels,
        size=size,
    )
    scale = min(1, 1920 / max(size))
    read = (round(size[0] * scale), round(size[1] * scale))
    assert all(close_to(frame.image, quarters(*read), 40) for frame in read_frames(path))
    assert (probe(path).width, probe(path).height) == read


@pytest.mark.parametrize(("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "gray16le")])
def test_gray_has_three_equal_channels(tmp_path: Path, codec: str, pixels: str) -> None:
    path = encode(tmp_path / "g.mkv", codec, stamps=range(2), pixels=pixels)
    gray = cv2.cvtColor(quarters(), cv2.COLOR_RGB2GRAY)
    for frame in read_frames(path):
        assert close_to(frame.image, np.dstack([gray] * 3))


def test_untagged_hd_is_read_with_hd_colors(tmp_path: Path) -> None:
    path = tmp_path / "hd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv444p"
        planes = np.empty((3, 720, 1280), np.uint8)
        planes[:] = np.reshape([63, 102, 240], (3, 1, 1))  # BT.709's red
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    image = next(read_frames(path)).image
    assert image is not None
    assert np.abs(image[360, 640].astype(int) - (255, 0, 0)).max() <= 4


def test_pixels_become_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mkv", stamps=range(2), ratio=Fraction(4, 3), size=(144, 108))
    assert close_to(next(read_frames(path)).image, quarters(192, 108))
    assert (probe(path).width, probe(path).height) == (192, 108)


# -------------------------------------------------------------------------------------- damage


def spoil(path: Path, *, packets: list[int], share: float) -> Path:
    """Overwrite a share of the bytes of some packets."""
    data, chance = bytearray(path.read_bytes()), random.Random(5)
    for packet in [packets_of(path)[i] for i in packets]:
        for at in range(packet.pos, packet.pos + packet.size):
            if chance.random() < share:
                data[at] = chance.randrange(256)
    bad = path.with_stem("bad")
    bad.write_bytes(data)
    return bad


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {"sc_threshold": "0", "g": "25"}),
        ("libx264", "mp4", {"sc_threshold": "0", "bf": "0"}),
        ("libx264", "avi", {"sc_threshold": "0"}),
        ("libx265", "mp4", {}),
        ("mpeg4", "mp4", {"bf": "2"}),
        ("mpeg4", "avi", {}),
        ("libvpx-vp9", "mp4", {"deadline": "realtime", "cpu-used": "8"}),
        ("ffv1", "avi", {}),
        ("mjpeg", "mov", {}),
    ],
)
def test_damage_costs_no_row_and_moves_no_time(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str], share: float
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg cannot write {codec}")
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(
        tmp_path / f"good.{suffix}",
        codec,
        stamps=range(60),
        images=map(noisy, range(60)),
        pixels=pixels,
        options=options,
    )
    bad = spoil(path, packets=[7, 11, 19, 39, 58], share=share)
    frames = list(read_frames(bad))
    assert len(frames) == len(packets_of(bad)) == 60
    if codec == "libx265":  # this decoder gives damaged images out of turn
        assert np.abs(np.subtract(times(frames), times(read_frames(path)))).max() <= 0.2
    else:
        assert times(frames) == times(read_frames(path))
    assert all((frame.image is None) == (frame.status == "unreadable") for frame in frames)
    assert lost(frames) == lost(read_frames(bad, threads=1)) == lost(read_frames(bad, threads=3))
    if share == 1.0:  # what is random may be right: VP9 may read "show an earlier image again"
        assert len(lost(frames)) >= (4 if codec == "libvpx-vp9" else 5)
    if share == 1.0 and codec in ("mjpeg", "ffv1"):
        assert {7, 11, 19, 39, 58} <= set(lost(frames))
    if codec == "mjpeg":
        assert {7, 11, 19, 39, 58} >= set(lost(frames))
    assert frames[0].status == frames[4].status == "ok"


def test_a_file_cut_short_gives_what_it_holds_and_one_unreadable_row(tmp_path: Path) -> None:
    fast = {"movflags": "faststart"}
    path = encode(tmp_path / "c.mp4", "mjpeg", pixels="yuvj420p", file_options=fast)
    packet = packets_of(path)[20]
    path.write_bytes(path.read_bytes()[: packet.pos + packet.size // 2])
    frames = list(read_frames(path))
    assert lost(frames) == [20]
    assert times(frames) == pytest.approx([i / 25 for i in range(21)])


def test_a_cut_matroska_gives_what_it_holds(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.mkv", "ffv1", images=map(noisy, range(30)))
    packet = packets_of(path)[20]
    path.write_bytes(path.read_bytes()[: packet.pos + packet.size // 2])
    frames = list(read_frames(path))
    assert [frame.status for frame in frames[:20]] == ["ok"] * 20
    assert len(frames) - 20 == len(lost(frames)) <= 1


def test_a_recording_that_begins_between_key_images_shows_what_is_missing(
    tmp_path: Path,
) -> None:
    path = encode(
        tmp_path / "late.ts",
        stamps=range(60),
        images=map(noisy, range(60)),
        options={"bf": "0", "g": "20", "sc_threshold": "0"},
    )
    cut = tmp_path / "cut.ts"
    cut.write_bytes(path.read_bytes()[packets_of(path)[8].pos // 188 * 188 :])
    frames = list(read_frames(cut))
    assert len(frames) == len(packets_of(cut)) == 52
    assert lost(frames) == list(range(12))


def test_a_name_in_another_encoding_is_no_hindrance(tmp_path: Path) -> None:
    path = encode(tmp_path / "n.mkv", stamps=range(3), metadata={"title": "Zurich"})
    data = path.read_bytes()
    assert data.count(b"Zurich") == 1
    path.write_bytes(data.replace(b"Zurich", b"Z\xfcrich"))
    assert probe(path).codec == "h264"


def write_sound(path: Path, cover: bool = False) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        image = None
        if cover:
            image = container.add_stream("mjpeg", rate=1)
            image.width, image.height, image.pix_fmt = 160, 120, "yuvj420p"
            image.disposition = Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), "fltp", "stereo")
        silence.sample_rate = 44100
        container.mux([*sound.encode(silence), *sound.encode(None)])
        if image is not None:
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            container.mux([*image.encode(frame), *image.encode(None)])


def broken_file(folder: Path, case: str) -> Path:
    path = folder / "clip.mp4"
    if case == "missing":
        return path
    if case == "empty folder":
        path = folder / "empty"
        path.mkdir()
    elif case == "folder of text":
        (folder / "notes.txt").write_text("no image")
        path = folder
    elif case == "only sound":
        write_sound(path)
    elif case == "sound with a cover":
        write_sound(path, cover=True)
    elif case == "no index":
        encode(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif case == "one byte":
        path.write_bytes(b"\0")
    else:
        texts = {"empty": "", "text": "Tuesday, nap at two.\n" * 200, "playlist": "#EXTM3U\nx.ts\n"}
        if case == "txt":
            path = folder / "notes.txt"
        elif case == "picture":
            path = folder / "face.png"
        path.write_text(texts.get(case, texts["text"]))
    return path


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", "there is no file"),
        ("empty", "is empty (0 bytes)"),
        ("text", "is not a readable video"),
        ("txt", "is not a readable video"),
        ("playlist", "is a playlist"),
        ("one byte", "is not a readable video"),
        ("picture", "no image that can be decoded"),
        ("no index", "moov"),
        ("only sound", "only sound"),
        ("sound with a cover", "only sound"),
        ("empty folder", "contains no images"),
        ("folder of text", "contains no images"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(
    tmp_path: Path, case: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = broken_file(tmp_path, case)
    for reading in (probe, lambda p: list(read_frames(p))):
        with pytest.raises(MediaError) as caught:
            reading(path)
        text = str(caught.value)
        assert words in text and str(path) in text and text.endswith(".") and "\n" not in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["open", "av"])
def test_a_file_one_may_not_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = encode(tmp_path / "p.mp4", stamps=range(2))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    if where == "open":
        monkeypatch.setattr(Path, "open", refuse)
    else:
        monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(MediaError, match="permission denied"):
        probe(path)


def test_a_video_none_of_whose_images_decode_is_told(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.avi", "mjpeg", pixels="yuvj420p", stamps=range(5))
    bad = spoil(path, packets=[0, 1, 2, 3, 4], share=1.0)
    with pytest.raises(MediaError, match="no image that can be decoded"):
        list(read_frames(bad))


# ------------------------------------------------------------------------------ part of a video


def test_frames_between_are_skipped_rows(tmp_path: Path) -> None:
    frames = list(read_frames(encode(tmp_path / "e.mp4"), every=7))
    assert [f.index for f in frames if f.status == "ok"] == [0, 7, 14, 21, 28]
    assert len(frames) == 30 and all((f.image is None) == (f.status == "skipped") for f in frames)


def test_a_window_keeps_the_recordings_numbers_and_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "w.mp4")
    frames = list(read_frames(path, start_s=0.4, end_s=0.8, every=4))
    assert [f.index for f in frames] == list(range(10, 20))
    assert times(frames) == pytest.approx([i / 25 for i in range(10, 20)])
    assert [f.index for f in frames if f.image is not None] == [12, 16]
    assert list(read_frames(path, start_s=50)) == []


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"threads": 0}, {"start_s": 2, "end_s": 2}, {"end_s": math.nan}]
)
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read_frames("any.mp4", **wrong)


@LINUX_ONLY
@pytest.mark.parametrize("threads", [None, 1])
def test_closing_lets_go_of_the_file(tmp_path: Path, threads: int | None) -> None:
    path = encode(tmp_path / "held.mp4")

    def held() -> bool:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        return any(os.path.realpath(link) == str(path.resolve()) for link in links)

    frames = read_frames(path, threads=threads)
    next(frames)
    assert held()
    frames.close()
    assert not held()
    with pytest.raises(StopIteration):
        next(frames)


@LINUX_ONLY
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    # In processes of their own: what other tests left in this one would blur the figure.
    code = (
        "import resource, sys; from moppet.media import read_frames; "
        "n = sum(1 for _ in read_frames(sys.argv[1])); "
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )

    def peak_mb(n: int) -> float:
        path = encode(tmp_path / f"{n}.mp4", stamps=range(n), size=(640, 480))
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        frames, peak = done.stdout.split()
        assert int(frames) == n
        return float(peak)

    assert peak_mb(600) - peak_mb(60) < 40  # 600 images kept would be 530


# ----------------------------------------------------------------------- images and a camera


def write_image(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp", "tif"])
def test_a_single_image_is_one_frame(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"einzeln ä [1].{suffix}", quarters(63, 47))
    (frame,) = read_frames(path)
    assert (frame.index, frame.time_s) == (0, 0.0) and close_to(frame.image, quarters(63, 47), 40)
    info = probe(path)
    assert (info.kind, info.width, info.height, info.frame_count) == ("images", 63, 47, 1)
    assert math.isnan(info.duration_s) and math.isnan(info.fps)


def test_a_folder_is_read_in_natural_order_and_survives_a_bad_image(tmp_path: Path) -> None:
    for number in (10, 9, 2, 1):
        write_image(tmp_path / f"img{number}.png", np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "img3.png").write_bytes(b"not an image")
    (tmp_path / "img11.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._img1.png").write_bytes(b"left by a Mac")
    frames = list(read_frames(tmp_path))
    assert [None if f.image is None else int(f.image[0, 0, 0]) for f in frames] == [
        1, 2, None, 9, 10, None,
    ]  # fmt: skip
    assert times(frames) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] and lost(frames) == [2, 5]
    info = probe(tmp_path)
    assert (info.kind, info.duration_s, info.frame_count, info.fps) == ("images", 6.0, 6, 1.0)


def exif_jpeg(data: bytes, tiff: bytes) -> bytes:
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    return data[:2] + exif + data[2:]


def exif_png(data: bytes, tiff: bytes) -> bytes:
    chunk = b"eXIf" + tiff
    whole = len(tiff).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return data[:33] + whole + data[33:]


def exif_webp(data: bytes, tiff: bytes) -> bytes:
    """A simple WebP made an extended one (VP8X) with an EXIF chunk, as telephones write it."""
    height, width = quarters().shape[:2]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    head = b"VP8X" + (10).to_bytes(4, "little") + b"\x08\0\0\0" + sides
    exif = b"EXIF" + len(tiff).to_bytes(4, "little") + tiff
    body = b"WEBP" + head + data[12:] + exif
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("add", [exif_jpeg, exif_png, exif_webp])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stills_are_upright_by_their_exif(tmp_path: Path, orientation: int, add: Any) -> None:
    suffix = add.__name__.removeprefix("exif_")
    path = write_image(tmp_path / f"e.{suffix}", quarters())
    entry = b"\x01\x12\0\3\0\0\0\1" + orientation.to_bytes(2, "big") + b"\0\0"
    tiff = b"MM\0*\0\0\0\x08\0\1" + entry + b"\0\0\0\0"
    path.write_bytes(add(path.read_bytes(), tiff))
    rows = quarters()
    wanted = {
        1: rows, 2: rows[:, ::-1], 3: rows[::-1, ::-1], 4: rows[::-1],
        5: rows.transpose(1, 0, 2), 6: np.rot90(rows, 3), 7: np.rot90(rows[:, ::-1], 3),
        8: np.rot90(rows, 1),
    }  # fmt: skip
    (frame,) = read_frames(path)
    assert close_to(frame.image, wanted[orientation])


@pytest.mark.parametrize(
    "tiff", [b"", b"II*\0\x08\0\0\0", b"xx*\0\x08\0\0\0\1\0", b"II*\0\xff\xff\0\0"]
)
def test_a_webp_with_an_odd_exif_is_read_as_it_lies(tmp_path: Path, tiff: bytes) -> None:
    path = write_image(tmp_path / "e.webp", quarters())
    path.write_bytes(exif_webp(path.read_bytes(), tiff))
    (frame,) = read_frames(path)
    assert close_to(frame.image, quarters())


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
def test_a_image_cut_short_is_unreadable(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"1.{suffix}", noisy(0))
    data = (tmp_path / f"1.{suffix}").read_bytes()
    (tmp_path / f"2.{suffix}").write_bytes(data[: len(data) // 2])
    assert [f.status for f in read_frames(tmp_path)] == ["ok", "unreadable"]


def test_a_progressive_jpeg_with_a_film_behind_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "motion.jpg"
    bgr = cv2.cvtColor(noisy(0), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    path.write_bytes(data + b"\xff\xda" + random.Random(1).randbytes(5000))
    assert [f.status for f in read_frames(path)] == ["ok"]
    path.write_bytes(data[:-300])
    with pytest.raises(MediaError):
        list(read_frames(path))


class FakeCamera:
    def __init__(self, shots: list[bool], opened: bool = True) -> None:
        self.shots, self.opened, self.released = iter(shots), opened, False

    def isOpened(self) -> bool:
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        good = next(self.shots, False)
        return good, quarters()[:, :, ::-1].copy() if good else None

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 160.0, cv2.CAP_PROP_FRAME_HEIGHT: 120.0}.get(what, 0.0)

    def release(self) -> None:
        self.released = True


def test_a_camera_counts_from_its_first_image(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = FakeCamera([True, True, False, True])
    ticks = iter([100.0, 100.5, 100.5, 101.25, *range(102, 140)])
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    source = read_frames("camera:0")
    frames = [next(source) for _ in range(4)]
    assert [f.status for f in frames] == ["ok", "ok", "unreadable", "ok"]
    assert times(frames) == [0.0, 0.5, pytest.approx(0.52), 1.25]
    assert close_to(frames[0].image, quarters())
    with pytest.raises(MediaError, match="gives no more images"):
        list(source)
    assert camera.released
    info = probe("camera:0")
    assert (info.kind, info.path, info.width, info.height) == ("camera", None, 160, 120)
    assert info.frame_count is None and math.isnan(info.fps)


def test_closing_lets_go_of_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = FakeCamera([True] * 9)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    frames = read_frames("camera:1")
    next(frames)
    frames.close()
    assert camera.released


def test_a_missing_camera_is_told_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MediaError, match="there is no camera 99"):
        list(read_frames("camera:99"))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="camera:0"):
        probe("camera:front")


# -------------------------------------------------------------------------------- whole sources


def test_sources_are_found_once_and_in_natural_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "v/a10.mp4",
        "v/a9.MOV",
        "v/sub/x.mp4",
        "v/p.png",
        "v/n.csv",
        "i/1.png",
        "o [1].x",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")

    def found(*sources: str) -> list[str]:
        return [one.source for one in find_recordings(sources)]

    assert found("v") == ["v/a9.MOV", "v/a10.mp4", "v/sub/x.mp4"]
    assert found("i") == ["i"]
    assert found("v/*") == ["v/a9.MOV", "v/a10.mp4", "v/p.png", "v/sub/x.mp4"]
    assert found("**/*.mp4") == ["v/a10.mp4", "v/sub/x.mp4"]
    assert found("o [1].x", "camera:0", "v/a10.mp4", "./v", "camera:0") == [
        "o [1].x", "camera:0", "v/a10.mp4", "v/a9.MOV", "v/sub/x.mp4",
    ]  # fmt: skip


def test_recordings_in_a_folder_keep_their_path_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("v/c2/s1.mp4", "v/c10/s1.mp4", "v/c10/photos/1.png", "v/.old/s1.mp4", "v/n.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("v/out/c2").mkdir(parents=True)
    Path("v/out/c2/film.mp4").write_bytes(b"x")
    Path("v/c2/loop").symlink_to(tmp_path / "v")
    found = {one.source: one.below for one in find_recordings(["v"], leave_out=Path("v/out"))}
    assert found == {
        "v/c2/s1.mp4": "c2/s1.mp4",
        "v/c10/s1.mp4": "c10/s1.mp4",
        "v/c10/photos": "c10/photos",
    }
    assert [one.below for one in find_recordings(["v/c2/s1.mp4"])] == [None]
    assert skipped_files("v", leave_out=Path("v/out")) == ["n.txt"]


@pytest.mark.parametrize("source", ["none.mp4", "*.mp4", "empty"])
def test_a_source_that_stands_for_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="nothing to read"):
        find_recordings([source])


def test_hashes_are_those_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    assert recording_sha256(tmp_path / "a.png") == hashlib.sha256(b"one").hexdigest()
    whole = recording_sha256(tmp_path)
    (tmp_path / "a.png").write_bytes(b"two")
    changed = recording_sha256(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert len({whole, changed, recording_sha256(tmp_path)}) == 3
    with pytest.raises(MediaError, match="cannot be read"):
        recording_sha256(tmp_path / "none.mp4")


def test_probe_tells_what_the_file_says(tmp_path: Path) -> None:
    path = encode(tmp_path / "p.mp4")
    info = probe(path)
    assert (info.path, info.name, info.kind, info.codec) == (path, "p.mp4", "video", "h264")
    assert (info.duration_s, info.frame_count, info.fps) == (pytest.approx(1.2), 30, 25.0)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the shared clips")
def test_real_clips_lose_no_packet() -> None:
    for path in sorted(p for p in CLIPS.iterdir() if p.suffix in (".mp4", ".mov")):
        frames = list(read_frames(path, every=1000))
        shown = [packet for packet in packets_of(path) if not packet.is_discard]
        assert len(frames) == len(shown) and not lost(frames), path.name
        assert all(a < b for a, b in itertools.pairwise(times(frames)))
