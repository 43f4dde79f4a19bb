"""What the package says of itself: version, bounds, citation, and its page on the package index."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import moppet

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIRED = [
    *PROJECT["project"]["dependencies"],
    *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
]
REPOSITORY = "https://code.example/moppet"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ----------------------------------------------------------------------------------- version


def test_the_citation_and_the_readme_have_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == moppet.__version__
    assert f"moppet {moppet.__version__}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()
    assert citation["license"] == PROJECT["project"]["license"]


# -------------------------------------------------------------------------------------- pins


@pytest.mark.parametrize("requirement", [one for one in REQUIRED if "moppet[" not in one])
def test_every_dependency_has_an_upper_bound(requirement: str) -> None:
    assert re.search(r"<\d+|==", requirement)


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    assert all(pinned.values())
    for requirement in REQUIRED:
        if "moppet[" in requirement:
            continue
        name, bounds = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        version = numbers(pinned[normal(name)])
        for sign, bound in re.findall(r"(>=|<|==|!=)([\d.]+)", bounds):
            limit = numbers(bound)
            if sign == ">=":
                assert version >= limit, requirement
            elif sign == "<":
                assert version[: len(limit)] < limit, requirement
            elif sign == "!=":
                assert version != limit, requirement
            else:
                assert version == limit, requirement


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])))


LEAST_SAFE = {
    "opencv-python-headless": (4, 14),
    "av": (18,),
    "onnx": (1, 21),
    "pyarrow": (23, 0, 1),
    "jinja2": (3, 1, 6),
    "torch": (2, 10),
    "filelock": (3, 20, 3),
    "starlette": (1, 3, 1),
    "ray": (2, 55),
    "diffusers": (0, 38),
    "transformers": (5, 5),
}


@pytest.mark.parametrize("name", LEAST_SAFE)
def test_releases_with_a_known_vulnerability_are_excluded(name: str) -> None:
    (bounds,) = [one for one in REQUIRED if re.match(rf"{name}[<>=!]", one)]
    assert numbers(re.search(r">=([\d.]+)", bounds)[1]) >= LEAST_SAFE[name]  # type: ignore[index]


def test_old_spellings_of_the_extras_still_install_the_same() -> None:
    assert PROJECT["project"]["optional-dependencies"]["synthesise"] == ["moppet[synthesize]"]


# ----------------------------------------------------------------------------- package index

TEXT = """# moppet

<!-- figures -->
[![A report](docs/report.png)](docs/report.md)
![A chart](docs/chart.svg)
Read [the
guide](docs/guide.md#start), [PyTorch](https://pytorch.org) and [below](#use).

```python
table["a"](b)  # [x](y.md)
```
"""


def test_without_a_repository_images_go_and_local_links_become_text() -> None:
    readme = load(ROOT / "setup.py").index_readme(TEXT)
    assert readme == (
        "# moppet\n\n\n\nRead the\nguide, [PyTorch](https://pytorch.org) and [below](#use).\n\n"
        '```python\ntable["a"](b)  # [x](y.md)\n```\n'
    ).replace("\n\n\n\n", "\n\n")


def test_with_a_repository_images_and_links_lead_there() -> None:
    setup = load(ROOT / "setup.py")
    readme = setup.index_readme(TEXT, f"{REPOSITORY}/")
    assert f"[![A report]({REPOSITORY}/raw/HEAD/docs/report.png)]" in readme
    assert f"({REPOSITORY}/blob/HEAD/docs/report.md)" in readme
    assert f"![A chart]({REPOSITORY}/raw/HEAD/docs/chart.svg)" in readme
    assert f"[the\nguide]({REPOSITORY}/blob/HEAD/docs/guide.md#start)" in readme
    assert "[x](y.md)" in readme and "(#use)" in readme
    assert setup.addresses(REPOSITORY)["Source"] == REPOSITORY
    assert setup.addresses("") == {}


@pytest.mark.parametrize("repository", ["", REPOSITORY])
def test_the_readme_of_the_package_index_has_no_link_to_a_local_file(repository: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = load(ROOT / "setup.py").index_readme(text, repository)
    prose = re.sub(r"^```.*?^```", "", readme, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    assert [t for t in targets if not re.match(r"https?://|#|mailto:", t)] == []
    if not repository:
        assert "![" not in prose


# ------------------------------------------------------------------------------------- audit


@pytest.mark.parametrize(
    ("reported", "code", "says"),
    [
        ([], 0, "cannot be reached"),
        ([{"name": "a", "version": "1", "skip_reason": "not found"}], 0, "cannot be reached"),
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 of 1 pinned"),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: CVE-1, fixed in 2",
        ),
    ],
)
def test_the_audit_fails_for_a_vulnerability_and_never_for_a_missing_network(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reported: list[dict[str, Any]],
    code: int,
    says: str,
) -> None:
    audit = load(ROOT / "tools" / "audit_dependencies.py")
    monkeypatch.setattr(audit, "ask", lambda service: reported)
    assert audit.main() == code
    assert says in capsys.readouterr().out


def test_the_audit_takes_a_pip_audit_that_does_not_run_for_missing_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audit = load(ROOT / "tools" / "audit_dependencies.py")
    monkeypatch.setattr(sys, "executable", "false")
    assert audit.ask("pypi") == []
