"""A hundred tabs at once: each is answered, and one of them has the camera."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TABS = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, dict[str, str]]]:
    """A real server's port, and the headers that its page sends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    work: Path = tmp_path_factory.mktemp("work")
    command = [sys.executable, "-c", "from moppet.commands.main import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--port", str(port), "--workspace", str(work)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    (token,) = parse_qs(urlsplit(process.stdout.readline().strip()).query)["token"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/?token={token}")  # at once: it waits until the server is ready
    cookie = str(connection.getresponse().headers["set-cookie"]).split(";")[0]
    yield port, {"Cookie": cookie, "Origin": f"http://127.0.0.1:{port}"}
    process.terminate()
    assert process.wait(timeout=20) in (0, -15)


def test_a_hundred_tabs_are_answered_at_once(server: tuple[int, dict[str, str]]) -> None:
    port, headers = server
    opened = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(TABS)]
    for connection in opened:
        connection.connect()  # all stay open together, as tabs do

    def use(connection: http.client.HTTPConnection) -> list[int]:
        found = []
        for path in ("/", "/static/recordings.js", "/api/jobs", "/review", "/api/jobs"):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            found.append(answer.status)
            assert path != "/api/jobs" or json.loads(body) == []
        return found

    with ThreadPoolExecutor(TABS) as pool:
        answers = list(pool.map(use, opened))
    for connection in opened:
        connection.close()
    assert Counter(status for found in answers for status in found) == {200: 5 * TABS}


def test_of_a_hundred_tabs_one_has_the_camera_and_the_others_are_told(
    server: tuple[int, dict[str, str]],
) -> None:
    port, headers = server
    more = {name: value for name, value in headers.items() if name != "Origin"}
    address = f"ws://127.0.0.1:{port}/api/live"

    def ask(_: int) -> str:
        with connect(address, origin=headers["Origin"], additional_headers=more) as other:  # type: ignore[arg-type]
            try:
                other.recv(timeout=60)
            except ConnectionClosed as closed:
                return f"{closed.rcvd.code if closed.rcvd else None}"
            return "answered"

    with connect(address, origin=headers["Origin"], additional_headers=more) as first:  # type: ignore[arg-type]
        first.send(json.dumps({"do": "end"}))
        first.recv(timeout=60)
        with ThreadPoolExecutor(20) as pool:
            assert Counter(pool.map(ask, range(TABS - 1))) == {"1013": TABS - 1}
        first.send(json.dumps({"do": "end"}))
        assert first.recv(timeout=60)
