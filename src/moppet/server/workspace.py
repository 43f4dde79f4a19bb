"""The folder of the server's files, and checks of new recordings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from moppet.media import probe
from moppet.media.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from moppet.values import MediaError, MoppetError, UsageError

LARGEST_UPLOAD: Final = 8 * 2**30
_ROOM: Final = 2**29
"""Bytes of the disk that stay free after an upload."""


class Workspace:
    """The server's folder: recordings/, results/, guard/, labels/ and the queue's database."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.recordings, self.results = self.root / "recordings", self.root / "results"
        try:
            for folder in (self.recordings, self.results):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MoppetError(f"{self.root} cannot be used: {error.strerror}.") from None

    @property
    def database(self) -> Path:
        """The queue's SQLite file."""
        return self.root / "queue.sqlite"

    @property
    def guards(self) -> Path:
        """The folder of the guard logs; the first guard creates it."""
        return self.root / "guard"

    def new_recording(self, name: str, size: int | None) -> Path:
        """Return an unused path for an upload of this name and size in bytes.

        Raises UsageError for a name that is not a plain file name of a video or image, and
        MoppetError if the disk has too little space.
        """
        if not name or len(name) > 200 or name != Path(name).name or not name.isprintable():
            raise UsageError("A recording needs a plain file name, without folders.")
        safe = re.sub(r"[^\w. ()+-]", "_", name).strip(". ")
        if Path(safe).suffix.lower() not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise UsageError(f"{name} has no file ending of a video or image.")
        free = shutil.disk_usage(self.recordings).free
        if size is not None and size > free - _ROOM:
            raise MoppetError(f"The disk has too little space for {size:,} bytes.")
        place = self.recordings / safe
        number = 1
        while place.exists() or place.with_name(place.name + ".part").exists():
            number += 1
            place = self.recordings / f"{Path(safe).stem} {number}{Path(safe).suffix}"
        return place

    def recording(self, path: str) -> Path:
        """Return a local recording given by its absolute path, in any folder.

        Raises UsageError if there is no such file, MediaError if it is not a video or image.
        """
        place = Path(path).expanduser()
        if not place.is_absolute():
            raise UsageError("Enter the full path of the recording, starting with /.")
        if not place.is_file():
            raise UsageError(f"There is no file {place}.")
        check_recording(place)
        return place.resolve()

    def result_folder(self, number: int, name: str) -> Path:
        """Return the folder of a job's results."""
        word = re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60]
        return self.results / f"{number:05d} {word}"


def check_recording(path: Path) -> None:
    """Raise MediaError unless a file is a readable video or image."""
    try:
        found = probe(path)
    except MoppetError:
        raise MediaError(f"{path.name} cannot be read as a video or image.") from None
    if found.kind == "camera":
        raise MediaError(f"{path.name} is neither a video nor an image.")
