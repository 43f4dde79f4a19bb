"""The wheel and the source distribution, installed as a stranger installs them: without pins.

Needs the package index (PyPI or the mirror that pip is set to). The normal run tries the Python
that runs the tests; MOPPET_WHEELS=all (make wheels) also tries the others that are found: on the
PATH, among pyenv's, or named by MOPPET_PYTHON_3_12 and the like.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest

import moppet
from fresh_install import REPO, copy_sources, make_environment, run

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSIONS = sorted({"3.11", "3.12", "3.13", RUNNING})
BUILT_FROM = [
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt"),
    *("src", "docs", "recipes", "examples", "tests", "tools", "benchmarks"),
]


class Built(NamedTuple):
    wheel: Path
    source: Path


def python_of(version: str) -> str | None:
    """Return an interpreter of this version that runs, or None."""
    named = os.environ.get(f"MOPPET_PYTHON_{version.replace('.', '_')}")
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    found = [sys.executable] if version == RUNNING else [named, shutil.which(f"python{version}")]
    for python in (*found, *map(str, of_pyenv)):
        code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
        if python is None:
            continue
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if done.stdout.strip() == version:
            return python
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both distributions, built from a copy."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    copy = copy_sources(BUILT_FROM, folder / "moppet")
    # The wheel is made from the source distribution, so that this one is known to be whole.
    run([sys.executable, "-m", "build", "--outdir", folder / "dist", copy], folder)
    shutil.rmtree(copy)
    (wheel,) = (folder / "dist").glob("*.whl")
    (source,) = (folder / "dist").glob("*.tar.gz")
    return Built(wheel, source)


def test_the_wheel_holds_every_file_of_the_package(built: Built) -> None:
    wanted = {
        path.relative_to(REPO / "src").as_posix()
        for path in (REPO / "src" / "moppet").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(built.wheel) as wheel:
        entries = wheel.infolist()
    names = {entry.filename for entry in entries}
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"moppet"}
    modes = {e.filename: e.external_attr >> 16 & 0o777 for e in entries if e.external_attr >> 16}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o044 != 0o044} == {}


def test_the_source_distribution_holds_documents_recipes_examples_and_tests(built: Built) -> None:
    with tarfile.open(built.source) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    for folder in ("docs", "recipes", "examples", "tests", "tools", "benchmarks"):
        wanted = {
            path.relative_to(REPO).as_posix()
            for path in (REPO / folder).rglob("*")
            if path.is_file() and not {"__pycache__"} & {*path.parts}
        }
        assert wanted - names == set()
    for name in ("CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "constraints.txt"):
        assert name in names


def test_the_package_index_gets_a_readme_without_dead_links(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(wheel.read(name).decode())
    readme = str(metadata.get_payload())
    assert metadata["Version"] == moppet.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert readme.strip().startswith("# moppet")
    assert "](docs/" not in readme and "](LICENSE" not in readme


@pytest.mark.parametrize("version", VERSIONS)
def test_without_pins_the_wheel_analyzes_the_example(
    built: Built, version: str, tmp_path: Path
) -> None:
    if version != RUNNING and os.environ.get("MOPPET_WHEELS") != "all":
        pytest.skip("make wheels tries the other Pythons")
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    bin_folder = make_environment(tmp_path / "venv", python)
    pip = [bin_folder / "python", "-m", "pip"]
    run([*pip, "install", "--quiet", "--no-compile", built.wheel], tmp_path)
    run([*pip, "check"], tmp_path)
    installed = {
        one["name"].lower(): one["version"]
        for one in json.loads(run([*pip, "list", "--format", "json"], tmp_path))
    }
    assert not {"torch", "tensorflow", "pandas", "matplotlib"} & installed.keys()
    said = run([bin_folder / "moppet", "--version"], tmp_path)
    assert said == f"moppet {moppet.__version__}\n"
    analyze = [bin_folder / "moppet", "analyze", REPO / "examples" / "child.mp4", "--every", "6"]
    line = json.loads(run([*analyze, "-o", "results", "--json"], tmp_path))
    assert [Path(path).name for path in line["files"]] == ["timeline.parquet", "report.html"]
    assert all((tmp_path / path).stat().st_size > 10_000 for path in line["files"])
    code = (
        "import moppet; t = moppet.read_timeline('results/child/timeline.parquet').table; "
        "print(len(set(t['frame'].to_pylist())), sum(s == 'ok' for s in t['status'].to_pylist()))"
    )
    frames, read = map(int, run([bin_folder / "python", "-c", code], tmp_path).split())
    assert frames == 236 and read >= 30  # 40 frames are analyzed, a face is in about 35
    newest = ("numpy", "opencv-python-headless", "av", "onnxruntime", "pyarrow", "scipy", "typer")
    print(f"Python {version}: {read} faces read,", *(f"{n} {installed[n]}" for n in newest))
