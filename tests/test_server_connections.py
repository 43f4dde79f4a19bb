"""Sockets that say nothing, say it slowly or in great number do not stop the page."""

from __future__ import annotations

import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moppet.server import connections
from serving import SERVE, Server, serving

FILES = 128
LIMITED = (
    f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES})); "
    "from moppet.server import connections as c; c.LONGEST_HEADER_S = 1.0; "
    "c.LONGEST_PAUSE_S = 1.0; c._CHECK_S = 0.1; "
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connections") / "work"


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Server]:
    """A server that may open 128 files, and waits 1 s for a silent client."""
    program = (sys.executable, "-c", LIMITED + SERVE)
    with serving(work, "--no-browser", program=program) as server:
        yield server


def opened(server: Server, count: int, data: bytes) -> list[socket.socket]:
    found = []
    for _ in range(count):
        with suppress(OSError):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            found.append(one)
            one.sendall(data)
    return found


def closed(sockets: list[socket.socket]) -> int:
    """How many of them the server has closed."""
    count = 0
    for one in sockets:
        one.setblocking(False)
        try:
            count += one.recv(1) == b""
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-a: "])
def test_idle_sockets_do_not_stop_the_page(server: Server, data: bytes) -> None:
    sockets = opened(server, 300, data)
    for _ in range(5):
        begun = time.monotonic()
        assert server.ask("GET", "/api/jobs")[0] == 200
        assert time.monotonic() - begun < 5
    end = time.monotonic() + 60
    while (left := len(sockets) - closed(sockets)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left, f"{left} of {len(sockets)} silent sockets are still open"
    assert server.ask("GET", "/api/jobs")[0] == 200
    assert "Traceback" not in server.printed and len(server.printed) < 2000, server.printed
    for one in sockets:
        one.close()


def test_a_header_that_drips_is_cut_off(server: Server) -> None:
    (slow,) = opened(server, 1, b"GET / HTTP/1.1\r\nX-a: ")
    end = time.monotonic() + 60
    while not closed([slow]):
        assert time.monotonic() < end
        with suppress(OSError):
            slow.sendall(b"b")
        time.sleep(0.2)


def test_an_upload_that_stalls_is_cut_off_and_leaves_nothing(server: Server, work: Path) -> None:
    head = (
        f"PUT /api/uploads/slow.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: 100000\r\n\r\n"
    ).encode()
    (slow,) = opened(server, 1, head + b"x" * 1000)
    part = work / "recordings" / "slow.mp4.part"
    end = time.monotonic() + 60
    while not part.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    while part.exists():
        assert time.monotonic() < end
        time.sleep(0.2)
    assert closed([slow])


def test_damaged_requests_fill_no_terminal(server: Server) -> None:
    for _ in range(200):
        for one in opened(server, 1, b"\0\1\2 not HTTP\r\n\r\n"):
            one.close()
    assert server.ask("GET", "/api/jobs")[0] == 200
    assert server.printed.count("Invalid HTTP request") <= 1


def test_the_limit_of_connections_follows_that_of_open_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    for soft, hard, most in ((64, 64, 16), (128, 128, 16), (300, 300, 102), (1024, 4096, 256)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=(soft, hard): limits)
        assert connections.allow_files() == most
    assert given == [(4096, 4096)]
