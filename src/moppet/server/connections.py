"""Connections of the server: how many there may be, how long each may be silent, what is logged.

Any program on this machine can open sockets, also without the token. So that they cannot use up
the server's open files, the number of connections is limited, a new one takes the place of an idle
one, and those that send no complete request are closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, ClassVar, Final

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from moppet.server.live_api import LARGEST_MESSAGE

LONGEST_HEADER_S: Final = 10.0
"""Seconds in which a client must send the header of its request."""
LONGEST_PAUSE_S: Final = 30.0
"""Seconds without data after which an upload counts as broken off."""
_CHECK_S: Final = 1.0
_MOST: Final = 256
_LEAST: Final = 16
_FILES_BESIDES: Final = 96
"""Open files that remain for the queue, its worker, and the files being sent."""
_BACKLOG: Final = 32
"""asyncio accepts so many connections in one go, before any of them can be refused."""
_LOG_EVERY_S: Final = 60.0


def allow_files() -> int:
    """Raise this process's limit of open files as far as allowed; return the most connections."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(_LEAST, min(_MOST, (soft - _FILES_BESIDES) // 2))


class LimitedConnection(H11Protocol):
    """A connection that may not be silent for long; the oldest idle one gives way to a new one."""

    most: ClassVar[int] = _MOST
    """The most connections at a time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection; if there are too many, close an idle one."""
        super().connection_made(transport)
        self._idle_since = self._heard = self.loop.time()
        self._timer = self.loop.call_later(_CHECK_S, self._check)
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Note the time at which the client sent something."""
        self._heard = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note the time from which the next request may come."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch the connection."""
        self._timer.cancel()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        """Close the oldest idle connection, first among those that never sent a request."""
        others = [one for one in self.connections if isinstance(one, LimitedConnection)]
        idle = [one for one in others if one is not self and one.is_idle]
        oldest = min(idle, key=lambda one: (one.cycle is not None, one._idle_since), default=self)
        self.connections.discard(oldest)
        oldest.transport.abort()

    def _check(self) -> None:
        """Close the connection if its client was silent for too long; else check again later."""
        if self not in self.connections or self.transport.is_closing():
            return  # closed, or now a WebSocket
        now = self.loop.time()
        if self.is_idle:
            silent = now - self._idle_since > LONGEST_HEADER_S
        else:
            waits = self.cycle.more_body and not self.flow.read_paused
            silent = waits and now - self._heard > LONGEST_PAUSE_S
        if silent:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(_CHECK_S, self._check)


class _RareRecords(logging.Filter):
    """Lets each message pass once in a while, and prints that there is no file left as one line."""

    def __init__(self) -> None:
        super().__init__()
        self._printed: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is printed."""
        if "out of system resource" in record.getMessage():
            record.msg, record.args, record.exc_info = (
                "moppet: no further connection can be opened: too many files are open.",
                (),
                None,
            )
        key = (record.name, record.msg, record.exc_info and str(record.exc_info[1]))
        now = time.monotonic()
        if now - self._printed.get(key, -_LOG_EVERY_S) < _LOG_EVERY_S:
            return False
        if len(self._printed) > 100:
            self._printed.clear()
        self._printed[key] = now
        return True


def server_config(site: Any) -> Config:
    """Return uvicorn's settings: limited connections, and each message once a minute at most."""
    connection = type("_Connection", (LimitedConnection,), {"most": allow_files()})
    config = Config(
        site,
        http=connection,
        loop="asyncio",
        backlog=_BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=2 * LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # images do not get smaller
    )
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(_RareRecords())
    return config
