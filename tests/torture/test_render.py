"""Rendered faces are the same from one process, from several, and resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLAN = Path(__file__).parents[2] / "recipes" / "render" / "example.toml"


def test_real_faces_have_the_same_bytes_resumed_and_from_several_processes(tmp_path: Path) -> None:
    for folder, *options in (["one"], ["two", "--limit", "1"], ["two", "--jobs", "2"]):
        command = ["synthesize", "render", PLAN, "-o", tmp_path / folder]
        changes = ["--set", "images=4", "--set", "people=4", "--set", "size=48"]
        python = [sys.executable, "-m", "moppet"]
        done = subprocess.run([*python, *command, *changes, *options], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
    one, two = (
        {
            path.name: path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file() and path.name != "done.jsonl"
        }
        for folder in ("one", "two")
    )
    assert len(one) == 4 + 3 and one == two
