"""The rooms of the house: who may import whom, what loads when, what is public."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import moppet

SOURCE = Path(moppet.__file__).parent
RANKS = {
    "values": 0,
    "vocabulary": 0,
    "config": 0,
    "files": 0,
    "plugins": 0,
    "privacy": 0,
    "processes": 0,
    "palette": 0,
    "media": 1,
    "metrics": 1,
    "timeline": 2,
    "coders": 3,
    "guard": 3,
    "infer": 3,
    "cohort": 4,
    "datasets": 4,
    "balance": 5,
    "synthesis": 5,
    "train": 5,
    "evaluate": 6,
    "study": 6,
    "pages": 7,
    "server": 8,
    "commands": 9,
    "__main__": 10,
}
HEAVY = {
    "torch": {"train", "synthesis", "study", "evaluate"},
    "lightning": {"train", "synthesis", "study"},
    "kornia": {"train", "synthesis"},
    "captum": {"evaluate"},
    "safetensors": {"train", "synthesis"},
    "matplotlib": {"train", "study", "balance", "pages", "commands"},
    "sklearn": {"balance", "evaluate", "study"},
    "imblearn": {"balance"},
    "av": {"media"},
    "pyarrow": {
        "timeline",
        "cohort",
        "datasets",
        "synthesis",
        "pages",
        "server",
        "commands",
        "coders",
    },
    "onnxruntime": {"infer", "train", "evaluate"},
    "onnx": {"infer", "train"},
    "typer": {"commands"},
    "rich": {"commands"},
    "fastapi": {"server"},
    "plotly": {"server"},
    "ray": {"study"},
    "numba": {"synthesis"},
    "mitsuba": {"synthesis"},
}
PICKLES = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_modules(tree: ast.AST, path: Path) -> list[str]:
    """Absolute names of everything imported, also inside functions."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
            if node.module == "moppet":
                found += [f"moppet.{alias.name}" for alias in node.names]
    return found


def violations(source: str, path: Path) -> list[str]:
    room = room_of(path)
    found = []
    for name in imported_modules(ast.parse(source), path):
        parts = name.split(".")
        if parts[0] == "moppet" and len(parts) > 1 and parts[1] != room:
            lower = parts[1] in ("values", "files") or RANKS.get(parts[1], 99) < RANKS[room]
            if parts[1] not in RANKS or not lower:
                found.append(f"{path.relative_to(SOURCE)} imports {name}")
        elif parts[0] in HEAVY and room not in HEAVY[parts[0]]:
            found.append(f"{path.relative_to(SOURCE)} imports {name}")
        elif parts[0] in PICKLES:
            found.append(f"{path.relative_to(SOURCE)} reads pickles with {name}")
    return found


MODULES = sorted(p for p in SOURCE.rglob("*.py") if p.name != "__init__.py" or p.parent != SOURCE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_rooms_import_only_from_lower_ranks(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("timeline/table.py", "def f():\n    from moppet.infer import analyze"),
        ("train/loop.py", "import moppet.synthesis"),
        ("infer/face_reader.py", "import torch"),
        ("datasets/faces.py", "from moppet import train"),
        ("infer/expression_model.py", "import pickle"),
    ],
)
def test_the_layer_check_sees_a_violation(room: str, line: str) -> None:
    assert violations(line, SOURCE / room)


def test_every_room_has_a_rank() -> None:
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= RANKS.keys()


@pytest.mark.parametrize("module", ["moppet", "moppet.infer", "moppet.commands.main"])
def test_inference_loads_no_training_library(module: str) -> None:
    heavy = [
        "torch",
        "tensorflow",
        "lightning",
        "keras",
        "mtcnn",
        "matplotlib",
        "pandas",
        "sklearn",
    ]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_import_costs_less_than_a_second_of_cpu() -> None:
    # CPU time of a fresh process, best of three, so that neither a busy machine nor the first
    # run's compiling decides.
    code = "import time; import moppet; print(time.process_time())"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 1.0


def test_the_public_names_are_these() -> None:
    assert sorted(moppet.__all__) == [
        "EXPRESSIONS",
        "GROUPS",
        "MoppetError",
        "Timeline",
        "TimelineSettings",
        "__version__",
        "analyze",
        "find_faces",
        "gather",
        "load_model",
        "read_timeline",
        "stream",
    ]
    assert all(hasattr(moppet, name) for name in moppet.__all__)
