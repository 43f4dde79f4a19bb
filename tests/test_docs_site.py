"""The documentation site builds without a warning, covers every command, and loads nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from commands_page import app, commands_page  # noqa: E402
from tutorial_outputs import TUTORIALS, outputs, refreshed  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|poster)=["']?(?P<a>[^"'\s>]+)
    |<link\b(?=[^>]*\brel=["']?(?:stylesheet|icon|preload|modulepreload|preconnect|dns-prefetch|manifest))
        [^>]*?\bhref=["']?(?P<b>[^"'\s>]+)
    |url\(\s*["']?(?P<c>[^"')]+)
    |@import\s+["'](?P<d>[^"']+)""",
    re.VERBOSE | re.IGNORECASE,
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does but without running the notebooks."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "MOPPET_RUN_NOTEBOOKS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def loaded(text: str) -> list[str]:
    """Return the addresses that a page or a style sheet loads by itself, links left aside."""
    return [next(filter(None, found.groups())) for found in LOADED.finditer(text)]


def test_addresses_of_other_machines_are_found() -> None:
    text = (
        '<script src="https://cdn.test/a.js"></script><link rel="stylesheet" href=//b.test/b.css>'
        '<a href="https://link.test">fine</a><style>@import "http://c.test/c.css";'
        "body { background: url(https://d.test/d.png) }</style>"
    )
    assert [re.sub(r"^(https?:)?//", "", found)[0] for found in loaded(text)] == [
        "c",
        "b",
        "c",
        "d",
    ]


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    files = [path for ending in ("html", "css", "svg") for path in site.rglob(f"*.{ending}")]
    assert len(files) > 20
    found = {
        str(path.relative_to(site)): [
            address
            for address in loaded(path.read_text(encoding="utf-8"))
            if re.match(r"(https?:)?//", address)
        ]
        for path in files
    }
    assert {page: addresses for page, addresses in found.items() if addresses} == {}


def test_every_command_and_option_is_in_the_reference() -> None:
    page = commands_page()
    root = typer.main.get_command(app)
    seen = 0
    for name, command in root.commands.items():
        for inner in getattr(command, "commands", {"": command}).values():
            if command.hidden or inner.hidden:
                continue
            title = f"moppet {name}" if inner is command else f"moppet {name} {inner.name}"
            section = page.split(f"\n## {title} {{", 1)[1].split("\n## ", 1)[0]
            options = [p for p in inner.params if p.param_type_name == "option" and not p.hidden]
            for option in options:
                if option.name != "help":
                    assert max(option.opts, key=len) in section, f"{title} {option.opts}"
            seen += 1
    assert seen >= 15


def test_the_api_reference_has_every_public_name(site: Path) -> None:
    import moppet

    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    missing = [name for name in moppet.__all__ if f'id="moppet.{name}"' not in page]
    assert missing == ["__version__"]  # in the table at the top


def test_a_tutorial_shows_what_its_commands_print(tmp_path: Path) -> None:
    """Make it so with: python tools/tutorial_outputs.py"""
    page = TUTORIALS / "recording.md"
    shown = outputs(page.read_text(encoding="utf-8"))
    assert len(shown) == 4
    assert outputs(refreshed(page, tmp_path)) == shown


def test_images_of_the_tutorials_are_there() -> None:
    for page in TUTORIALS.glob("*.md"):
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), name


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_pages_opened_from_the_folder_ask_no_server_and_can_be_searched(site: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("reference/api", "notebooks/lab", "studies/video-seven", "index"):
            page.goto((site / f"{name}.html").as_uri())
        # The index is read once the field has the focus; what is typed before would find nothing.
        page.focus(".md-search__input")
        expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")
        page.locator(".md-search__input").press_sequentially("episodes")  # it listens to keys
        titles = page.locator(".md-search-result h1")
        expect(titles.filter(has_text=re.compile("^Timeline$"))).to_be_visible()
        browser.close()
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
