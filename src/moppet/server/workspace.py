"""The folder of the server's files, and checks of new recordings."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from moppet.media import probe
from moppet.media.images import image_format, images_of, load_image
from moppet.media.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, printable_name
from moppet.media.video import video_format
from moppet.values import MediaError, MoppetError, UsageError

LARGEST_UPLOAD: Final = 8 * 2**30
_ROOM: Final = 2**29
"""Bytes of the disk that stay free after an upload."""
_LONGEST_NAME: Final = 200
"""Bytes of a file name in UTF-8; most systems allow 255, and results add to it."""
_LONGEST_PATH: Final = 4000
_VIDEO_TYPES: Final = {
    "mov": "video/mp4",
    "matroska": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "ogg": "video/ogg",
    "flv": "video/x-flv",
    "asf": "video/x-ms-asf",
    "gif": "image/gif",
}
"""FFmpeg's first name of a format → the media type that players expect."""


class Workspace:
    """The server's folder: recordings/, results/, guard/, labels/ and the queue's database.

    Other users of the machine cannot open it: folders have the mode 0700, files 0600, also those
    of earlier versions. Raises MoppetError if the folder cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.recordings, self.results = self.root / "recordings", self.root / "results"
        try:
            for folder in (self.root, self.recordings, self.results):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MoppetError(f"{self.root} cannot be used: {error.strerror}.") from None
        _close_to_others(
            [self.root, *self.root.glob("queue.sqlite*")],
            [self.recordings, self.results, self.guards, self.root / "labels"],
        )

    def claim(self) -> None:
        """Keep the workspace to this process until it ends, and remove uploads that were cut off.

        Raises MoppetError if another server uses it: two would run the same jobs.
        """
        try:
            claim_folder(self.root, wait=False)
        except BlockingIOError:
            raise MoppetError(
                f"Another moppet serve uses {self.root}. Open its page, end it, or choose another "
                "folder with --workspace."
            ) from None
        for part in self.recordings.glob("*.part"):
            with suppress(OSError):
                part.unlink()

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
        if not name or name != Path(name).name or not name.isprintable():
            raise UsageError("A recording needs a plain file name, without folders.")
        if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
            raise UsageError(f"A recording's name may have at most {_LONGEST_NAME} bytes.")
        safe = re.sub(r"[^\w. ()+-]", "_", name).strip(". ")
        if Path(safe).suffix.lower() not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise UsageError(f"{name} has no file ending of a video or image.")
        self.check_room(size or 0)
        place = self.recordings / safe
        number = 1
        while place.exists() or place.with_name(place.name + ".part").exists():
            number += 1
            place = self.recordings / f"{Path(safe).stem} {number}{Path(safe).suffix}"
        return place

    def check_room(self, size: int) -> None:
        """Raise MoppetError unless the disk has room for so many bytes, and some more."""
        if size > shutil.disk_usage(self.recordings).free - _ROOM:
            raise MoppetError(f"The disk has too little space for {size:,} bytes.")

    def recording(self, path: str) -> Path:
        """Return a local recording, or folder of photos, given by its absolute path.

        Raises UsageError if there is none, MediaError if it is not a video, image or such a folder.
        """
        place = local_path(path, "recording")
        if not (place.is_file() or place.is_dir()):
            raise UsageError(f"There is no file {place}.")
        check_recording(place)
        return place.resolve()

    def upload(self, name: str) -> Path:
        """Return an uploaded recording; UsageError if there is none of this name."""
        if len(name) <= _LONGEST_NAME and "\0" not in name:
            place = self.recordings / name
            if place.name == name and place.is_file() and not place.is_symlink():
                return place
        raise UsageError("There is no such upload.")

    def result_folder(self, number: int, name: str) -> Path:
        """Return the folder of a job's results."""
        word = re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60]
        return self.results / f"{number:05d} {word}"


def claim_folder(folder: Path, *, wait: bool) -> None:
    """Keep a folder to this process until it ends; wait for another one, or BlockingIOError.

    Does nothing where folders cannot be locked: on Windows and on some network drives.
    """
    try:
        import fcntl
    except ImportError:
        return
    place = os.open(folder, os.O_RDONLY)  # stays open, and with it the lock
    try:
        fcntl.flock(place, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(place)
        raise
    except OSError:
        os.close(place)


def local_path(text: str, what: str) -> Path:
    """Return an absolute path that a person entered; UsageError if it cannot be one.

    what: the path is of, in words.
    """
    problem = f"Enter the full path of the {what}, starting with /."
    try:
        if len(text) > _LONGEST_PATH:
            raise ValueError
        place = Path(text.strip()).expanduser()
        if not place.is_absolute():
            raise UsageError(problem)
        place.exists()  # a name that is too long raises OSError
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no such user after ~
        raise UsageError(f"There is no {what} at this path.") from None
    return place


def check_recording(path: Path) -> None:
    """Raise MediaError unless a file is a readable video or image."""
    try:
        found = probe(path)
    except MoppetError:
        raise MediaError(f"{path.name} cannot be read as a video or image.") from None
    if found.kind == "camera":
        raise MediaError(f"{path.name} is neither a video nor an image.")


def media_type(path: Path) -> str:
    """Return a recording's media type as the decoder finds it, whatever the file's suffix.

    Raises MediaError if the file is not a video or image (any more).
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise MediaError("The recording is no longer at its place.") from None
    if stat.S_ISDIR(found.st_mode):
        raise MediaError(f"{path.name} is a folder of photos: ask for each of them.")
    try:
        return _media_type(path, found.st_mtime_ns, found.st_size)
    except MoppetError:
        raise MediaError(f"{path.name} cannot be read as a video or image any more.") from None


def read_photo(source: Path, name: str) -> bytes:
    """Return an image, or one of a folder of photos, as JPEG, as the analysis read it.

    name: its file name. Raises MediaError if it cannot be read (any more).
    """
    places = [one for one in images_of(source) or [] if printable_name(one) == name]
    image = load_image(places[0]) if places else None
    if image is None:
        raise MediaError(f"{name} is no longer at its place, or cannot be read.")
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]))
    assert done, "OpenCV always has JPEG"
    return data.tobytes()


@lru_cache(maxsize=64)
def _media_type(path: Path, *_changed: int) -> str:
    if images_of(path) is None:
        name = video_format(path).split(",")[0]
        return _VIDEO_TYPES.get(name, "application/octet-stream")
    with path.open("rb") as file:
        name = image_format(file.read(16)) or ""
    return f"image/{name}" if name else "application/octet-stream"


def _close_to_others(places: Iterable[Path], folders: Iterable[Path]) -> None:
    """Let only the owner open these places, and everything below the folders; skip links."""
    below = (
        os.path.join(here, name)
        for folder in folders
        for here, inner, files in os.walk(folder)
        for name in (".", *inner, *files)
    )
    for place in (*map(str, places), *below):
        with suppress(OSError):  # of another user, or gone
            mode = os.lstat(place).st_mode
            if (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) and mode & 0o077:
                os.chmod(place, mode & 0o700)
