"""The pages of the bundled models show the committed figures and experiments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_pages_are_up_to_date() -> None:
    pytest.importorskip("torch")
    command = [sys.executable, ROOT / "tools" / "model_page.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["default", "adults"])
def test_a_page_shows_the_accuracy_of_every_age_band(name: str) -> None:
    page = (ROOT / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
    path = ROOT / "src" / "moppet" / "models" / name / "figures.json"
    for band, part in json.loads(path.read_text(encoding="utf-8"))["aligned"].items():
        accuracy = part["accuracy"]
        shown = f"{accuracy['value']:.3f} ({accuracy['low']:.3f}-{accuracy['high']:.3f})"
        (row, *_) = [line for line in page.splitlines() if line.startswith(f"| {band} | ")]
        assert row.split(" | ")[3] == shown
