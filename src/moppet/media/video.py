"""Read video files: packets, decoding, colors, rotation, and a record of every lost frame."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
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

from moppet.media.clock import LONGEST_STEP_S, ClockReport, StrictClock, mend_stamps
from moppet.media.sources import FrameSource, MediaInfo, printable_name
from moppet.values import Image, MediaError

_MAX_PENDING: Final = 256  # packets a decoder may delay: far more than reordering and threads need

Row = tuple[int | None, Any]  # stamp in the stream's time base, decoded frame or None


class PacketTracker:
    """Tracks packets whose image is pending, so that every dropped frame is noticed."""

    def __init__(self, stream: Any) -> None:
        self.unsure = False  # a frame was dropped silently, or could be
        self._codec = stream.codec_context
        # AVI stores no presentation times: images take the packets' times in order.
        self._in_order = stream.container.format.name == "avi" and self._codec.reorder_depth > 0
        self._serial = 0
        self._pending: list[tuple[int, int]] = []  # (pts, serial), sorted
        self._unstamped: deque[int | None] = deque()  # dts
        self._broken: set[int] = set()  # serials
        self._dropped: set[int] = set()  # pts
        self._fields = False

    def add(self, packet: Any) -> None:
        """Record a packet before it is decoded."""
        self._serial += 1
        if packet.is_corrupt:
            self._broken.add(self._serial)
        if self._should_have_image(packet):
            if packet.pts is None or self._in_order:
                self.unsure = True
                self._unstamped.append(packet.dts)
            else:
                insort(self._pending, (packet.pts, self._serial))

    def reject(self) -> list[Row]:
        """Record that the decoder rejected the newest packet; return the rows now due."""
        self._broken.add(self._serial)
        return [(self._unstamped.popleft(), None)] if self._unstamped else self._overdue()

    def match(self, frame: Any) -> list[Row]:
        """Return the rows due after a decoded frame: frames lost before it, and the frame."""
        self._fields = self._fields or frame.interlaced_frame
        if frame.pts is None or self._in_order:
            stamp = self._unstamped.popleft() if self._unstamped else frame.dts
            return [(stamp, None if frame.is_corrupt else frame)]
        at = bisect_left(self._pending, (frame.pts, 0))
        entry = self._pending[at] if at < len(self._pending) else None
        if entry is None or entry[0] != frame.pts:  # a packet's second image, or a late one
            late = frame.is_corrupt or frame.pts in self._dropped
            return [] if late else [(frame.pts, frame)]
        if frame.is_corrupt or entry[1] in self._broken:
            # It may be out of order: its row waits for the next good one.
            self._broken.add(entry[1])
            return self._overdue()
        # Without reordering, a frame gives no information about later packets.
        gone = [e for e in self._pending[:at] if self._codec.reorder_depth or e[1] < entry[1]]
        del self._pending[at]
        return [*self._drop(gone), (frame.pts, frame)]

    def finish(self) -> list[Row]:
        """Return the rows still due at the end."""
        return [*self._drop(self._pending), *((dts, None) for dts in self._unstamped)]

    def _overdue(self) -> list[Row]:
        return self._drop(self._pending[: max(0, len(self._pending) - _MAX_PENDING)])

    def _drop(self, entries: list[tuple[int, int]]) -> list[Row]:
        if not entries:
            return []
        self._pending = [entry for entry in self._pending if entry not in entries]
        # In interlaced material two packets may be the two fields of one image.
        lost = [(pts, s) for pts, s in entries if not self._fields or s in self._broken]
        self.unsure = self.unsure or any(s not in self._broken for _, s in lost)
        self._dropped.update(pts for pts, _ in lost)
        return [(pts, None) for pts, _ in lost]

    def _should_have_image(self, packet: Any) -> bool:
        if packet.is_discard:  # before the start in the edit list: decoded but not shown
            return False
        if self._codec.name == "vp8":  # a hidden reference image clears this bit
            return bool(memoryview(packet)[0] & 0x10)
        # A packet that repeats the previous image has 7 bytes.
        return bool(self._codec.name != "mpeg4" or packet.size > 16)


_MAX_FAILED_READS: Final = 1000  # consecutive failures before a file counts as ended
_NO_STAMPS: Final = 0x80  # AVFMT_NOTIMESTAMPS
_JOINABLE: Final = 0x200  # AVFMT_TS_DISCONT
_UNSPECIFIED_COLORS: Final = 2  # AVCOL_SPC_UNSPECIFIED
_THREADED_PIXELS: Final = 4096 * 2304  # each thread holds images of its own
_LONGEST_SIDE: Final = 1920  # pixels of an image that is read; larger videos are scaled down
_MOST_PIXELS: Final = 8192 * 4352  # of a video that is read at all
# A playlist or script that names other files is none of these, whatever its suffix. Audio formats
# are here because a file of sound alone is refused by name.
_FORMATS: Final = (
    "aac,ac3,aiff,amr,asf,av1,avi,avs2,avs3,cavsvideo,dhav,dirac,dnxhd,dv,evc,f4v,flac,flv,gif,"
    "gxf,h261,h263,h264,hevc,ipod,ivf,kux,live_flv,lvf,m4a,m4v,matroska,mj2,mjpeg,mjpeg_2000,mov,"
    "mp3,mp4,mpeg,mpegts,mpegtsraw,mpegvideo,mtv,mxf,nut,obu,ogg,psp,rawvideo,rm,smjpeg,vc1,"
    "vc1test,vivo,vvc,w64,wav,webm,wtv,wv,y4m,yuv4mpegpipe,3gp,3g2"
)
_OPENING: Final[dict[str, Any]] = {
    "options": {"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
    # Old cameras write metadata in any encoding. PyAV 19 reads them all without this option.
    **({} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}),
}


_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat", b"<MPD", b"v=0\r\n", b"[playlist]", b"<smil", b"<asx")


class _ThreadsDisagree(Exception):
    """A decoder with frame threads lost a frame; only decoding without threads shows which."""


def video_frames(path: Path, threads: int | None, report: ClockReport) -> FrameSource:
    converter = _Converter()
    clock: StrictClock | None = None
    origin: Fraction | None = None
    with contextlib.closing(_video_rows(path, threads, report)) as rows:
        for (stamp, frame), stream in rows:
            stamps = _has_stamps(stream)
            if clock is None:
                rate = float(stream.average_rate or 25)
                clock, origin = StrictClock(1 / rate), _start(stream)
                report.assumed_fps = None if stamps else rate
                if stamp is not None and origin is not None and _is_far(stamp, stream, origin):
                    origin = None
            if stamp is not None and origin is None:
                origin = stamp * stream.time_base
            known = stamps and stamp is not None and origin is not None
            stamp_s = float(stamp * stream.time_base - origin) if known else None
            duration_s = float((frame.duration or 0) * stream.time_base) if frame else math.nan
            time_s = clock.tick(stamp_s, duration_s if stamps else math.nan)
            report.missing += stamps and stamp_s is None and frame is not None
            report.end_s = clock.end_s
            yield time_s, frame and partial(converter.to_rgb, frame, _pixel_ratio(stream))


def _has_stamps(stream: Any) -> bool:
    return not int(stream.container.format.flags) & _NO_STAMPS


def _is_far(stamp: int, stream: Any, origin: Fraction) -> bool:
    """Whether a frame is so long before the start that the start is that of an odd stamp."""
    return bool(stamp * stream.time_base < origin - Fraction(LONGEST_STEP_S))


def _video_rows(
    path: Path, threads: int | None, report: ClockReport
) -> Generator[tuple[Row, Any], None, None]:
    """Yield rows and their stream: with frame threads until a frame is lost, then without.

    Of a file that grows, what it held at first is read: it may grow faster than it is read.
    """
    done, size = 0, sys.maxsize
    with contextlib.suppress(OSError, ValueError):  # opening it says why it cannot be read
        size = path.stat().st_size
    for threaded in [False] if threads == 1 else [True, False]:
        with _opened(path) as (container, stream):
            codec = stream.codec_context
            threaded = threaded and stream.width * stream.height <= _THREADED_PIXELS
            codec.thread_type = "AUTO" if threaded else "SLICE"
            codec.thread_count = (threads or 0) if threaded else 1
            codec.flags |= Flags.output_corrupt  # otherwise they are dropped silently
            try:
                packets = _mended(container, stream, report, size)
                for row in itertools.islice(_decode(packets, stream, threaded), done, None):
                    yield row, stream
                    done += 1
                return
            except _ThreadsDisagree:
                continue


def _mended(container: Any, stream: Any, report: ClockReport, size: int) -> Iterator[Any]:
    """Yield the packets on one clock; the report begins anew, as decoding does."""
    report.joints_s.clear()
    report.odd = 0
    start = _start(stream) or 0
    return mend_stamps(
        _packets(container, stream, size),
        max(1, round(1 / ((stream.average_rate or 25) * stream.time_base))),
        round(LONGEST_STEP_S / stream.time_base),
        joinable=bool(int(container.format.flags) & _JOINABLE),
        report=report,
        seconds=lambda stamp: float(stamp * stream.time_base - start),
    )


def _decode(packets: Iterator[Any], stream: Any, threaded: bool) -> Iterator[Row]:
    codec = stream.codec_context
    tracker = PacketTracker(stream)
    for packet in packets:
        if packet == "missing":
            yield None, None
            continue
        if packet is not None:
            tracker.add(packet)
        try:
            rows = [row for frame in codec.decode(packet) for row in tracker.match(frame)]
        except av.error.FFmpegError as error:
            if threaded:
                raise _ThreadsDisagree from error
            rows = tracker.reject()
        if packet is None:
            rows += tracker.finish()
        if threaded and tracker.unsure:
            raise _ThreadsDisagree
        yield from rows


def _packets(container: Any, stream: Any, size: int) -> Iterator[Any]:
    """Yield packets, "missing" for a run of unreadable packets, and None at the end.

    size: the end, in bytes: packets behind it are not read.
    """
    failures = 0
    while failures < _MAX_FAILED_READS:
        try:
            for packet in container.demux(stream):
                if (packet.pos or 0) >= size:
                    break
                if packet.size:  # an empty packet would end the decoder
                    failures = 0
                    yield packet
            break
        except av.error.FFmpegError:
            failures += 1
        if failures == 1:
            yield "missing"
    yield None


class _Converter:
    """Turns the frames of one video into upright RGB images."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._turns: dict[float, tuple[int, ...]] = {}

    def to_rgb(self, frame: Any, pixel_ratio: float) -> Image | None:
        # Players treat untagged HD video as BT.709; swscale by default as BT.601.
        hd = frame.colorspace == _UNSPECIFIED_COLORS and frame.height >= 720
        colors = Colorspace.ITU709 if hd else None
        width, height = round(frame.width * pixel_ratio), frame.height
        if (longest := max(width, height)) > _LONGEST_SIDE:
            width, height = (round(side * _LONGEST_SIDE / longest) for side in (width, height))
        try:
            rgb = self._reformatter.reformat(frame, width, height, "rgb24", src_colorspace=colors)
        except (av.error.FFmpegError, ValueError):
            return None
        image = cast(Image, rgb.to_ndarray())
        # Side data keeps its frame alive until Python looks for cycles: at 8K, gigabytes of frames.
        # It is read once for each rotation, which is read without it.
        turn = self._turns.get(frame.rotation)
        if turn is None:
            turn = self._turns[frame.rotation] = _turn_of(frame)
        return _turned(image, turn)


def _display_matrix(frame: Any) -> Any:
    return frame.side_data.get(SideData.DISPLAYMATRIX)


def _turn_of(frame: Any) -> tuple[int, ...]:
    """Return the first five numbers of the matrix that turns a frame upright; () if it is."""
    try:
        matrix = _display_matrix(frame)
    except ValueError:  # side data of a type that this PyAV does not know
        quarters = round(frame.rotation / 90) % 4
        return ((), (0, -1, 0, 1, 0), (-1, 0, 0, 0, -1), (0, 1, 0, -1, 0))[quarters]
    return () if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32)[:5].tolist())


def _turned(image: Image, turn: tuple[int, ...]) -> Image:
    if not turn:
        return image
    a, b, _, c, d = turn
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _pixel_ratio(stream: Any) -> float:
    """Return the width of a pixel divided by its height; 1 if the file has no valid ratio."""
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
    """Open a video and yield its container and video stream; MediaError if that fails."""
    try:
        # "file:" prevents names from being read as network addresses or patterns.
        container = av.open(f"file:{path}", **_OPENING)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(unreadable_reason(path, error)) from error
    with container:
        covers = [s for s in container.streams.video if s.disposition & s.disposition.attached_pic]
        videos = [s for s in container.streams.video if s not in covers]
        if not videos and container.streams.audio:
            takes = container.format.long_name
            raise MediaError(f"{path} contains only sound ({takes}): choose a video file.")
        if not videos or container.format.name == "tty":  # which reads any .txt as an image
            raise MediaError(unreadable_reason(path))
        best = container.streams.best("video")
        stream = best if best in videos else videos[0]
        if stream.codec_context is None:
            raise MediaError(f"{path} uses a codec that this FFmpeg does not support: convert it.")
        if stream.width * stream.height > _MOST_PIXELS:
            raise MediaError(
                f"{path} has {stream.width} x {stream.height} pixels; at most 8192 x 4352 are "
                "read: convert it to a smaller size."
            )
        yield container, stream


def unreadable_reason(path: Path, error: Exception | None = None) -> str:
    if isinstance(error, PermissionError):
        return f"{path} cannot be read (permission denied): ask its owner for access."
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        head = file.read(4096)
        if any(sign in head for sign in _PLAYLISTS):
            return f"{path} is a playlist that names other files: analyze those files instead."
        if head[4:8] == b"ftyp":
            return f"{path} is truncated or damaged (its index, moov, is missing): copy it again."
    return f"{path} is not a readable video: it is damaged, or another kind of file."


def video_format(path: Path) -> str:
    """Return FFmpeg's name of a video's format, such as "matroska,webm"; MediaError if none."""
    with _opened(path) as (container, _):
        return str(container.format.name)


def probe_video(path: Path, width: int, height: int) -> MediaInfo:
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or math.nan)
        span_s = float(stream.duration * stream.time_base) if stream.duration else math.nan
        if math.isnan(span_s) and container.duration:
            span_s = container.duration / av.time_base
        count = stream.frames or (None if math.isnan(rate * span_s) else round(rate * span_s))
        codec = stream.codec_context.codec.canonical_name
        return MediaInfo(
            path, printable_name(path), "video", width, height, span_s, count, codec, rate
        )
