"""The pages of columns and JSON files list what moppet writes, and Python examples import."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quality_sample
from command_line import Run
from evaluation_sample import faces_without_search, make_manifest, write_images
from model_folder import write_model
from moppet.datasets.provenance import SYNTHETIC_SCHEMA
from moppet.evaluate import predictions
from moppet.evaluate.evaluation import evaluate
from moppet.evaluate.sample_quality import measure_quality
from moppet.timeline import OptionalColumns, build_timeline
from test_coders_command import write_clip, write_codes

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def section(page: str, heading: str) -> str:
    """The text below a heading of level 2, up to the next one."""
    return (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def subsection(text: str, heading: str) -> str:
    return text.split(f"\n### {heading}\n")[1].split("\n### ")[0]


def first_cells(text: str) -> list[str]:
    """The code of the first cells of a page's tables."""
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.M)
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


def test_the_columns_of_a_timeline_are_listed_in_order() -> None:
    row = {"frame": 0, "time_s": 0.0, "status": "no_face"}
    every = OptionalColumns(display=True, movements=("jaw_open",))
    table = build_timeline([row], names=["calm"], group_of={}, optional=every).table
    listed = first_cells(section("reference/timeline.md", "Columns"))
    shown = {"calm": "<class>", "jaw_open": "<movement>"}
    columns = [re.sub("|".join(shown), lambda x: shown[x[0]], name) for name in table.column_names]
    assert listed == columns


def test_the_columns_of_synthetic_rows_are_listed_with_their_types() -> None:
    text = section("guides/balancing.md", "Synthetic rows")
    assert first_cells(text) == SYNTHETIC_SCHEMA.names
    kinds = {"string": "text", "list<item: string>": "list of text"}
    for field in SYNTHETIC_SCHEMA:
        kind = kinds.get(str(field.type), str(field.type))
        assert f"| `{field.name}` | {kind} |" in text


def check_keys(text: str, found: dict[str, Any]) -> None:
    """Every key of a JSON file, and of its parts with fixed keys, is in a page's table."""
    assert set(first_cells(text)) - {*found} == set()
    missing = [key for key in found if f"`{key}`" not in text]
    for part in {*found} & {"made", "about", "rows", "memory"}:
        (line,) = re.findall(rf"^\| `{part}` .*$", text, re.M)
        missing += [f"{part}.{key}" for key in found[part] if not re.search(rf"\b{key}\b", line)]
    assert missing == []


def test_the_keys_of_evaluation_json_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "find_manifest_faces", faces_without_search())
    write_images(tmp_path)
    model = write_model(tmp_path / "model")
    found = evaluate(model, make_manifest(tmp_path, model), draws=2).as_json()
    text = section("guides/evaluation.md", "evaluation.json")
    check_keys(re.sub(r"^\| … `\..*\n", "", text, flags=re.M), found)


def test_the_keys_of_quality_json_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "find_manifest_faces", faces_without_search())
    real = quality_sample.write_real(tmp_path / "real")
    made = quality_sample.write_made(tmp_path / "made", tmp_path / "real")
    found = measure_quality(made, real, model=write_model(tmp_path / "model"), draws=2).as_json()
    check_keys(section("guides/quality.md", "quality.json"), found)


def test_the_keys_of_agreement_json_are_listed(moppet: Run, tmp_path: Path) -> None:
    clip, codes = write_clip(tmp_path), write_codes(tmp_path, "elan")
    found = json.loads(moppet("compare", clip, codes, "-o", tmp_path / "r", "--json").out)
    text = subsection(section("guides/coders.md", "How agreement is computed"), "agreement.json")
    check_keys(text, found)
    (pair,) = found["pairs"]
    keys = {*pair, *pair["units"], *pair["events"]}
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_the_measured_alarms_are_those_of_the_committed_results(tmp_path: Path) -> None:
    page = DOCS / "guides" / "quality.md"
    copy = Path(shutil.copy(page, tmp_path))
    script = ROOT / "benchmarks" / "memorization.py"
    subprocess.run([sys.executable, script, "--page-only", "--page", copy], check=True)
    assert copy.read_bytes() == page.read_bytes()


def python_blocks() -> Iterator[tuple[str, str]]:
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^ *```python[^\n]*\n(.*?)^ *```", text, re.M | re.S):
            yield page.name, block


def test_a_python_example_imports_only_what_is_there() -> None:
    missing, seen = [], 0
    for page, block in python_blocks():
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moppet"):
                names = [(str(node.module), alias.name) for alias in node.names]
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "moppet":
                names = [("moppet", node.attr)]
            else:
                continue
            seen += len(names)
            missing += [
                f"{page}: {module}.{name}"
                for module, name in names
                if not hasattr(importlib.import_module(module), name)
            ]
    assert missing == [] and seen > 30


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module, or what a module has."""
    try:
        importlib.import_module(dotted)
    except ImportError:
        module, _, name = dotted.rpartition(".")
        return bool(module) and hasattr(importlib.import_module(module), name)
    return True


def test_names_and_files_in_the_text_are_there() -> None:
    missing, seen = [], 0
    for page in TEXTS:
        text = page.read_text(encoding="utf-8")
        groups = re.findall(r'entry-points\."([\w.]+)"', text)
        names = {*re.findall(r"`(moppet(?:\.\w+)+)", text)} - {*groups}
        files = re.findall(r"\b(?:tests|tools|benchmarks|recipes|examples)/[\w./-]+\.\w+\b", text)
        seen += len(names) + len(files)
        missing += [f"{page.name}: {name}" for name in names if not is_there(name)]
        missing += [f"{page.name}: {file}" for file in files if not (ROOT / file).exists()]
    assert missing == [] and seen > 30
