"""A folder in which the tutorials and notebooks run as on a reader's machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def prepare(folder: Path) -> dict[str, str]:
    """Fill an empty folder with what a clone has, and return the environment for its commands.

    The folder gets the repository's examples and rendered faces. The first `moppet` and `python`
    on its PATH are those of the Python that runs this.
    """
    for name in ("examples", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    programs = folder / ".bin"
    programs.mkdir()
    for name, arguments in (("moppet", "-m moppet"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
