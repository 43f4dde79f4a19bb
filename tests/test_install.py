"""The base alone, installed as a user installs it: small, without training libraries, at work.

Needs the package index (PyPI or the mirror that pip is set to) and about a minute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fresh_install import REPO, copy_sources, make_environment, run
from moppet.timeline import read_timeline

MOST_BYTES = 740_000_000  # 30 MB of it: OpenCV 4.14 instead of 4.11, which has CVE-2025-53644
# What only the extras need; none of it may come with the base.
EXTRAS = ["torch", "tensorflow", "lightning", "matplotlib", "pandas", "sklearn", "plotly", "mkdocs"]
TOOLS = ("pip", "setuptools", "wheel", "_distutils_hack", "distutils-precedence.pth")


class Installed(NamedTuple):
    bin: Path
    packages: Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A fresh environment with the base, built from a copy."""
    folder = tmp_path_factory.mktemp("install")
    names = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src")
    copy = copy_sources(names, folder / "moppet")
    bin_folder = make_environment(folder / "venv", sys.executable)
    python = bin_folder / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    run([*pip, "-c", REPO / "constraints.txt", copy], folder)
    shutil.rmtree(copy)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Installed(bin_folder, Path(run([python, "-c", code], folder).strip()))


def size_of(path: Path) -> int:
    parts = [path] if path.is_file() else path.rglob("*")
    return sum(p.stat().st_size for p in parts if p.is_file() and not p.is_symlink())


def test_the_base_brings_nothing_that_only_the_extras_need(base: Installed, tmp_path: Path) -> None:
    code = (
        "import importlib.util, json; "
        f"print(json.dumps([m for m in {EXTRAS} if importlib.util.find_spec(m)]))"
    )
    assert json.loads(run([base.bin / "python", "-c", code], tmp_path)) == []
    run([base.bin / "python", "-m", "pip", "check"], tmp_path)


def test_the_base_takes_at_most_740_megabytes(base: Installed) -> None:
    parts = [p for p in base.packages.iterdir() if not p.name.startswith(TOOLS)]
    sizes = {p.name: size_of(p) for p in parts}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    assert sizes["moppet"] > 1_000_000, "the bundled model is not in the package"
    assert sum(sizes.values()) <= MOST_BYTES, f"the largest: {largest}"


def test_the_base_analyses_a_clip_from_anywhere(base: Installed, tmp_path: Path) -> None:
    command = [base.bin / "moppet", "analyze", REPO / "examples" / "child.mp4"]
    out = run([*command, "--every", 6, "-o", "results", "--json"], tmp_path)
    line = json.loads(out)
    files = [tmp_path / path for path in line["files"]]
    assert [path.name for path in files] == ["timeline.parquet", "report.html"]
    timeline = read_timeline(files[0])
    assert timeline.metadata["complete"] is True
    status = timeline.table.column("status").to_pylist()
    analyzed = len([s for s in status if s != "skipped"])
    found = len([s for s in status if s in ("ok", "low_quality")])
    assert len(set(timeline.table.column("frame").to_pylist())) == 236
    # Nobody is in 24 of the 236 frames; of the others a face is found in nearly all.
    assert 0.8 * 212 / 236 <= found / analyzed < 1
    assert None not in {
        e
        for e, s in zip(timeline.table.column("expression").to_pylist(), status, strict=True)
        if s == "ok"
    }


def test_the_installed_package_is_the_one_that_ran(base: Installed, tmp_path: Path) -> None:
    code = "import moppet; print(moppet.__file__)"
    place = Path(run([base.bin / "python", "-c", code], tmp_path).strip())
    assert place.is_relative_to(base.packages)
    assert sys.prefix not in str(place)
    data = base.packages / "moppet"
    assert (data / "models" / "default" / "model.onnx").is_file()
    assert (data / "pages" / "static" / "report.css").is_file()
    assert (data / "pages" / "templates" / "report.html.j2").is_file()
    assert (data / "py.typed").is_file()


def test_training_in_the_base_says_what_to_install(base: Installed, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "a"\ndata = "b"\n')
    done = subprocess.run(
        [base.bin / "moppet", "train", recipe, "-o", tmp_path / "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    said = "moppet: Training needs lightning. Install it with: pip install 'moppet[train]'\n"
    assert done.stderr == said


def test_to_pandas_works_once_the_line_that_it_names_has_run(
    base: Installed, tmp_path: Path
) -> None:
    python = base.bin / "python"
    code = (
        "from moppet.timeline import build_timeline\n"
        "row = {'frame': 0, 'time_s': 0.0, 'status': 'no_face'}\n"
        "timeline = build_timeline([row], names=['a'], group_of={})\n"
        "try: print(len(timeline.to_pandas()), 'row')\n"
        "except ImportError as error: print(error)\n"
    )
    said = run([python, "-c", code], tmp_path).strip()
    line = said.removeprefix("Timeline.to_pandas needs pandas. Install it with: ")
    assert line == f"{python} -m pip install pandas"
    run([*line.split(), "--quiet", "--no-compile", "-c", REPO / "constraints.txt"], tmp_path)
    assert run([python, "-c", code], tmp_path) == "1 row\n"
