"""The page's camera: who may send images, and what comes back for good and odd ones."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from live_page import BEARER, HERE, LIVE, PORT, TOKEN, CryingReader, camera, message
from moppet.infer.pipeline import LiveReader
from moppet.media import read_frames
from moppet.server import live_api as live_module
from moppet.server.job_queue import Queue
from moppet.server.live_api import LARGEST_MESSAGE, read_message
from moppet.server.security import COOKIE
from moppet.server.site import build_site
from moppet.server.workspace import Workspace
from moppet.values import Frame, MediaError

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    workspace = Workspace(tmp_path / "work")
    with TestClient(build_site(workspace, Queue(workspace), TOKEN, PORT), base_url=HERE) as client:
        yield client


@pytest.fixture
def crying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "LiveReader", CryingReader)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "a bearer"),
        ({"cookie": f"{COOKIE}={TOKEN}"}, "a bearer"),
        ({"cookie": f"{COOKIE}={TOKEN}", "origin": "http://evil.example"}, "from other pages"),
        ({"cookie": f"{COOKIE}=wrong", "origin": HERE}, "Open the address"),
        ({"authorization": "Bearer wrong"}, "a bearer"),
        ({**BEARER, "host": "evil.example:8640"}, "only under the name of this machine"),
    ],
)
def test_a_camera_is_taken_from_this_page_alone(
    client: TestClient, headers: dict[str, str], said: str
) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect(LIVE, headers=headers),
    ):
        pass
    assert refused.value.code == 1008 and said in refused.value.reason


def test_the_page_s_own_socket_is_let_in(client: TestClient) -> None:
    own = {"cookie": f"{COOKIE}={TOKEN}", "origin": HERE}
    with client.websocket_connect(LIVE, headers=own) as socket:
        ready = socket.receive_json()
    assert "happiness" in ready["names"] and ready["groups"]["sadness"] == "negative"


def test_rows_are_those_that_the_pipeline_gives_for_the_same_frames(client: TestClient) -> None:
    reader = LiveReader()
    shown: set[str] = set()
    with camera(client) as socket:
        for i, frame in enumerate(read_frames(EXAMPLE, every=4)):
            if frame.image is None:
                continue
            sent = message(frame.time_s, frame.image)
            socket.send_bytes(sent)
            answer = socket.receive_json()
            expected = reader.read(Frame(i // 4, frame.time_s, read_message(sent)[1]))
            for row in [*answer["rows"], *expected]:
                row.pop("frame")
            assert answer["rows"] == json.loads(json.dumps(expected))
            assert answer["sent_s"] == frame.time_s and answer["size_px"] == [480, 360]
            assert answer["took_ms"] > 0 and answer["events"] == [] and not answer["guarding"]
            shown.update(row["expression"] or row["status"] for row in answer["rows"])
    assert {"happiness", "sadness", "no_face"} <= shown


def test_times_grow_even_where_the_sender_s_do_not(client: TestClient, crying: None) -> None:
    with camera(client) as socket:
        times = []
        for stamp in (1.0, 1.1, 1.1, 1.05, 1.3):
            socket.send_bytes(message(stamp))
            times.append(socket.receive_json()["rows"][0]["time_s"])
    assert times == sorted(set(times)) and times[0] == 1.0 and times[-1] == 1.3


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG that says it is so large; only its header is there to be read."""
    good = message(0)[8:]
    at = good.index(b"\xff\xc0") + 5
    return good[:at] + struct.pack(">HH", height, width) + good[at + 4 :]


ODD = {
    "nothing": b"",
    "three bytes": b"abc",
    "no image": struct.pack("<d", 1.0),
    "no JPEG": struct.pack("<d", 1.0) + b"GIF89a" * 20,
    "no header": struct.pack("<d", 1.0) + b"\xff\xd8" + b"\xff" * 50,
    "cut short": message(1.0)[:-200],
    "noise behind the header": message(1.0)[:200] + bytes(range(256)),
    "a time that is none": struct.pack("<d", float("nan")) + message(0)[8:],
    "a time before the begin": struct.pack("<d", -1.0) + message(0)[8:],
    "a bomb": struct.pack("<d", 1.0) + jpeg_of(65500, 65500),
    "no width": struct.pack("<d", 1.0) + jpeg_of(0, 48),
    "too large": message(1.0) + bytes(LARGEST_MESSAGE),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_bytes_get_a_sentence_and_the_server_lives(client: TestClient, name: str) -> None:
    with camera(client) as socket:
        socket.send_bytes(ODD[name])
        failed = socket.receive_json()
        assert failed["kind"] == "failed" and failed["error"].endswith(".")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1007 and closed.value.reason == failed["error"]
    with camera(client) as socket:
        socket.send_bytes(message(0))
        assert socket.receive_json()["rows"][0]["status"] == "no_face"


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(MediaError, match="1 to 1920 pixels"):
        read_message(ODD["a bomb"])


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"do": ' + '"x" }' + " " * 20_000])
def test_text_that_is_no_wish_ends_the_socket(client: TestClient, text: str) -> None:
    with camera(client) as socket:
        socket.send_text(text)
        assert socket.receive_json()["error"] == "The message must be an image or a JSON object."
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_a_second_page_is_told_why_it_must_wait(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "_WAIT_S", 0.05)
    with camera(client) as first:
        with (
            client.websocket_connect(LIVE, headers=BEARER) as second,
            pytest.raises(WebSocketDisconnect) as closed,
        ):
            second.receive_json()
        assert closed.value.code == 1013 and "Another page uses the camera" in closed.value.reason
        first.send_bytes(message(0))
        assert first.receive_json()["kind"] == "rows"
    with camera(client):
        pass  # free again


def test_a_reader_that_breaks_is_said_without_internals(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, crying: None
) -> None:
    monkeypatch.setattr(CryingReader, "read", lambda *_: 1 / 0)
    # The server's own trace goes to the terminal; it reaches the test's client only sometimes.
    with contextlib.suppress(ZeroDivisionError), camera(client) as socket:
        socket.send_bytes(message(0))
        assert (
            socket.receive_json()["error"]
            == "An internal error occurred. The terminal shows the details."
        )
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
