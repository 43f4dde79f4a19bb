"""A hundred kills: an analysis that is stopped anywhere and resumed equals an unbroken one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from moppet.timeline import Timeline, read_timeline
from rendered import read_stills, write_video

KILLS = 100
SECONDS, FPS = 8, 20


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that wanders, hides, and changes at two cuts."""
    stills = list(read_stills().values())

    def frame(i: int) -> np.ndarray:
        face = cv2.resize(stills[i // 60].image, (480, 360))
        if i % 50 in range(30, 38):
            return np.full_like(face, 90)
        shift = np.array([[1, 0, 60 * np.sin(i / 9)], [0, 1, 20 * np.cos(i / 7)]], np.float32)
        return cv2.warpAffine(face, shift, (480, 360), borderMode=cv2.BORDER_REPLICATE)

    path = tmp_path_factory.mktemp("clip") / "child.mp4"
    return write_video(path, (frame(i) for i in range(SECONDS * FPS)), FPS)


def run(clip: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = ["analyze", str(clip), "-o", str(folder), "--no-report", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "moppet", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def result(folder: Path) -> Timeline:
    return read_timeline(folder / "child" / "timeline.parquet")


def test_a_hundred_kills_change_nothing(clip: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    with run(clip, tmp_path / "whole") as process:
        assert process.wait(300) == 0
    took_s = time.monotonic() - begun
    whole = result(tmp_path / "whole")
    assert len(whole.metadata["cuts_s"]) == 2
    rng = random.Random(1)
    kills = stops = 0
    number = 0
    while kills + stops < KILLS:
        number += 1
        folder = tmp_path / str(number)
        while True:
            with run(clip, folder, "--resume") as process:
                try:
                    code = process.wait(rng.uniform(0.05, 1.2) * took_s)
                except subprocess.TimeoutExpired:
                    how = rng.choice([signal.SIGKILL, signal.SIGINT])
                    process.send_signal(how)
                    _, err = process.communicate(timeout=120)
                    code = process.returncode
                    assert b"Traceback" not in err, err.decode()
            if code == 0:
                break
            # -SIGINT: before Python began
            known = (-signal.SIGKILL, -signal.SIGINT, 130)
            assert code in known, err.decode()
            kills, stops = kills + (code == -signal.SIGKILL), stops + (code != -signal.SIGKILL)
        found = result(folder)
        assert found.table.equals(whole.table), f"differs in run {number}"
        assert {**found.metadata, "analyzed_at": ""} == {**whole.metadata, "analyzed_at": ""}
        assert {path.name for path in (folder / "child").iterdir()} == {"timeline.parquet"}
    print(f"{kills} kills and {stops} Ctrl-C in {number} runs: none differs")
