"""Who may ask: this machine's own page, opened with its token. Everybody else is refused."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE: Final = "moppet"
LARGEST_JSON: Final = 1_000_000
"""Bytes of a request that is no upload."""
_PLOTLY_STYLE: Final = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Of the empty style element that plotly makes and fills rule by rule."""
POLICY: Final = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_PLOTLY_STYLE}; "
    "img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Gate:
    """Stands before the app; see the module. Also bounds requests and sends the safe headers.

    token: what the opened address carries, and the cookie after it. port: the page's own.
    largest_upload: bytes of a request below /api/upload.

    Refused: another Host than this machine's (a name that was rebound to it), another Origin, a
    change that names no Origin and bears no token of its own, a request without the token, a body
    that is too large, whatever it claims to be.
    """

    def __init__(self, app: App, token: str, port: int, largest_upload: int) -> None:
        self.app, self.token = app, token
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = {f"{name}:{port}" for name in names}
        self.origins = {f"http://{host}" for host in self.hosts}
        self.largest_upload = largest_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        status, reason = self._refusal(scope, headers)
        if status == 303:
            await _answer(send, 303, b"", {"location": reason, "set-cookie": self._cookie()})
        elif status:
            await _refuse(scope, receive, send, status, reason)
        else:
            await self._pass(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str]:
        """Return a status and why, (0, "") for whom may pass, 303 for whom opens the page."""
        if headers.get("host", "") not in self.hosts:
            return 403, "This page answers to this machine's own name only."
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            return 403, "Another page must not ask this one."
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and origin is None and not self._known(bearer):
            return 403, "A change needs its page's Origin, or the token as a bearer."
        if self._known(bearer) or self._known(_cookie_of(headers.get("cookie", ""))):
            return self._too_large(scope, headers)
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        if not changes and scope["path"] == "/" and self._known(asked.pop("token", [""])[0]):
            more = urlencode(asked, doseq=True)
            return 303, f"/?{more}" if more else "/"
        return 401, "Open the address that `moppet serve` printed: it carries the token."

    def _too_large(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str]:
        claimed = headers.get("content-length", "0")
        if not claimed.isdecimal() or int(claimed) > self._largest(scope):
            return 413, f"At most {self._largest(scope):,} bytes are taken here."
        return 0, ""

    def _largest(self, scope: Scope) -> int:
        return self.largest_upload if scope["path"].startswith("/api/upload") else LARGEST_JSON

    def _known(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())

    def _cookie(self) -> str:
        return f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._largest(scope)

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if left < 0:  # more than was claimed
                return {"type": "http.disconnect"}
            return message

        async def safe(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in _HEADERS.items()
                        if k.encode() not in given
                    ),
                ]
            await send(message)

        http = scope["type"] == "http"
        await self.app(scope, bounded if http else receive, safe if http else send)


def _cookie_of(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    body = json.dumps({"error": reason}).encode()
    await _answer(send, status, body, {"content-type": "application/json", "connection": "close"})


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = {**_HEADERS, **headers, "content-length": str(len(body))}
    pairs = [(k.encode(), v.encode()) for k, v in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
