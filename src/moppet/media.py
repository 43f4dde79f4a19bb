"""Any video, picture, folder of pictures or camera → `Frame`s with true time stamps.

Time. 0 is the start of the container, as in a player: a video that begins half a second after
its sound begins at 0.5. A frame's `time_s` is its presentation stamp times the time base, minus
that start; it grows strictly (see `StrictClock`). A folder of pictures has no clock: picture i
stands at i seconds. A camera counts from its first picture.

Rows. Every packet that promises a picture gives one frame, in order of presentation: the picture,
or `unreadable` when the decoder refuses, drops or flags it. A run of packets that the file no
longer holds (it was cut short) gives one `unreadable` frame. What a decoder conceals counts as a
picture, as it does in a player.

Pictures are 8-bit RGB, upright (rotated and mirrored as the file asks), with square pixels; alpha
is dropped.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import math
import re
import stat
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, VideoReformatter

from moppet.values import Frame, Image, MediaError, UsageError

_PICTURES: Final = ".png .jpg .jpeg .bmp .webp .tif .tiff"
_VIDEOS: Final = (
    ".mp4 .mov .m4v .mkv .webm .avi .mpg .mpeg .mts .m2ts .ts .wmv .asf .flv .3gp .3g2 .ogv .vob "
    ".mxf .dv .gif .y4m .h264 .264 .h265 .265 .hevc .ivf .divx .f4v .rm .rmvb .nut"
)
PICTURE_SUFFIXES: Final = frozenset(_PICTURES.split())
VIDEO_SUFFIXES: Final = frozenset(_VIDEOS.split())
_CAMERA: Final = re.compile(r"camera:(.*)")
_FAILED_READS: Final = 1000  # in a row, before a file counts as ended
_FAILED_SHOTS: Final = 30  # in a row, about a second, before a camera counts as gone
_OWED: Final = 256  # packets a decoder may hold back: far more than reordering and threads do
_UNSPECIFIED_COLOURS: Final = 2  # AVCOL_SPC_UNSPECIFIED

# A time and what makes the picture of it, if somebody wants it; None: known to be unreadable.
_Shots = Generator[tuple[float, Callable[[], Image | None] | None], None, None]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a recording says of itself.

    width, height: pixels, upright, as `read_frames` gives them.
    duration_s, fps: NaN if unknown; fps is the average, for information only.
    frame_count: an estimate where the container keeps no count; None if unknown.
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


def probe(source: str | Path) -> MediaInfo:
    """Return what is known of a recording after its first readable picture.

    Raises MediaError if nothing in it can be read.
    """
    number = _camera_number(source)
    if number is not None:
        return _probe_camera(number)
    path = Path(source)
    with contextlib.closing(read_frames(path)) as frames:
        height, width = next(frame.image.shape[:2] for frame in frames if frame.image is not None)
    pictures = _pictures_of(path)
    if pictures is None:
        return _probe_video(path, width, height)
    codec = pictures[0].suffix.lower().lstrip(".")
    count = len(pictures)
    rate, span_s = (1.0, float(count)) if path.is_dir() else (math.nan, math.nan)
    return MediaInfo(path, path.name, "images", width, height, span_s, count, codec, rate)


def read_frames(
    source: str | Path,
    *,
    every: int = 1,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int | None = None,
) -> Generator[Frame, None, None]:
    """Yield a recording's frames in order of presentation; closing it frees everything.

    every: frames whose index is no multiple of it come as `skipped`, without a picture.
    start_s, end_s: only frames with start_s ≤ time_s < end_s come; their index still counts
        from the start of the recording.
    threads: CPU threads to decode with; None leaves it to FFmpeg.
    Raises UsageError for a wrong argument; MediaError, on the way, if there is nothing to read.
    """
    if every < 1:
        raise UsageError(f"every must be at least 1, not {every}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}.")
    first_s = -math.inf if start_s is None else start_s
    last_s = math.inf if end_s is None else end_s
    if not first_s < last_s:
        raise UsageError(f"the end ({last_s} s) must lie after the start ({first_s} s).")
    return _window(source, every, first_s, last_s, threads)


def _window(
    source: str | Path, every: int, first_s: float, last_s: float, threads: int | None
) -> Generator[Frame, None, None]:
    readable = False
    with contextlib.closing(_shots(source, threads)) as shots:
        for index, (time_s, develop) in enumerate(shots):
            if time_s >= last_s:
                return
            skip = time_s < first_s or index % every > 0
            image = None if skip or develop is None else develop()
            readable = readable or image is not None or (skip and develop is not None)
            if time_s < first_s:
                continue
            if skip and develop is not None:
                yield Frame(index, time_s, None, "skipped")
            else:
                yield Frame(index, time_s, image, "unreadable" if image is None else "ok")
    if not readable:
        raise MediaError(f"{source} holds no picture that can be decoded: it is damaged.")


def _shots(source: str | Path, threads: int | None) -> _Shots:
    number = _camera_number(source)
    if number is not None:
        return _camera_shots(number)
    path = Path(source)
    pictures = _pictures_of(path)
    if pictures is None:
        return _video_shots(path, threads)
    return ((float(i), partial(_load_picture, p)) for i, p in enumerate(pictures))


# ------------------------------------------------------------------------------- time and rows


class StrictClock:
    """Turns stamps as files have them into times that grow strictly.

    A stamp later than the time before it is kept as it is. A missing stamp comes one frame
    duration after the time before; one that does not advance half a duration, so that the next
    good stamp stays as it is. A stamp that falls back by more than a second begins a joined
    recording: it comes one duration after, and those behind it keep their distance to it.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s if math.isfinite(step_s) and step_s > 0 else 1 / 25
        self._last_s = -math.inf
        self._shift_s = 0.0

    def tick(self, stamp_s: float | None, duration_s: float = math.nan) -> float:
        """Return the time of the next frame from its stamp (None: missing) and its duration."""
        if stamp_s is None or not math.isfinite(stamp_s):
            time_s = 0.0 if self._last_s == -math.inf else self._last_s + self._step_s
        elif stamp_s > self._last_s:
            time_s, self._shift_s = stamp_s, 0.0
        elif (time_s := stamp_s + self._shift_s) < self._last_s - 1:
            time_s = self._last_s + self._step_s
            self._shift_s = time_s - stamp_s
        elif time_s <= self._last_s:
            time_s = self._last_s + self._step_s / 2
        self._last_s = max(time_s, math.nextafter(self._last_s, math.inf))
        if math.isfinite(duration_s) and duration_s > 0:
            self._step_s = duration_s
        return self._last_s


_Row = tuple[int | None, Any]  # stamp in the stream's time base, decoded frame or None


class _Ledger:
    """The packets that still owe a picture, so that nothing a decoder drops goes unseen."""

    def __init__(self, stream: Any) -> None:
        self.unsure = False  # something vanished in silence, or would not be seen to
        self._codec = stream.codec_context
        # AVI stores no presentation times: the pictures take the packets' times in turn.
        self._in_turn = stream.container.format.name == "avi" and self._codec.reorder_depth > 0
        self._serial = 0
        self._owed: list[tuple[int, int]] = []  # (pts, serial), sorted
        self._unstamped: deque[int | None] = deque()  # dts
        self._broken: set[int] = set()  # serials
        self._given_up: set[int] = set()  # pts
        self._fields = False

    def enter(self, packet: Any) -> None:
        """Note a packet before it is decoded."""
        self._serial += 1
        if packet.is_corrupt:
            self._broken.add(self._serial)
        if self._promises_picture(packet):
            if packet.pts is None or self._in_turn:
                self.unsure = True
                self._unstamped.append(packet.dts)
            else:
                insort(self._owed, (packet.pts, self._serial))

    def refuse(self) -> list[_Row]:
        """Note that the decoder refused the newest packet; return the rows now due."""
        self._broken.add(self._serial)
        return [(self._unstamped.popleft(), None)] if self._unstamped else self._overdue()

    def settle(self, frame: Any) -> list[_Row]:
        """Return the rows that a decoded frame makes due: what it shows to be lost, and itself."""
        self._fields = self._fields or frame.interlaced_frame
        if frame.pts is None or self._in_turn:
            stamp = self._unstamped.popleft() if self._unstamped else frame.dts
            return [(stamp, None if frame.is_corrupt else frame)]
        at = bisect_left(self._owed, (frame.pts, 0))
        entry = self._owed[at] if at < len(self._owed) else None
        if entry is None or entry[0] != frame.pts:  # a packet's second picture, or a late one
            late = frame.is_corrupt or frame.pts in self._given_up
            return [] if late else [(frame.pts, frame)]
        if frame.is_corrupt or entry[1] in self._broken:
            # It may have come out of turn: its row waits for the next good one.
            self._broken.add(entry[1])
            return self._overdue()
        # Without reordering, a frame says nothing of packets sent after its own.
        gone = [e for e in self._owed[:at] if self._codec.reorder_depth or e[1] < entry[1]]
        del self._owed[at]
        return [*self._give_up(gone), (frame.pts, frame)]

    def close(self) -> list[_Row]:
        """Return the rows still due at the end."""
        return [*self._give_up(self._owed), *((dts, None) for dts in self._unstamped)]

    def _overdue(self) -> list[_Row]:
        return self._give_up(self._owed[: max(0, len(self._owed) - _OWED)])

    def _give_up(self, entries: list[tuple[int, int]]) -> list[_Row]:
        if not entries:
            return []
        self._owed = [entry for entry in self._owed if entry not in entries]
        # In interlaced material two packets may be the two fields of one picture.
        lost = [(pts, s) for pts, s in entries if not self._fields or s in self._broken]
        self.unsure = self.unsure or any(s not in self._broken for _, s in lost)
        self._given_up.update(pts for pts, _ in lost)
        return [(pts, None) for pts, _ in lost]

    def _promises_picture(self, packet: Any) -> bool:
        if packet.is_discard:  # before the start that the edit list sets: decoded, never shown
            return False
        if self._codec.name == "vp8":  # a hidden reference picture clears this bit
            return bool(memoryview(packet)[0] & 0x10)
        return bool(self._codec.name != "mpeg4" or packet.size > 16)  # "as before" takes 7 bytes


# -------------------------------------------------------------------------------------- videos


class _ThreadsDisagree(Exception):
    """A decoder with frame threads lost something; which, only decoding in sequence tells."""


def _video_shots(path: Path, threads: int | None) -> _Shots:
    reformatter = VideoReformatter()
    clock: StrictClock | None = None
    origin: Fraction | None = None
    with contextlib.closing(_video_rows(path, threads)) as rows:
        for (stamp, frame), stream in rows:
            if clock is None:
                clock = StrictClock(float(1 / (stream.average_rate or 25)))
                origin = _start(stream)
            if origin is None and stamp is not None:
                origin = stamp * stream.time_base
            known = stamp is not None and origin is not None
            stamp_s = float(stamp * stream.time_base - origin) if known else None
            if frame is None:
                yield clock.tick(stamp_s), None
            else:
                develop = partial(_develop, reformatter, frame, _pixel_ratio(stream))
                yield clock.tick(stamp_s, float((frame.duration or 0) * stream.time_base)), develop


def _video_rows(path: Path, threads: int | None) -> Generator[tuple[_Row, Any], None, None]:
    """Yield rows and their stream: with frame threads until something is lost, then without."""
    done = 0
    for threaded in [False] if threads == 1 else [True, False]:
        with _opened(path) as (container, stream):
            codec = stream.codec_context
            codec.thread_type = "AUTO" if threaded else "SLICE"
            codec.thread_count = (threads or 0) if threaded else 1
            codec.flags |= Flags.output_corrupt  # else they vanish in silence
            try:
                for row in itertools.islice(_decode(container, stream, threaded), done, None):
                    yield row, stream
                    done += 1
                return
            except _ThreadsDisagree:
                continue


def _decode(container: Any, stream: Any, threaded: bool) -> Iterator[_Row]:
    codec = stream.codec_context
    ledger = _Ledger(stream)
    for packet in _packets(container, stream):
        if packet == "missing":
            yield None, None
            continue
        if packet is not None:
            ledger.enter(packet)
        try:
            rows = [row for frame in codec.decode(packet) for row in ledger.settle(frame)]
        except av.error.FFmpegError as error:
            if threaded:
                raise _ThreadsDisagree from error
            rows = ledger.refuse()
        if packet is None:
            rows += ledger.close()
        if threaded and ledger.unsure:
            raise _ThreadsDisagree
        yield from rows


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield packets, "missing" for a run that the file cannot deliver, None at the end."""
    failures = 0
    while failures < _FAILED_READS:
        try:
            for packet in container.demux(stream):
                if packet.size:  # an empty one says "nothing new" and would end the decoder
                    failures = 0
                    yield packet
            break
        except av.error.FFmpegError:
            failures += 1
        if failures == 1:
            yield "missing"
    yield None


def _develop(reformatter: VideoReformatter, frame: Any, pixel_ratio: float) -> Image | None:
    # Players take untagged HD for BT.709; swscale alone would take it for BT.601.
    hd = frame.colorspace == _UNSPECIFIED_COLOURS and frame.height >= 720
    colours = Colorspace.ITU709 if hd else None
    width = round(frame.width * pixel_ratio)
    try:
        rgb = reformatter.reformat(frame, width, format="rgb24", src_colorspace=colours)
    except (av.error.FFmpegError, ValueError):
        return None
    image = cast(Image, rgb.to_ndarray())
    sides = frame.side_data.get(SideData.DISPLAYMATRIX)
    return image if sides is None else _upright(image, bytes(sides))


def _upright(image: Image, display_matrix: bytes) -> Image:
    a, b, _, c, d = np.frombuffer(display_matrix, dtype=np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _pixel_ratio(stream: Any) -> float:
    """Return a pixel's width over its height; 1 where the file says nothing sensible."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 0.25 <= ratio <= 4 and abs(ratio - 1) > 0.02 else 1.0


def _start(stream: Any) -> Fraction | None:
    own = None if stream.start_time is None else stream.start_time * stream.time_base
    if stream.container.start_time is None:
        return cast("Fraction | None", own)
    shared = Fraction(stream.container.start_time, av.time_base)
    # The container's start is rounded to microseconds; the stream's own is exact.
    return own if own is not None and abs(own - shared) < Fraction(2, av.time_base) else shared


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Give a video's container and its video stream, or a MediaError that says why not."""
    try:
        # "file:" so that no name is taken for a network address or a pattern; old cameras write
        # their metadata in any encoding.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(_why_not(path, error)) from error
    with container:
        covers = [s for s in container.streams.video if s.disposition & s.disposition.attached_pic]
        videos = [s for s in container.streams.video if s not in covers]
        if not videos and container.streams.audio:
            takes = container.format.long_name
            raise MediaError(f"{path} holds only sound ({takes}): name a file with a video.")
        if not videos or container.format.name == "tty":  # which takes any .txt for a picture
            raise MediaError(_why_not(path))
        best = container.streams.best("video")
        stream = best if best in videos else videos[0]
        if stream.codec_context is None:
            raise MediaError(
                f"{path} is coded in a way that this FFmpeg does not know: convert it."
            )
        yield container, stream


def _why_not(path: Path, error: Exception | None = None) -> str:
    if isinstance(error, PermissionError):
        return f"{path} may not be read: ask its owner for the permission."
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return f"{path} is cut short or damaged (its index, moov, is missing): copy it again."
    return f"{path} is no video that can be read: it is damaged, or another kind of file."


def _probe_video(path: Path, width: int, height: int) -> MediaInfo:
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or math.nan)
        span_s = float(stream.duration * stream.time_base) if stream.duration else math.nan
        if math.isnan(span_s) and container.duration:
            span_s = container.duration / av.time_base
        count = stream.frames or (None if math.isnan(rate * span_s) else round(rate * span_s))
        codec = stream.codec_context.codec.canonical_name
        return MediaInfo(path, path.name, "video", width, height, span_s, count, codec, rate)


# ------------------------------------------------------------------------ pictures and cameras


def _pictures_of(path: Path) -> list[Path] | None:
    """Return the pictures that a path stands for, None for a video; MediaError for nothing."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if pictures := _inside(path, PICTURE_SUFFIXES):
                return pictures
            raise MediaError(
                f"the folder {path} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}): "
                "name a video file, or a folder with pictures."
            )
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise MediaError(f"there is no file or folder {path}: check its name.") from error
    except (OSError, ValueError) as error:
        raise MediaError(_why_not(path, error)) from error
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy it again.")
    return [path] if path.suffix.lower() in PICTURE_SUFFIXES else None


def _inside(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    # Names that begin with a dot are leftovers of other systems ("._clip.mp4").
    found = (f for f in folder.iterdir() if f.suffix.lower() in suffixes and f.name[0] != ".")
    return sorted((f for f in found if f.is_file()), key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which 2.png comes before 10.png."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(digits or -1), text.casefold()) for digits, text in parts], str(path)


def _load_picture(path: Path) -> Image | None:
    """Return a still picture, upright by its EXIF; None if it is damaged or cut short."""
    try:
        data = path.read_bytes()
        # Not imread: it fills up a JPEG that is cut short in grey.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    if image is None or image.dtype != np.uint8:
        return None
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _camera_number(source: str | Path) -> int | None:
    match = _CAMERA.fullmatch(str(source))
    if match and not re.fullmatch("[0-9]+", match[1]):
        raise UsageError(f"a camera is named camera:0, camera:1 and so on, not {source}.")
    return int(match[1]) if match else None


@contextlib.contextmanager
def _camera(number: int) -> Iterator[Any]:
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)  # OpenCV would tell in its own words that there is none
    try:
        camera = cv2.VideoCapture(number)
    finally:
        cv2.setLogLevel(level)
    try:
        if not camera.isOpened():
            raise MediaError(
                f"there is no camera {number}, or another program holds it: "
                "plug it in, close the other program, or name another."
            )
        yield camera
    finally:
        camera.release()


def _camera_shots(number: int) -> _Shots:
    clock, failures = StrictClock(math.nan), 0
    first_s: float | None = None
    with _camera(number) as camera:
        while failures < _FAILED_SHOTS:
            good, image = camera.read()
            now_s = time.monotonic()
            first_s = now_s if first_s is None else first_s
            failures = 0 if good else failures + 1
            rgb = partial(cv2.cvtColor, image, cv2.COLOR_BGR2RGB) if good else None
            yield clock.tick(now_s - first_s), cast("Callable[[], Image] | None", rgb)
    raise MediaError(f"camera {number} gives no more pictures: check its plug.")


def _probe_camera(number: int) -> MediaInfo:
    with _camera(number) as camera:
        width = int(camera.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(camera.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate = float(camera.get(cv2.CAP_PROP_FPS))
    rate = rate if rate > 0 else math.nan
    name = f"camera:{number}"
    return MediaInfo(None, name, "camera", width, height, math.nan, None, "camera", rate)


# ------------------------------------------------------------------------------- whole sources


def expand_sources(sources: Sequence[str]) -> list[str]:
    """Return the recordings that files, folders, glob patterns and camera:N stand for, each once.

    A folder with videos stands for its videos, in natural order and without its subfolders; a
    folder with pictures only is one recording. A pattern finds media by their suffix; a file that
    is named outright is taken whatever its suffix.
    Raises UsageError for a source that stands for nothing.
    """
    found: dict[Path | str, str] = {}
    for source in sources:
        if _camera_number(source) is not None:
            found.setdefault(source, source)
            continue
        matches = _recordings(source)
        if not matches:
            raise UsageError(
                f"nothing to read at {source}: name a video, a picture, a folder of them, "
                "a pattern in quotes or camera:0."
            )
        for match in matches:
            found.setdefault(match.resolve(), str(match))
    return list(found.values())


def _recordings(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _inside(path, VIDEO_SUFFIXES) or [path] * bool(_inside(path, PICTURE_SUFFIXES))
    if path.exists():
        return [path]
    matches = sorted(map(Path, glob.glob(source, recursive=True)), key=_natural)
    files = [m for m in matches if m.is_file()]
    folders = [recording for m in matches if m.is_dir() for recording in _recordings(str(m))]
    return [f for f in files if f.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES] + folders


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's pictures.

    Raises MediaError if it cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        lines = (f"{file_sha256(p)}  {p.name}\n" for p in _inside(path, PICTURE_SUFFIXES))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror}): check its name.") from error
