"""A process that is killed while it writes leaves the old file or the new one, never a part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moppet.timeline import Timeline, read_timeline
from moppet.timeline.people import People, Person, Piece, people_path
from report_samples import make_row, make_timeline

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of Unix")

WRITER = """
import json, os, signal, sys
from pathlib import Path
import moppet.coders.programs
import moppet.commands.main
import moppet.pages.report
import pyarrow.dataset
from moppet.timeline import TimelineSettings, read_timeline
from moppet.timeline.people import people_of

TimelineSettings(smooth_s=0.5)  # imports what checks settings

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write(folder, step, name, *arguments):
    os.chdir(folder)
    if name == "write":
        timeline = read_timeline(arguments[0])
        setattr(os, step, kill)
        timeline.write(arguments[1])
    elif name == "people":
        setattr(os, step, kill)
        people_of({"persons": []}).write(Path(arguments[0]))
    else:
        setattr(os, step, kill)
        sys.argv = ["moppet", name, *arguments]
        moppet.commands.main.main()

for line in sys.stdin:
    if not (child := os.fork()):
        os.dup2(2, 1)
        try:
            write(*json.loads(line))
        except SystemExit as ended:
            os._exit(ended.code or 0)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Imports what writes, once; then, for each line, a process of its own writes an output."""


@pytest.fixture(scope="module")
def write() -> Iterator[Callable[..., int]]:
    """write(folder, step, *arguments) → exit code of the process, killed when it calls os.step."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", WRITER], **pipes) as writer:

        def ask(folder: Path, *arguments: str) -> int:
            writer.stdin.write(json.dumps([str(folder), *arguments]) + "\n")
            writer.stdin.flush()
            return int(writer.stdout.readline())

        yield ask
        writer.stdin.close()


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
def test_a_kill_leaves_the_old_file(
    folder: Path, write: Callable[..., int], name: str, step: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert write(folder, step, *OUTPUTS[name]) == -signal.SIGKILL
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    hidden = [other for other in after if other not in before]
    assert hidden and all(other.startswith(".") and ".part" in other for other in hidden)
    assert {other: after[other] for other in before} == before
    if name.startswith("timeline.") and name != "timeline.people.json":
        assert read_timeline(folder / name) == timeline(0.9)


def test_without_a_kill_the_new_file_is_there(folder: Path, write: Callable[..., int]) -> None:
    for name in ("timeline.csv", "summary.csv"):
        before = (folder / name).read_bytes()
        assert write(folder, "no_such_call", *OUTPUTS[name]) == 0
        assert (folder / name).read_bytes() != before
    assert read_timeline(folder / "timeline.csv") == timeline(0.2)
