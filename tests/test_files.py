"""Files are written whole or not at all, with the user's mode, and fail in one sentence."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moppet.files import file_sha256, replacing, write_bytes, write_text
from moppet.values import MoppetError, TimelineError, name_hint, nearest_name


def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "notes.txt"
    before = os.umask(0o027)
    try:
        with replacing(path) as part:
            part.write_text("one", encoding="utf-8")
            part.chmod(0o600)  # as safetensors does
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        assert write_text(path, "größer\n") == path
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert path.read_bytes() == "größer\n".encode()
    assert os.listdir(path.parent) == ["notes.txt"]


def test_the_part_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.npz") as part:
        np.savez(part, x=np.arange(3))
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: make room"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system. Choose another"),
        (OSError("odd"), "odd."),
        (KeyError("no key"), "'no key'."),
    ],
)
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, reason: Exception, text: str) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with (
        pytest.raises(TimelineError, match=f"^Cannot write {path}: {text}"),
        replacing(path, TimelineError, (KeyError,)) as part,
    ):
        part.write_text("half", encoding="utf-8")
        raise reason
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    code = (
        "import os, pathlib, sys\nfrom moppet.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -9
    assert path.read_text(encoding="utf-8") == "old"
    assert [name for name in os.listdir(tmp_path) if name[0] != "."] == ["a.txt"]


HOLD = """
import pathlib, sys, time
from moppet.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as part:
    part.unlink(), part.write_text("half")  # some writers replace the file that they were given
    print(part.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs locks of Unix")
def test_a_later_run_removes_what_a_killed_one_left_and_nothing_that_is_in_use(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dead:
        assert dead.stdout is not None
        stale = dead.stdout.readline().strip()
        dead.kill()
    kept = [".a.part.txt", f".a.{os.getppid()}-0.part.txt", "a.txt", ".b.0-1.part.txt"]
    for name in kept:
        (tmp_path / name).write_text(name)
    (tmp_path / ".a.999999999-1.part").symlink_to("a.txt")
    (tmp_path / f".a.{os.getpid()}-100000.part.txt").write_text("of an earlier process")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as alive:
        assert alive.stdout is not None
        in_use = alive.stdout.readline().strip()
        assert stale not in os.listdir(tmp_path)  # the second run removed it
        with replacing(tmp_path / "b.txt") as mine:
            write_text(tmp_path / "c.txt", "")
            found = set(os.listdir(tmp_path))
            alive.kill()
    assert found == {*kept, ".a.999999999-1.part", in_use, mine.name, "c.txt"}


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(MoppetError, match=f"^Cannot write {tmp_path}: Is a directory"):
        write_text(tmp_path, "x")
    blocked = write_text(tmp_path / "file", "") / "below.txt"
    with pytest.raises(MoppetError, match=f"^Cannot write {blocked}: "):
        write_text(blocked, "x")


def test_links_and_pipes_are_written_through(tmp_path: Path) -> None:
    target = write_text(tmp_path / "target.txt", "old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text(encoding="utf-8") == "new"
    write_bytes(Path("/dev/null"), b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "abc", b"abc")
    assert file_sha256(path)[:16] == "ba7816bf8f01cfea"
    with pytest.raises(TimelineError, match="cannot be read"):
        file_sha256(tmp_path / "none", TimelineError)


def test_the_nearest_name_is_hinted_at() -> None:
    assert nearest_name("Epoch", ["epochs", "size"]) == "epochs"
    assert name_hint("epoch", ["epochs"]) == " Did you mean 'epochs'?"
    assert name_hint("xyz", ["epochs", "size"]) == " Known: epochs, size."
    assert name_hint("xyz", []) == name_hint("xyz", [f"name{n}" for n in range(50)]) == ""
