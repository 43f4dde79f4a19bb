"""A real `moppet serve` for tests: its process, its address, and what it printed."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

SERVE = "from moppet.commands.main import main; main()"


class Server:
    """A running server. printed: its output on the terminal, both streams."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, address: str, log: Path):
        self.process, self.port, self.address, self._log = process, port, address, log
        self.origin = f"http://127.0.0.1:{port}"

    @property
    def token(self) -> str:
        """The token of the address that was printed last: an earlier one was used."""
        *_, last = re.findall(r"\?token=(\S+)", self.printed)
        return str(last)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers in lower case, and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Authorization": f"Bearer {self.token}", **headers}
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()
        finally:
            connection.close()

    @property
    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serving(
    work: Path, *arguments: str, program: Sequence[str] = (sys.executable, "-c", SERVE)
) -> Iterator[Server]:
    """Start a server of a workspace, and end it.

    program: a Python program that takes the arguments of the command line.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = work.with_name(f"{work.name}.log")
    file: IO[bytes]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*program, "serve", "--port", str(port), "--workspace", str(work), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            umask=0o022,
        )
    end = time.monotonic() + 60
    while not (address := next(iter(log.read_text().splitlines()), "")).startswith("http://"):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    server = Server(process, port, address, log)
    try:
        while True:
            with suppress(OSError):
                server.ask("GET", "/api/jobs")
                break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
