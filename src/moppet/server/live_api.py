"""Routes of the live camera: frames come in over a WebSocket, rows go out, nothing is stored."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from fastapi import FastAPI, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from moppet.config import check_settings
from moppet.files import one_line, parse_json
from moppet.guard.notifications import Alerts, Channels
from moppet.infer.expression_model import load_model
from moppet.infer.pipeline import LiveReader, Settings
from moppet.media.clock import StrictClock
from moppet.server.guard_session import GuardSession, SessionOptions
from moppet.server.responses import INTERNAL_ERROR, Json
from moppet.timeline import TimelineSettings
from moppet.values import Frame, Image, MediaError, MoppetError, UsageError

LARGEST_MESSAGE: Final = 2_000_000
"""Bytes of one message: an image and its time."""
LARGEST_PX: Final = 1920
"""Longest side; checked before decoding, so that a small file cannot fill the memory."""
_TIME: Final = struct.Struct("<d")
_SIZES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG markers that are followed by the image size (ITU T.81, table B.1)."""


def read_message(message: bytes) -> tuple[float, Image]:
    """Return the seconds and the image (height, width, 3), RGB, uint8, of a message.

    message: a little-endian float64 (seconds on the sender's clock) followed by a JPEG.
    Raises MediaError for anything else.
    """
    if len(message) > LARGEST_MESSAGE:
        raise MediaError(f"An image may have at most {LARGEST_MESSAGE:,} bytes.")
    data = message[_TIME.size :]
    if not data.startswith(b"\xff\xd8"):
        raise MediaError("The message needs a time (8 bytes) followed by a JPEG image.")
    (time_s,) = _TIME.unpack_from(message)
    if not math.isfinite(time_s) or not 0 <= time_s < 1e9:
        raise MediaError("The image's time must be in seconds, 0 or more.")
    width, height = _size_px(data)
    if min(width, height) < 1 or max(width, height) > LARGEST_PX:
        raise MediaError(f"An image needs sides of 1 to {LARGEST_PX} pixels.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise MediaError("The image is damaged.")
    return time_s, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _size_px(data: bytes) -> tuple[int, int]:
    """Return width and height from a JPEG's header; (0, 0) if the header has none."""
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
"""After so long without an image, a guard reports that it stopped watching."""
_WAIT_S: Final = 1.0
"""A reloaded page waits so long for its earlier connection to close."""
_BUSY, _INVALID, _FAILED = 1013, 1007, 1011
_LARGEST_COMMAND: Final = 20_000


def add_live(
    site: FastAPI, folder: Path, channels: Channels, settings: Settings | None = None
) -> None:
    """Add /api/live, for one camera at a time. folder: of the guard session logs.

    settings: see `open_reader`.
    """
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
            session.reader = await run_in_threadpool(open_reader, settings)
            await session.run()
        except MoppetError as error:
            await _close(socket, _INVALID, str(error))
        except WebSocketDisconnect:
            pass
        except Exception:
            await _close(socket, _FAILED, INTERNAL_ERROR)
            raise
        finally:
            taken.release()
            await asyncio.shield(run_in_threadpool(session.finish))


def open_reader(settings: Settings | None) -> LiveReader:
    """Return a reader of a camera's frames.

    settings: None takes the display reading if the default model has it, as `moppet watch` does.
    """
    if settings is None and load_model().has_display:
        settings = Settings(timeline=TimelineSettings(reading="display"))
    return LiveReader() if settings is None else LiveReader(settings)


class _Session:
    """One page's camera, from its first image to its last."""

    reader: LiveReader

    def __init__(self, socket: WebSocket, folder: Path, channels: Channels) -> None:
        self._socket, self._folder = socket, folder
        self._alerts = Alerts(channels)
        self._clock = StrictClock(math.nan)
        self._frames = 0
        self._guard: GuardSession | None = None

    async def run(self) -> None:
        """Answer messages until the page disconnects; MoppetError for an invalid one."""
        groups = dict(self.reader.group_of)
        await self._send({"kind": "ready", "names": list(self.reader.names), "groups": groups})
        while True:
            try:
                async with asyncio.timeout(QUIET_S if self._guard else None):
                    message = await self._socket.receive()
            except TimeoutError:
                await run_in_threadpool(self._report_silence)
                continue
            if message["type"] == "websocket.disconnect":
                return
            if (data := message.get("bytes")) is not None:
                await self._send(await run_in_threadpool(self._read_frame, data))
            else:
                text = message.get("text") or ""
                await self._send(await run_in_threadpool(self._run_command, text))

    async def _send(self, answer: Json) -> None:
        await self._socket.send_text(json.dumps(answer, ensure_ascii=False))

    def _read_frame(self, message: bytes) -> Json:
        """Return the rows of an image and the guard's events; the image is not stored."""
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
            "guarding": self._guard is not None,
            "events": self._guard.observe(rows) if self._guard else [],
        }
        return {**answer, "took_ms": round(1000 * (time.perf_counter() - begun_s), 1)}

    def _run_command(self, text: str) -> Json:
        """Run a command of the page: {"do": "guard", …}, {"do": "resume"} or {"do": "end"}."""
        try:
            data = text.encode("utf-8", "surrogatepass")
            command = parse_json(data, "the message") if len(text) <= _LARGEST_COMMAND else None
        except MoppetError:
            command = None
        if not isinstance(command, dict):
            raise MediaError("The message must be an image or a JSON object.")
        try:
            return self._dispatch(command)
        except MoppetError as error:  # such as an invalid rule: the page may try again
            return {"kind": "refused", "error": str(error)}

    def _dispatch(self, command: Json) -> Json:
        what, session = command.get("do"), self._guard
        if what == "guard":
            if session is not None:
                raise UsageError("The guard is running already.")
            form = {key: value for key, value in command.items() if key != "do"}
            options = check_settings(SessionOptions, form, "guard")
            self._guard = session = GuardSession(options, self.reader, self._folder, self._alerts)
            return {"kind": "guarding", "log": session.name, "rules": session.rules}
        if session is None:
            raise UsageError(f"No guard is running: start one before {one_line(what, 40)!r}.")
        if what in ("resume", "go_on"):
            record = session.resume()
            return {"kind": "resumed", "events": [] if record is None else [record]}
        if what == "end":
            self._guard = None
            return {"kind": "ended", "summary": session.end()}
        raise UsageError(
            f"There is no guard command {one_line(what, 40)!r}: use guard, resume or end."
        )

    def _report_silence(self) -> None:
        if self._guard is not None:
            self._guard.stop(f"no image came for {QUIET_S:g} s")

    def finish(self) -> None:
        """End the session; a guard that is still running records that it stopped watching."""
        if self._guard is not None:
            self._guard.stop("the page was closed, or its connection broke")
            self._guard.end()
        self._alerts.finish()


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a reason, cut to the protocol's limit; ignore a socket that is closed already."""
    short = reason.encode()[:120].decode(errors="ignore")
    try:
        await socket.send_text(json.dumps({"kind": "failed", "error": reason}))
        await socket.close(code, short)
    except (RuntimeError, WebSocketDisconnect):
        pass
