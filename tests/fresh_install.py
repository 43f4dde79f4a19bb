"""What the tests of an installation share: a copy of the sources, and commands far from them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[1]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
UNREACHABLE = ("connection broken by", "Failed to establish a new connection", "ConnectTimeout")


def run(command: Iterable[Any], cwd: Path) -> str:
    """Run a command away from the repository and its environment; return its stdout.

    Skips the test if the package index cannot be reached, except in CI.
    """
    words = [str(part) for part in command]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    if done.returncode and any(sign in said for sign in UNREACHABLE) and not os.environ.get("CI"):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, f"{words[:4]}: {said}"
    return done.stdout


def copy_sources(names: Iterable[str], folder: Path) -> Path:
    """Copy files and folders of the repository to a new folder: building leaves files behind."""
    folder.mkdir()
    litter = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
    for name in names:
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, folder / name, ignore=litter)
        else:
            shutil.copy(REPO / name, folder / name)
    return folder


def make_environment(folder: Path, python: Any) -> Path:
    """Make a fresh environment with pip; return its folder of programs."""
    run([python, "-m", "venv", folder], folder.parent)
    return folder / SCRIPTS
