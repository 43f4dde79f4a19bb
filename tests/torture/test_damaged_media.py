"""Three hundred damaged videos of every codec and container that can be written here."""

from __future__ import annotations

import os
import random
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from child import Tally, faults, moppet

from rendered import read_stills

MUTATIONS = int(os.environ.get("MOPPET_TORTURE_MEDIA", "300"))
LIMIT_S = 90
FRAMES, SIZE = 14, (192, 144)
KINDS = [
    ("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "ts"), ("libx264", "mov"),
    ("libx264", "flv"), ("libx264", "h264"), ("libx265", "mp4"), ("libx265", "mkv"),
    ("libvpx", "webm"), ("libvpx-vp9", "webm"), ("libsvtav1", "mp4"), ("libaom-av1", "mkv"),
    ("mpeg4", "avi"), ("mpeg4", "mp4"), ("mpeg2video", "mpg"), ("mpeg2video", "ts"),
    ("mpeg1video", "mpg"), ("mjpeg", "avi"), ("mjpeg", "mov"), ("wmv2", "wmv"), ("flv", "flv"),
    ("ffv1", "mkv"), ("huffyuv", "avi"), ("rawvideo", "avi"), ("rawvideo", "nut"),
    ("prores_ks", "mov"), ("png", "mov"), ("gif", "gif"), ("libtheora", "ogv"),
    ("dvvideo", "dv"), ("h263p", "3gp"), ("msmpeg4v3", "avi"), ("libxvid", "avi"),
]  # fmt: skip


def write(path: Path, codec: str) -> None:
    """A face that moves; raises whatever PyAV does where it cannot write it."""
    face = cv2.resize(next(iter(read_stills().values())).image, SIZE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height = SIZE
        stream.pix_fmt = stream.codec_context.codec.video_formats[0].name
        for i in range(FRAMES):
            shifted = np.ascontiguousarray(np.roll(face, 2 * i, axis=1))
            for packet in stream.encode(av.VideoFrame.from_ndarray(shifted, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An undamaged video of each kind."""
    root = tmp_path_factory.mktemp("whole")
    found = []
    for number, (codec, container) in enumerate(KINDS):
        path = root / f"{number:02d}_{codec}.{container}"
        try:
            write(path, codec)
        except Exception:  # this PyAV has no such encoder, or no such pair
            path.unlink(missing_ok=True)
        else:
            found.append(path)
    print(f"\n{len(found)} of {len(KINDS)} kinds can be written")
    assert len(found) >= 8
    return found


def cut(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.choice([1, 8, 32, 100, rng.randrange(len(data)), len(data) - 1])]


def flip(data: bytes, rng: random.Random, other: bytes) -> bytes:
    found = bytearray(data)
    head = rng.random() < 0.4
    for _ in range(rng.choice([1, 5, 20, 100, 1000])):
        found[rng.randrange(min(600, len(found)) if head else len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def splice(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at, piece = rng.randrange(len(data)), rng.randrange(1, len(other))
    start = rng.randrange(len(other) - piece + 1)
    kind = rng.choice(["join", "insert", "replace", "noise", "remove"])
    if kind == "join":
        return data + other
    if kind == "remove":
        return data[:at] + data[at + rng.randrange(1, 2000) :]
    content = rng.randbytes(min(piece, 5000)) if kind == "noise" else other[start : start + piece]
    return data[:at] + content + data[at + (len(content) if kind == "replace" else 0) :]


def test_damaged_videos_are_read_or_refused_in_one_sentence(
    whole: list[Path], tmp_path: Path
) -> None:
    tally = Tally()
    for path in whole:
        ended = moppet("analyze", path, "-o", tmp_path / "whole", "--no-report", limit_s=LIMIT_S)
        wrong = faults(ended) + ["not read"] * (ended.code != 0)
        tally.add("undamaged", path.name, ended, wrong)
    rng = random.Random(17)
    for number in range(MUTATIONS):
        source, other = whole[number % len(whole)], rng.choice(whole)
        change = rng.choice([cut, flip, splice])
        path = tmp_path / f"{number:03d}{source.suffix}"
        path.write_bytes(change(source.read_bytes(), rng, other.read_bytes()))
        folder = tmp_path / f"out{number}"
        ended = moppet("analyze", path, "-o", folder, "--no-report", limit_s=LIMIT_S)
        tally.add(change.__name__, f"{number} of {source.name}", ended, faults(ended, folder))
        if not faults(ended, folder):
            path.unlink()
    tally.close()
