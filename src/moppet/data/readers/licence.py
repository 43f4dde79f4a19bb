"""A set's licence and consent conditions, said once to each user."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

import platformdirs

from moppet.data.manifest import Manifest
from moppet.data.readers.dataset import Dataset


def _title(manifest: Manifest) -> str:
    """The titles of a manifest's sets, their own words for sets that are not known here."""
    from moppet.data.readers import DATASETS

    sources = [source for source in manifest.table["source"].unique().to_pylist() if source]
    titles = [DATASETS[name].title if name in DATASETS else name for name in sources]
    return ", ".join(titles) or "These pictures"


def announce_licence(what: Dataset | Manifest) -> bool:
    """Print a set's licence and consent conditions on stderr, the first time that it is used.

    Returns whether it was printed. What was said is remembered in the user's cache folder by its
    words, so that changed conditions are said again; where that folder cannot be written, they
    are said each time. A manifest without conditions has nothing to say.
    """
    if isinstance(what, Dataset):
        title, licence = what.title, what.licence
    else:
        title, licence = _title(what), what.licence
    if not licence:
        return False
    said = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "licences"
    marker = said / hashlib.sha256(licence.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        if marker.exists():
            return False
    print(f"{title}: {licence}", file=sys.stderr)
    with contextlib.suppress(OSError):
        said.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{title}: {licence}\n", encoding="utf-8")
    return True
