"""The notebooks of the documentation run from start to end and are committed without outputs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "tools"))

from notebook_pages import execute  # noqa: E402


def printed(notebook: dict) -> str:
    """Return what the code cells printed or returned as text, warnings left aside."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    ]
    return "\n".join("".join(text) for text in texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_the_lab_gets_its_figure_and_its_agreement() -> None:
    text = printed(execute(ROOT / "docs" / "notebooks" / "lab.ipynb"))
    assert "Error" not in text
    assert "Cohen's kappa" in text
    assert "<Figure size" in text


def test_the_researcher_gets_a_model_and_its_figures() -> None:
    text = printed(execute(ROOT / "docs" / "notebooks" / "researcher.ipynb"))
    assert "Error" not in text
    assert "balanced accuracy" in text
    assert "('happiness', " in text  # what the new model reads in the example video
