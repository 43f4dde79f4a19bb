"""One clock for every recording: joints, odd time stamps, missing ones, and strictly growing times.

A file's time stamps are mended in two steps. `mend_stamps` looks at the packets, in decoding order
and some packets ahead: it closes the jump where two recordings were joined, and puts a packet whose
stamp is far from its neighbors' back between them. `StrictClock` then makes the times of the
frames grow strictly. What was assumed is counted in a `ClockReport`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

LONGEST_STEP_S: Final = 10.0
"""A jump forward beyond this is an odd stamp if the next packets are back in time; FFmpeg's own."""
_GAP_STEPS: Final = 86_400  # ten days, in LONGEST_STEP_S: a longer gap is no part of a recording
_REORDERED: Final = 16  # frames that H.264 and HEVC may reorder at most
_AHEAD: Final = 2 * _REORDERED


@dataclass
class ClockReport:
    """What was assumed about a recording's time stamps.

    joints_s: times at which a further recording begins in the same file.
    odd: number of stamps far from their neighbors', replaced by a time between them.
    missing: number of frames without a stamp, placed by the frame rate.
    assumed_fps: the frame rate of a file that stores no time stamps; None if it stores them.
    end_s: the end of the last frame that was read, in seconds; NaN if it has no duration.
    """

    joints_s: list[float] = field(default_factory=list)
    odd: int = 0
    missing: int = 0
    assumed_fps: float | None = None
    end_s: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return what was assumed as JSON values; empty if nothing was."""
        values = {
            "joints_s": [round(time_s, 3) for time_s in self.joints_s],
            "odd_stamps": self.odd,
            "missing_stamps": self.missing,
            "assumed_fps": self.assumed_fps,
        }
        return {key: value for key, value in values.items() if value}


def clock_notes(assumed: dict[str, Any]) -> list[str]:
    """Return one sentence for each assumption in `ClockReport.to_dict`."""
    notes = []
    if rate := assumed.get("assumed_fps"):
        notes.append(f"the file stores no time stamps: {rate:g} frames per second are assumed.")
    if joints := assumed.get("joints_s"):
        at = ", ".join(f"{time_s:.2f}" for time_s in joints[:3]) + ", …" * (len(joints) > 3)
        notes.append(f"the time stamps start anew at {at} s: the parts follow each other.")
    if odd := assumed.get("odd_stamps"):
        notes.append(f"{odd} time {_stamps(odd)} far from the others': placed between neighbors.")
    if missing := assumed.get("missing_stamps"):
        notes.append(f"{missing} time {_stamps(missing)} missing: placed by the frame rate.")
    return notes


def _stamps(count: int) -> str:
    return "stamp is" if count == 1 else "stamps are"


def mend_stamps(
    packets: Iterable[Any],
    step: int,
    longest: int,
    *,
    joinable: bool,
    report: ClockReport,
    seconds: Callable[[int], float],
) -> Iterator[Any]:
    """Yield packets with mended `dts` and `pts`; whatever is not a packet passes through.

    packets: in decoding order, with `dts`, `pts` (int or None) and `duration` (int or None).
    step, longest: the usual duration of a frame and `LONGEST_STEP_S`, in the stamps' time base.
    joinable: the format may start its time stamps anew, so a jump forward is a joint as well.
        Elsewhere it is a gap, and stays if it is shorter than ten days.
    report: receives the joints and the number of odd stamps; seconds: a stamp as time.
    """
    joints = _Joints(step, longest, joinable, report, seconds)
    order = _Order(report)
    return _looking_ahead(_looking_ahead(packets, joints.mend), order.mend)


def _looking_ahead(packets: Iterable[Any], mend: Any) -> Iterator[Any]:
    held: deque[Any] = deque()

    def release() -> Any:
        packet = held.popleft()
        if getattr(packet, "pts", None) is not None or getattr(packet, "dts", None) is not None:
            mend(packet, held)
        return packet

    for packet in packets:
        held.append(packet)
        if len(held) > _AHEAD:
            yield release()
    while held:
        yield release()


def _known(packets: Iterable[Any], name: str) -> list[int]:
    stamps = (getattr(packet, name, None) for packet in packets)
    return [stamp for stamp in stamps if stamp is not None]


class _Joints:
    """Keeps the decoding times growing: they never fall back within one recording."""

    def __init__(
        self,
        step: int,
        longest: int,
        joinable: bool,
        report: ClockReport,
        seconds: Callable[[int], float],
    ) -> None:
        self._step, self._longest, self._joinable = step, longest, joinable
        self._report, self._seconds = report, seconds
        self._last: int | None = None
        self._shift = 0
        self._decoded = False  # the packets have decoding times
        self._recent: deque[Any] = deque(maxlen=3)

    def mend(self, packet: Any, ahead: Sequence[Any]) -> None:
        self._recent.append(packet)
        decoded = _known([packet, *ahead], "dts")
        if packet.dts is None and (decoded or self._decoded):  # Matroska's first ones, for example
            self._set(packet, None, packet.pts + self._shift)
            return
        self._decoded = packet.dts is not None
        name = "dts" if self._decoded else "pts"
        raw = getattr(packet, name)
        step = packet.duration or self._step
        following = [stamp + self._shift for stamp in _known(ahead, name)]
        if self._last is None:
            self._last = self._before(raw, following)
        stamp, expected = raw + self._shift, self._last + step
        if not self._fits(stamp, self._last):
            back = sum(self._fits(one, self._last) for one in following)
            if back > sum(self._fits(one, stamp) for one in following):
                self._report.odd += 1
                self._place(packet, expected)
                return
            lost = stamp - expected > self._longest * _GAP_STEPS
            if stamp < expected or self._joinable or lost:
                self._shift += expected - stamp
                for before in self._recent:
                    if getattr(before, "is_corrupt", False):
                        # MPEG-TS counts its packets; the count always breaks at a joint.
                        before.is_corrupt = False
                pts = raw if packet.pts is None else packet.pts
                self._report.joints_s.append(self._seconds(pts + self._shift))
        self._last = max(self._last, raw + self._shift)
        self._set(
            packet,
            None if packet.dts is None else packet.dts + self._shift,
            None if packet.pts is None else packet.pts + self._shift,
        )

    def _place(self, packet: Any, expected: int) -> None:
        """Give a packet the expected decoding time; its pts is kept if it is near, else moved."""
        pts = expected if packet.pts is None else packet.pts + self._shift
        if abs(pts - expected) > self._longest and packet.dts is not None:
            offset = packet.pts - packet.dts
            pts = expected + (offset if 0 <= offset <= self._longest else 0)
        self._set(packet, expected, pts)
        self._last = expected

    def _fits(self, stamp: int, last: int) -> bool:
        back = 2 if self._decoded else _REORDERED
        return last - back * self._step <= stamp <= last + self._longest

    def _before(self, first: int, following: Sequence[int]) -> int:
        """Return the time before the first packet; its own stamp may be the odd, late one."""
        if following and max(following) < first - 2 * self._step:
            agree = sum(self._fits(one, following[0]) for one in following[1:])
            if agree > len(following) / 2:
                return following[0] - 2 * self._step
        return first - self._step

    @staticmethod
    def _set(packet: Any, dts: int | None, pts: int | None) -> None:
        packet.dts, packet.pts = dts, pts


class _Order:
    """Puts a presentation time that no reordering explains back between its neighbors'.

    It is far from its own decoding time and from the times of the packets before and after it.
    """

    def __init__(self, report: ClockReport) -> None:
        self._report = report
        self._before: deque[int] = deque(maxlen=_AHEAD)

    def mend(self, packet: Any, ahead: Sequence[Any]) -> None:
        after = _known(ahead, "pts")
        if packet.pts is not None and len(after) + len(self._before) >= 4:
            around = sorted([*self._before, *after])
            usual = statistics.median(b - a for a, b in itertools.pairwise(around))
            slack = _REORDERED * max(usual, packet.duration or 0)
            decoded = around[-1] if packet.dts is None else packet.dts
            low, high = min(around[0], decoded), max(around[-1], decoded)
            if not low - slack <= packet.pts <= high + slack:
                self._report.odd += 1
                packet.pts = self._place(packet, around, usual)
        if packet.pts is not None:
            self._before.append(packet.pts)

    @staticmethod
    def _place(packet: Any, around: Sequence[int], usual: float) -> int:
        """Return the middle of the first gap near the packet's decoding time, else that time."""
        dts = packet.dts if packet.dts is not None else around[len(around) // 2]
        for low, high in itertools.pairwise(around):
            if abs(low - dts) <= _REORDERED * usual and high - low > 1.5 * usual:
                return low + (high - low) // 2
        return int(dts)


class StrictClock:
    """Makes the times of frames grow strictly.

    A stamp later than the previous time is kept. A missing stamp is placed one frame duration
    after the previous time; so is a stamp more than a second before it, and later stamps are
    shifted with it. A stamp that falls back less is placed half a duration later, so that the next
    valid stamp can be kept.
    """

    def __init__(self, step_s: float) -> None:
        self._nominal_s = step_s if math.isfinite(step_s) and step_s > 0 else 1 / 25
        self._step_s = self._nominal_s
        self._last_s = -math.inf
        self._shift_s = 0.0

    @property
    def end_s(self) -> float:
        """The end of the last frame, in seconds; NaN before the first."""
        return self._last_s + self._step_s if self._last_s > -math.inf else math.nan

    def tick(self, stamp_s: float | None, duration_s: float = math.nan) -> float:
        """Return the next frame's time in seconds. stamp_s: None if missing."""
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
        if math.isfinite(duration_s) and duration_s >= self._nominal_s / 10:  # else: not credible
            self._step_s = duration_s
        return self._last_s
