"""What the README claims is true: its figures, links, commands and extras."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_figures_are_those_of_the_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "readme_figures.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_two_main_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"make {command}" in README
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_every_extra_has_its_make_target() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^EXTRAS := (.+)$", makefile, re.MULTILINE)
    assert targets is not None
    assert {*targets[1].split(), "dev", "docs"} == {*project["optional-dependencies"]}
    for word in ("train", "app"):
        assert f"make {word}" in README


def test_it_is_short_and_every_code_block_names_its_language() -> None:
    assert len(README.splitlines()) < 120
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(fences[::2]) and not any(fences[1::2])


def test_it_counts_the_layouts_of_published_datasets() -> None:
    from moppet.datasets.readers import DATASETS

    number = {16: "sixteen", 17: "seventeen", 18: "eighteen"}[len({*DATASETS} - {"folder", "csv"})]
    assert re.search(rf"\[{number}\s+layouts\]", README)
