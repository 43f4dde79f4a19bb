"""Where the page's files lie, and what may come into them."""

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
"""Bytes of the disk that an upload leaves free."""


class Workspace:
    """A folder of the page's own: recordings/, results/ and the queue's file."""

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
        """The queue's file."""
        return self.root / "queue.sqlite"

    @property
    def guards(self) -> Path:
        """The folder of the guards' logs; the first guard makes it."""
        return self.root / "guard"

    def new_recording(self, name: str, size: int | None) -> Path:
        """Return where an upload of this name is to be written; no file is there yet.

        Raises UsageError for a name that is no plain file's, or not of a video or image, and
        MoppetError where the disk has no room for it.
        """
        if not name or len(name) > 200 or name != Path(name).name or not name.isprintable():
            raise UsageError("A recording needs a plain file name, without folders.")
        safe = re.sub(r"[^\w. ()+-]", "_", name).strip(". ")
        if Path(safe).suffix.lower() not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise UsageError(f"{name} is neither a video nor an image by its name.")
        free = shutil.disk_usage(self.recordings).free
        if size is not None and size > free - _ROOM:
            raise MoppetError(f"The disk has no room for {size:,} bytes.")
        place = self.recordings / safe
        number = 1
        while place.exists() or place.with_name(place.name + ".part").exists():
            number += 1
            place = self.recordings / f"{Path(safe).stem} {number}{Path(safe).suffix}"
        return place

    def recording(self, path: str) -> Path:
        """Return a local recording that the user names by its path, whichever folder it lies in.

        Raises UsageError where it is no file, MediaError where it is no recording.
        """
        place = Path(path).expanduser()
        if not place.is_absolute():
            raise UsageError("Give the whole path of the recording, from / on.")
        if not place.is_file():
            raise UsageError(f"There is no file {place}.")
        check_recording(place)
        return place.resolve()

    def result_folder(self, number: int, name: str) -> Path:
        """Return the folder of a job's results."""
        word = re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60]
        return self.results / f"{number:05d} {word}"


def check_recording(path: Path) -> None:
    """Raise MediaError unless a file holds what its name promises."""
    try:
        found = probe(path)
    except MoppetError:
        raise MediaError(f"{path.name} cannot be read as a video or image.") from None
    if found.kind == "camera":
        raise MediaError(f"{path.name} is neither a video nor an image.")
