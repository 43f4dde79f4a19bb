"""What pyproject.toml cannot hold: the README for the package index, and the project's addresses.

The package index shows neither images nor pages that lie in the repository. With

    MOPPET_REPOSITORY=https://github.com/OWNER/moppet python -m build

all local images and links of the README point there, and the package names it. Without it, the
images are left out and the links become plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup

_FENCE = re.compile(r"(^```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_LOCAL = r"\((?!\w+:|#)([^)\s]+)\)"
_IMAGE = re.compile(rf"!\[([^\]]*)\]{_LOCAL}")
_LINK = re.compile(rf"(?<!!)\[((?:!\[[^\]]*\]\([^)]*\)|[^\]!])*)\]{_LOCAL}")


def index_readme(text: str, repository: str = "") -> str:
    """Return a README whose images and links work on the package index.

    text: Markdown. Code in fences stays as it is. repository: its web address, or "".
    """
    parts = _FENCE.split(text)
    parts[::2] = [_reach(part, repository.rstrip("/")) for part in parts[::2]]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


def _reach(text: str, repository: str) -> str:
    text = _COMMENT.sub("", text)
    if repository:
        text = _IMAGE.sub(rf"![\1]({repository}/raw/HEAD/\2)", text)
        return _LINK.sub(rf"[\1]({repository}/blob/HEAD/\2)", text)
    return _LINK.sub(r"\1", _IMAGE.sub("", text))


def addresses(repository: str) -> dict[str, str]:
    """Return the links of the project's page on the package index; none without a repository."""
    if not repository:
        return {}
    place = repository.rstrip("/")
    return {
        "Source": place,
        "Documentation": f"{place}/tree/HEAD/docs",
        "Changelog": f"{place}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{place}/issues",
    }


if __name__ == "__main__":
    named = os.environ.get("MOPPET_REPOSITORY", "")
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=index_readme(readme, named),
        long_description_content_type="text/markdown",
        project_urls=addresses(named),
    )
