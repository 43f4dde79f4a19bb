"""What the tests of the page's camera and guard share: images a child that cries."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from starlette.testclient import TestClient, WebSocketTestSession

from guard_rows import GROUP_OF, NAMES, empty, face
from moppet.timeline import TimelineSettings
from moppet.values import Frame

TOKEN, PORT = "a-token-of-the-test", 8640
HERE = f"http://127.0.0.1:{PORT}"
LIVE = f"ws://127.0.0.1:{PORT}/api/live"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def message(time_s: float, image: np.ndarray | None = None) -> bytes:
    """An image as the page sends it; a gray one where none is given."""
    image = np.full((48, 64, 3), 128, np.uint8) if image is None else image
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes()
    return struct.pack("<d", time_s) + jpeg


@contextmanager
def camera(client: TestClient) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect(LIVE, headers=BEARER) as socket:
        assert socket.receive_json()["kind"] == "ready"
        yield socket


class CryingReader:
    """A child that cries from 1 s to 3 s and from 15 s to 18 s; nobody is there from 30 s on."""

    names, group_of, model_name = NAMES, GROUP_OF, "scripted"
    card = {"name": "scripted", "labels": list(NAMES), "groups": GROUP_OF}
    settings = TimelineSettings()

    def __init__(self, settings: Any = None) -> None:
        """Settings of an analysis change nothing here."""

    def read(self, frame: Frame) -> list[dict[str, Any]]:
        t = round(frame.time_s, 3)
        if t >= 30:
            return [empty(t)]
        return [face(t, 0.9 if 1 <= t < 3 or 15 <= t < 18 else 0.1)]


def ask(socket: WebSocketTestSession, what: str, **more: Any) -> dict[str, Any]:
    socket.send_json({"do": what, **more})
    return socket.receive_json()


def show(socket: WebSocketTestSession, start_s: float, end_s: float) -> list[tuple[str, float]]:
    """Send ten images a second; return the events that came back."""
    events = []
    for i in range(round(10 * start_s), round(10 * end_s)):
        socket.send_bytes(message(i / 10))
        events += socket.receive_json()["events"]
    return [(event["event"], event["time_s"]) for event in events]
