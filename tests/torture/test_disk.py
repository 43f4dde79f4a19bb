"""Full disks and writes that fail: one sentence, and old results stay whole."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from child import Ended, Tally, faults, moppet

from command_line import run_moppet
from moppet.timeline import read_timeline
from moppet.values import MoppetError
from rendered import read_stills, write_video

SIZES_KB = (4, 8, 16, 32, 64, 128, 256, 400)
COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "analyze": lambda clip, disk: ["analyze", str(clip), "-o", str(disk / "o")],
    "analyze, all formats": lambda clip, disk: [
        "analyze", str(clip), "-o", str(disk / "o"), "--format", "parquet,csv,json",
    ],
    "report": lambda clip, disk: [
        "report", str(clip.with_name("timeline.parquet")), "-o", str(disk / "r.html"),
    ],
    "export": lambda clip, disk: [
        "export", str(clip.with_name("timeline.parquet")), "-o", str(disk / "e"),
        "--format", "elan,boris,datavyu,textgrid,summary",
    ],
    "card": lambda clip, disk: ["card", "default", "-o", str(disk / "card")],
}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a face, and their timeline beside them."""
    folder = tmp_path_factory.mktemp("clip")
    face = cv2.resize(next(iter(read_stills().values())).image, (240, 180))
    path = write_video(folder / "clip.mp4", (np.roll(face, i, axis=1) for i in range(40)))
    assert moppet("analyze", path, "-o", folder / "o", "--no-report").code == 0
    shutil.copy(folder / "o" / "clip" / "timeline.parquet", folder / "timeline.parquet")
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """small_disk(kB) → an empty disk of that size; skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size_kb: int) -> Path:
        subprocess.run(["umount", place], capture_output=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk can only be mounted by root")
        return place

    yield mount
    subprocess.run(["umount", place], capture_output=True)


def damaged(folder: Path) -> list[str]:
    """Files that are not whole: cut pages, timelines that cannot be read, leftovers."""
    found = []
    for path in sorted(folder.rglob("*")):
        if ".part" in path.name:
            found.append(f"left {path.name}")
        elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
            found.append(f"{path.name} is cut")
        elif path.name in ("timeline.parquet", "timeline.csv", "timeline.json"):
            try:
                read_timeline(path)
            except MoppetError:
                found.append(f"{path.name} is damaged")
    return found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_full_disks(clip: Path, small_disk: Callable[[int], Path]) -> None:
    tally = Tally()
    for name, command in COMMANDS.items():
        for size_kb in SIZES_KB:
            disk = small_disk(size_kb)
            ended = moppet(*command(clip, disk))
            tally.add(name, f"{size_kb} kB", ended, faults(ended) + damaged(disk))
    tally.close()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_failing_writes(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: str,
    code: int,
) -> None:
    tally, real = Tally(), getattr(os, call)
    for name in ("report", "export", "card"):
        for failing in (1, 2, 4):
            folder = tmp_path / f"{name}{failing}"
            folder.mkdir()
            (folder / "r.html").write_text("<html>old</html>")
            count = 0

            def fail(*given: object, failing: int = failing) -> object:
                nonlocal count
                count += 1
                if count == failing:
                    raise OSError(code, os.strerror(code))
                return real(*given)

            with monkeypatch.context() as patch:
                patch.setattr(os, call, fail)
                done = run_moppet(capsys, *COMMANDS[name](clip, folder))
            ended = Ended(int(done.code), 0.0, 0.0, done.out, done.err)
            wrong = faults(ended) + damaged(folder)
            wrong += ["no failure told"] * (count >= failing and ended.code == 0)
            tally.add(name, f"{call} number {failing}", ended, wrong)
    with capsys.disabled():
        tally.close()
