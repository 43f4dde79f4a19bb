"""The live camera's part of the API: frames in over a WebSocket, rows out, none kept."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from fastapi import FastAPI, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from moppet.guard.notifications import Alerts, Channels
from moppet.infer.pipeline import LiveReader
from moppet.media.clock import StrictClock
from moppet.server.guard_session import Guarding, asked_of
from moppet.values import Frame, Image, MediaError, MoppetError, UsageError

LARGEST_MESSAGE: Final = 2_000_000
"""Bytes of one image and its time."""
LARGEST_PX: Final = 1920
"""Longest side; checked before the image is unpacked, so that a small file cannot fill memory."""
_TIME: Final = struct.Struct("<d")
_SIZES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG behind which its size stands (ITU T.81, table B.1)."""


def read_message(message: bytes) -> tuple[float, Image]:
    """Return the seconds and the image (height, width, 3), RGB, uint8, of a message.

    message: a little-endian float64, seconds on the sender's clock, and a JPEG behind it.
    Raises MediaError, in one sentence, for anything else.
    """
    if len(message) > LARGEST_MESSAGE:
        raise MediaError(f"An image may have {LARGEST_MESSAGE:,} bytes at most.")
    data = message[_TIME.size :]
    if not data.startswith(b"\xff\xd8"):
        raise MediaError("A time (8 bytes) and a JPEG image were needed.")
    (time_s,) = _TIME.unpack_from(message)
    if not math.isfinite(time_s) or not 0 <= time_s < 1e9:
        raise MediaError("The image's time must be seconds from 0 up.")
    width, height = _size_px(data)
    if min(width, height) < 1 or max(width, height) > LARGEST_PX:
        raise MediaError(f"An image needs a size, of {LARGEST_PX} pixels a side at most.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise MediaError("The image is damaged.")
    return time_s, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _size_px(data: bytes) -> tuple[int, int]:
    """Return a JPEG's width and height as its header has them; (0, 0) if it has none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if length < 2:
            break
        at += 2 + length
    return 0, 0


QUIET_S: Final = 5.0
"""A guard that got no image for so long says that nobody watches any more."""
_WAIT_S: Final = 1.0
"""A page that was opened anew waits so long for its old self to be gone."""
_BUSY, _ODD, _BROKEN = 1013, 1007, 1011
_LARGEST_ASKED: Final = 20_000
Json = dict[str, Any]


def add_live(site: FastAPI, folder: Path, channels: Channels) -> None:
    """Answer /api/live: one camera at a time. folder: of the guards' logs."""
    taken = asyncio.Lock()

    @site.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with asyncio.timeout(_WAIT_S):
                await taken.acquire()
        except TimeoutError:
            await socket.close(_BUSY, "Another page uses the camera already: stop it there first.")
            return
        session = _Session(socket, folder, channels)
        try:
            session.reader = await run_in_threadpool(LiveReader)
            await session.run()
        except MoppetError as error:
            await _close(socket, _ODD, str(error))
        except WebSocketDisconnect:
            pass
        except Exception:
            await _close(socket, _BROKEN, "Something broke; the terminal says what.")
            raise
        finally:
            taken.release()
            await asyncio.shield(run_in_threadpool(session.finish))


class _Session:
    """One page's camera, from its first image to its last."""

    reader: LiveReader

    def __init__(self, socket: WebSocket, folder: Path, channels: Channels) -> None:
        self._socket, self._folder = socket, folder
        self._alerts = Alerts(channels)
        self._clock = StrictClock(math.nan)
        self._frames = 0
        self._guarding: Guarding | None = None

    async def run(self) -> None:
        """Answer message after message; MoppetError for one that cannot be."""
        groups = dict(self.reader.group_of)
        await self._say({"kind": "ready", "names": list(self.reader.names), "groups": groups})
        while True:
            try:
                async with asyncio.timeout(QUIET_S if self._guarding else None):
                    message = await self._socket.receive()
            except TimeoutError:
                await run_in_threadpool(self._fall_silent)
                continue
            if message["type"] == "websocket.disconnect":
                return
            if (data := message.get("bytes")) is not None:
                await self._say(await run_in_threadpool(self._read, data))
            else:
                await self._say(await run_in_threadpool(self._do, message.get("text") or ""))

    async def _say(self, answer: Json) -> None:
        await self._socket.send_text(json.dumps(answer, ensure_ascii=False))

    def _read(self, message: bytes) -> Json:
        """Return the rows of an image, and what the guard makes of them; the image is gone."""
        begun_s = time.perf_counter()
        stamp_s, image = read_message(message)
        time_s = self._clock.tick(stamp_s)
        rows = self.reader.read(Frame(self._frames, time_s, image))
        self._frames += 1
        answer = {
            "kind": "rows",
            "sent_s": stamp_s,
            "size_px": [image.shape[1], image.shape[0]],
            "rows": rows,
            "guarding": self._guarding is not None,
            "events": self._guarding.observe(rows) if self._guarding else [],
        }
        return {**answer, "took_ms": round(1000 * (time.perf_counter() - begun_s), 1)}

    def _do(self, text: str) -> Json:
        """Do what the page asks: {"do": "guard", …}, "go_on" or "end"."""
        try:
            told = json.loads(text) if len(text) <= _LARGEST_ASKED else None
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise MediaError("An image was needed, or a JSON object.")
        try:
            return self._done(told)
        except MoppetError as error:  # such as a rule: the page may ask again
            return {"kind": "refused", "error": str(error)}

    def _done(self, told: Json) -> Json:
        what, guarding = told.get("do"), self._guarding
        if what == "guard":
            if guarding is not None:
                raise UsageError("The guard watches already.")
            self._guarding = Guarding(asked_of(told), self.reader, self._folder, self._alerts)
            return {
                "kind": "guarding", "log": self._guarding.name, "rules": self._guarding.rules
            }  # fmt: skip
        if guarding is None:
            raise UsageError(f"No guard watches that could {what!r}.")
        if what == "go_on":
            record = guarding.go_on()
            return {"kind": "gone_on", "events": [] if record is None else [record]}
        if what == "end":
            self._guarding = None
            return {"kind": "ended", "summary": guarding.end()}
        raise UsageError(f"A guard cannot {what!r}: it can guard, go_on and end.")

    def _fall_silent(self) -> None:
        self._alerts.tend()
        if self._guarding is not None:
            self._guarding.stop(f"no image came for {QUIET_S:g} s")

    def finish(self) -> None:
        """End what is under way; a guard that nobody ended says that nobody watches any more."""
        if self._guarding is not None:
            self._guarding.stop("the page was closed, or its connection broke")
            self._guarding.end()
        self._alerts.finish()


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a reason that the protocol has room for; a socket that is gone is let go."""
    short = reason.encode()[:120].decode(errors="ignore")
    try:
        await socket.send_text(json.dumps({"kind": "failed", "error": reason}))
        await socket.close(code, short)
    except (RuntimeError, WebSocketDisconnect):
        pass
