"""No document links to a file or a heading that is not there."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
)
WRITTEN_BY_MAKE_DOCS = [ROOT / "docs" / "reference" / "commands.md"]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def links(text: str) -> list[str]:
    """Return the targets of all links and images, also of those in HTML."""
    found = []
    for block in MARKDOWN.parse(text):
        for token in (block, *(block.children or [])):
            found += [str(token.attrs[key]) for key in ("href", "src") if key in token.attrs]
            if token.type in ("html_block", "html_inline"):
                found += re.findall(r'\b(?:href|src|srcset)="([^"]+)"', token.content)
    return found


def anchors(text: str) -> set[str]:
    """Return what a document's headings are linked by, on a code host and in MkDocs."""
    found: set[str] = set()
    tokens = MARKDOWN.parse(text)
    for token, inside in itertools.pairwise(tokens):
        if token.type == "heading_open":
            parts = inside.children or []
            title = "".join(part.content for part in parts if part.type in ("text", "code_inline"))
            explicit = re.search(r"\{ ?#([\w-]+)[^}]*\}\s*$", title)
            title = re.sub(r"\{[^}]*\}\s*$", "", title).strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))  # a code host
            plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
            found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))  # MkDocs
            found |= {explicit[1]} if explicit else set()
    return found | set(re.findall(r'\b(?:id|name)="([^"]+)"', text))


def dead_links(path: Path, text: str) -> list[str]:
    dead = []
    for link in links(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link, re.IGNORECASE):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = path.parent / place if place else path
        if target.resolve() in WRITTEN_BY_MAKE_DOCS:
            continue
        if not target.exists():
            dead.append(link)
        elif anchor and target.suffix == ".md":
            body = text if target == path else target.read_text(encoding="utf-8")
            dead += [] if anchor in anchors(body) else [link]
    return dead


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(path: Path) -> None:
    assert dead_links(path, path.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text("# A `b` & c!\n", encoding="utf-8")
    other.touch()
    good = "[a](page.md) [b](page.md#a-b--c) [c](#own) <a id='x'></a>\n\n# Own\n\n`[no](x.md)`"
    assert dead_links(other, good) == []
    bad = "[a](absent.md) ![b](absent.png) [c](page.md#absent) [d](#absent) [e]\n\n[e]: absent.txt"
    bad += '\n\n<img src="absent.svg">\n'
    assert dead_links(other, bad) == [
        "absent.md", "absent.png", "page.md#absent", "#absent", "absent.txt", "absent.svg",
    ]  # fmt: skip
