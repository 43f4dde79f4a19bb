"""A process that is killed while it writes leaves the old file or the new one, never a part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moppet.timeline import Timeline, read_timeline
from moppet.timeline.people import People, Person, Piece, people_path
from report_samples import make_row, make_timeline

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of Unix")

KILLED = """
import os, signal, sys
step, arguments = sys.argv[1], sys.argv[2:]
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def main():
    if arguments[0] == "write":
        from moppet.timeline import read_timeline
        timeline = read_timeline(arguments[1])
        setattr(os, step, kill)
        timeline.write(arguments[2])
    elif arguments[0] == "people":
        from pathlib import Path
        from moppet.timeline.people import people_of
        setattr(os, step, kill)
        people_of({"persons": []}).write(Path(arguments[1]))
    else:
        import moppet.commands.main
        setattr(os, step, kill)
        sys.argv = ["moppet", *arguments]
        moppet.commands.main.main()
main()
"""


def timeline(shade: float) -> Timeline:
    rows = [make_row(i, i / 25, [shade, 1 - shade, 0, 0, 0, 0, 0]) for i in range(50)]
    return make_timeline(rows)


OUTPUTS = {
    "report.html": ("report", "new.parquet", "-o", "report.html"),
    "summary.csv": ("export", "new.parquet", "--format", "summary", "-o", "."),
    "child.eaf": ("export", "new.parquet", "--format", "elan", "-o", "."),
    "child.boris": ("export", "new.parquet", "--format", "boris", "-o", "."),
    "child.opf": ("export", "new.parquet", "--format", "datavyu", "-o", "."),
    "child.TextGrid": ("export", "new.parquet", "--format", "textgrid", "-o", "."),
    "timeline.parquet": ("write", "new.parquet", "timeline.parquet"),
    "timeline.json": ("write", "new.parquet", "timeline.json"),
    "timeline.csv": ("write", "new.parquet", "timeline.csv"),
    "timeline.people.json": ("people", "timeline.people.json"),
}
"""Output → the arguments of what writes it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every output as an earlier run wrote it, and a timeline that gives others."""
    old = timeline(0.9)
    for kind in ("parquet", "json", "csv"):
        old.write(tmp_path / f"timeline.{kind}")
    ann = People((Person("Ann", None, (Piece(0),)),))
    ann.write(people_path(tmp_path / "timeline.parquet"))
    for name in OUTPUTS:
        if not (tmp_path / name).exists():
            (tmp_path / name).write_text(f"old {name}")
    timeline(0.2).write(tmp_path / "new.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "step"),
    [*((name, "replace") for name in OUTPUTS), ("report.html", "fsync"), ("timeline.csv", "fsync")],
)
def test_a_kill_leaves_the_old_file(folder: Path, name: str, step: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, *OUTPUTS[name]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    hidden = [other for other in after if other not in before]
    assert hidden and all(other.startswith(".") and ".part" in other for other in hidden)
    assert {other: after[other] for other in before} == before
    if name.startswith("timeline.") and name != "timeline.people.json":
        assert read_timeline(folder / name) == timeline(0.9)


def test_without_a_kill_the_new_file_is_there(folder: Path) -> None:
    for name in ("timeline.csv", "summary.csv"):
        before = (folder / name).read_bytes()
        arguments = [sys.executable, "-c", KILLED, "no_such_call", *OUTPUTS[name]]
        subprocess.run(arguments, cwd=folder, timeout=120, check=True, capture_output=True)
        assert (folder / name).read_bytes() != before
    assert read_timeline(folder / "timeline.csv") == timeline(0.2)
