"""Video files: packets, decoding, colors, rotation, and an account of every lost frame."""

from __future__ import annotations

import contextlib
import itertools
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from av.codec.context import Flags
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, VideoReformatter

from moppet.media.clock import StrictClock
from moppet.media.recording import MediaInfo, Shots
from moppet.values import Image, MediaError

_OWED: Final = 256  # packets a decoder may hold back: far more than reordering and threads do

Row = tuple[int | None, Any]  # stamp in the stream's time base, decoded frame or None


class Ledger:
    """The packets that still owe an image, so that nothing a decoder drops goes unseen."""

    def __init__(self, stream: Any) -> None:
        self.unsure = False  # something vanished in silence, or would not be seen to
        self._codec = stream.codec_context
        # AVI stores no presentation times: the images take the packets' times in turn.
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
        if self._promises_image(packet):
            if packet.pts is None or self._in_turn:
                self.unsure = True
                self._unstamped.append(packet.dts)
            else:
                insort(self._owed, (packet.pts, self._serial))

    def refuse(self) -> list[Row]:
        """Note that the decoder refused the newest packet; return the rows now due."""
        self._broken.add(self._serial)
        return [(self._unstamped.popleft(), None)] if self._unstamped else self._overdue()

    def settle(self, frame: Any) -> list[Row]:
        """Return the rows that a decoded frame makes due: what it shows to be lost, and itself."""
        self._fields = self._fields or frame.interlaced_frame
        if frame.pts is None or self._in_turn:
            stamp = self._unstamped.popleft() if self._unstamped else frame.dts
            return [(stamp, None if frame.is_corrupt else frame)]
        at = bisect_left(self._owed, (frame.pts, 0))
        entry = self._owed[at] if at < len(self._owed) else None
        if entry is None or entry[0] != frame.pts:  # a packet's second image, or a late one
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

    def close(self) -> list[Row]:
        """Return the rows still due at the end."""
        return [*self._give_up(self._owed), *((dts, None) for dts in self._unstamped)]

    def _overdue(self) -> list[Row]:
        return self._give_up(self._owed[: max(0, len(self._owed) - _OWED)])

    def _give_up(self, entries: list[tuple[int, int]]) -> list[Row]:
        if not entries:
            return []
        self._owed = [entry for entry in self._owed if entry not in entries]
        # In interlaced material two packets may be the two fields of one image.
        lost = [(pts, s) for pts, s in entries if not self._fields or s in self._broken]
        self.unsure = self.unsure or any(s not in self._broken for _, s in lost)
        self._given_up.update(pts for pts, _ in lost)
        return [(pts, None) for pts, _ in lost]

    def _promises_image(self, packet: Any) -> bool:
        if packet.is_discard:  # before the start that the edit list sets: decoded, never shown
            return False
        if self._codec.name == "vp8":  # a hidden reference image clears this bit
            return bool(memoryview(packet)[0] & 0x10)
        return bool(self._codec.name != "mpeg4" or packet.size > 16)  # "as before" takes 7 bytes


_FAILED_READS: Final = 1000  # in a row, before a file counts as ended
_UNSPECIFIED_COLORS: Final = 2  # AVCOL_SPC_UNSPECIFIED
# Old cameras write their metadata in any encoding. PyAV 19 reads them all, and has no option.
_OPENING: Final[dict[str, Any]] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)


class _ThreadsDisagree(Exception):
    """A decoder with frame threads lost something; which, only decoding in sequence tells."""


def video_shots(path: Path, threads: int | None) -> Shots:
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


def _video_rows(path: Path, threads: int | None) -> Generator[tuple[Row, Any], None, None]:
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


def _decode(container: Any, stream: Any, threaded: bool) -> Iterator[Row]:
    codec = stream.codec_context
    ledger = Ledger(stream)
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
    hd = frame.colorspace == _UNSPECIFIED_COLORS and frame.height >= 720
    colors = Colorspace.ITU709 if hd else None
    width = round(frame.width * pixel_ratio)
    try:
        rgb = reformatter.reformat(frame, width, format="rgb24", src_colorspace=colors)
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
        # "file:" so that no name is taken for a network address or a pattern.
        container = av.open(f"file:{path}", **_OPENING)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(why_not(path, error)) from error
    with container:
        covers = [s for s in container.streams.video if s.disposition & s.disposition.attached_pic]
        videos = [s for s in container.streams.video if s not in covers]
        if not videos and container.streams.audio:
            takes = container.format.long_name
            raise MediaError(f"{path} holds only sound ({takes}): name a file with a video.")
        if not videos or container.format.name == "tty":  # which takes any .txt for an image
            raise MediaError(why_not(path))
        best = container.streams.best("video")
        stream = best if best in videos else videos[0]
        if stream.codec_context is None:
            raise MediaError(
                f"{path} is coded in a way that this FFmpeg does not know: convert it."
            )
        yield container, stream


def why_not(path: Path, error: Exception | None = None) -> str:
    if isinstance(error, PermissionError):
        return f"{path} may not be read: ask its owner for the permission."
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return f"{path} is cut short or damaged (its index, moov, is missing): copy it again."
    return f"{path} is no video that can be read: it is damaged, or another kind of file."


def probe_video(path: Path, width: int, height: int) -> MediaInfo:
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or math.nan)
        span_s = float(stream.duration * stream.time_base) if stream.duration else math.nan
        if math.isnan(span_s) and container.duration:
            span_s = container.duration / av.time_base
        count = stream.frames or (None if math.isnan(rate * span_s) else round(rate * span_s))
        codec = stream.codec_context.codec.canonical_name
        return MediaInfo(path, path.name, "video", width, height, span_s, count, codec, rate)
