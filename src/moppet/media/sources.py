"""Recordings: what they are, how files, folders, patterns and cameras name them, their hashes."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from moppet.files import file_sha256
from moppet.values import Image, MediaError, UsageError

# The time of each frame and a function that decodes its image (None if unreadable).
FrameSource = Generator[tuple[float, Callable[[], Image | None] | None], None, None]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """The properties of a recording.

    width, height: size in pixels of the upright images that `read_frames` yields.
    duration_s, fps: NaN if unknown; fps is the average, for information only.
    files: the names of an image, or of a folder's images, in the order of the frames.
    frame_count: estimated if the container does not store it; None if unknown.
    """

    path: Path | None
    name: str
    kind: Literal["video", "images", "camera"]
    width: int
    height: int
    duration_s: float
    frame_count: int | None
    codec: str
    fps: float
    files: tuple[str, ...] = ()


def printable_name(path: Path) -> str:
    """Return a file's name as text; bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path.name).decode("utf-8", "replace")


_CAMERA: Final = re.compile(r"camera:(.*)")
_IMAGES: Final = ".png .jpg .jpeg .bmp .webp .tif .tiff .heic .heif .avif"
_VIDEOS: Final = (
    ".mp4 .mov .m4v .mkv .webm .avi .mpg .mpeg .mts .m2ts .ts .wmv .asf .flv .3gp .3g2 .ogv .vob "
    ".mxf .dv .gif .y4m .h264 .264 .h265 .265 .hevc .ivf .divx .f4v .rm .rmvb .nut"
)
IMAGE_SUFFIXES: Final = frozenset(_IMAGES.split())
VIDEO_SUFFIXES: Final = frozenset(_VIDEOS.split())


def camera_number(source: str | Path) -> int | None:
    """Return 0 for "camera:0", None for a path; UsageError for another text after the colon."""
    match = _CAMERA.fullmatch(str(source))
    if match and not re.fullmatch("[0-9]+", match[1]):
        raise UsageError(f"a camera is named camera:0, camera:1 and so on, got {source}.")
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class FoundRecording:
    """A recording to read.

    source: its path, or camera:N. below: its path below the folder that was given and contains
    it, with "/"; None if it was given itself, by its name or by a pattern.
    """

    source: str
    below: str | None = None


def find_recordings(sources: Sequence[str], leave_out: Path | None = None) -> list[FoundRecording]:
    """Return the recordings for files, folders, glob patterns and camera:N, each once.

    A folder gives its videos and those of its subfolders, in natural order; a folder with images
    and no videos is one recording itself. A pattern matches media files by suffix; a file given by
    name may have any suffix. leave_out: a folder in which nothing is looked for, such as that of
    the results. Raises UsageError for a source without a recording.
    """
    found: dict[Path | str, FoundRecording] = {}
    for source in sources:
        if camera_number(source) is not None:
            found.setdefault(source, FoundRecording(source))
            continue
        matches = _recordings(source, leave_out)
        if not matches:
            raise UsageError(
                f"nothing to read at {source}: give a video, an image, a folder of them, "
                "a pattern in quotes or camera:0."
            )
        for match in matches:
            found.setdefault(Path(match.source).resolve(), match)
    return list(found.values())


def skipped_files(source: str, leave_out: Path | None = None) -> list[str]:
    """Return what a folder contains and `find_recordings` does not read, as paths below it.

    Empty for any other source. Hidden files are not counted.
    """
    top = Path(source)
    left = []
    for folder in _folders(top, leave_out) if top.is_dir() else ():
        read = set(media_files(folder, VIDEO_SUFFIXES) or media_files(folder, IMAGE_SUFFIXES))
        others = (f for f in folder.iterdir() if f not in read and f.name[0] != ".")
        left += [f for f in sorted(others, key=natural) if not f.is_dir() or not _opens(f)]
    return [path.relative_to(top).as_posix() for path in left]


def _recordings(source: str, leave_out: Path | None) -> list[FoundRecording]:
    path = Path(source)
    if path.is_dir():
        return _recordings_below(path, leave_out)
    if path.exists():
        return [FoundRecording(str(path))]
    matches = sorted(map(Path, glob.glob(source, recursive=True)), key=natural)
    files = [m for m in matches if m.is_file()]
    folders = [m for m in matches if m.is_dir()]
    return [
        FoundRecording(str(f)) for f in files if f.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    ] + [one for folder in folders for one in _recordings_below(folder, leave_out)]


def _recordings_below(top: Path, leave_out: Path | None) -> list[FoundRecording]:
    found = []
    for folder in _folders(top, leave_out):
        videos = media_files(folder, VIDEO_SUFFIXES)
        photos = [folder] * (not videos and bool(media_files(folder, IMAGE_SUFFIXES)))
        found += [
            FoundRecording(str(path), None if path == top else path.relative_to(top).as_posix())
            for path in videos or photos
        ]
    return found


def _folders(top: Path, leave_out: Path | None) -> Iterator[Path]:
    """Yield a folder and those below it, in natural order; each once, whatever links lead there.

    Hidden folders, and inner ones that this user may not open, are left out.
    """
    seen = set() if leave_out is None else {leave_out.resolve()}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        place = folder.resolve()
        if folder != top and (place in seen or not _opens(folder)):
            continue
        seen.add(place)
        yield folder
        inner = [f for f in folder.iterdir() if f.is_dir() and f.name[0] != "."]
        waiting += sorted(inner, key=natural, reverse=True)


def _opens(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def recording_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's images.

    Raises MediaError if it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return file_sha256(path, MediaError)
    try:
        images = media_files(path, IMAGE_SUFFIXES)
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror}): check its name.") from error
    lines = (f"{file_sha256(image, MediaError)}  {image.name}\n" for image in images)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def media_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    # Names that begin with a dot are hidden files of other systems ("._clip.mp4").
    found = (f for f in folder.iterdir() if f.suffix.lower() in suffixes and f.name[0] != ".")
    return sorted((f for f in found if f.is_file()), key=natural)


def natural(name: str | Path) -> tuple[list[tuple[int, str]], str]:
    """Return the sort key of natural order: 2.png before 10.png."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", str(name))
    return [(int(digits or -1), text.casefold()) for digits, text in parts], str(name)
