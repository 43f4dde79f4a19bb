"""The rows of a video: which packets still owe a picture, which pictures are lost."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Final

_OWED: Final = 256  # packets a decoder may hold back: far more than reordering and threads do

Row = tuple[int | None, Any]  # stamp in the stream's time base, decoded frame or None


class Ledger:
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

    def close(self) -> list[Row]:
        """Return the rows still due at the end."""
        return [*self._give_up(self._owed), *((dts, None) for dts in self._unstamped)]

    def _overdue(self) -> list[Row]:
        return self._give_up(self._owed[: max(0, len(self._owed) - _OWED)])

    def _give_up(self, entries: list[tuple[int, int]]) -> list[Row]:
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
