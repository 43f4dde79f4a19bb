"""Access control: only pages on this machine that were opened with the token are answered."""

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
"""Bytes of a request that is not an upload."""
_PLOTLY_STYLE: Final = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Hash of the empty style element that plotly creates and then fills."""
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


class SecurityMiddleware:
    """ASGI middleware that checks requests, limits their size and adds security headers.

    token: part of the printed address, and later of the cookie. port: the server's port.
    largest_upload: bytes of a request below /api/upload.

    It refuses: a Host other than this machine (DNS rebinding); a foreign Origin; a change without
    an Origin and without the token as a bearer; a request without the token; a body that is
    larger than allowed or than its header claims.
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
            await self._forward(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str]:
        """Return a status and the reason; (0, "") if allowed, 303 for the first opening."""
        if headers.get("host", "") not in self.hosts:
            return 403, "This server answers only under the name of this machine (localhost)."
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            return 403, "Requests from other pages are refused."
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and origin is None and not self._is_token(bearer):
            return 403, "A change needs the Origin of this page, or the token as a bearer."
        if self._is_token(bearer) or self._is_token(_cookie_of(headers.get("cookie", ""))):
            return self._too_large(scope, headers)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if not changes and scope["path"] == "/" and self._is_token(query.pop("token", [""])[0]):
            rest = urlencode(query, doseq=True)
            return 303, f"/?{rest}" if rest else "/"
        return 401, "Open the address that `moppet serve` printed: it contains the token."

    def _too_large(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str]:
        claimed = headers.get("content-length", "0")
        if not claimed.isdecimal() or int(claimed) > self._largest(scope):
            return 413, f"A request here may have at most {self._largest(scope):,} bytes."
        return 0, ""

    def _largest(self, scope: Scope) -> int:
        return self.largest_upload if scope["path"].startswith("/api/upload") else LARGEST_JSON

    def _is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())

    def _cookie(self) -> str:
        return f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._largest(scope)

        async def limited_receive() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if left < 0:  # more than the header claimed
                return {"type": "http.disconnect"}
            return message

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {k.lower() for k, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in _HEADERS.items()
                        if k.encode() not in present
                    ),
                ]
            await send(message)

        http = scope["type"] == "http"
        await self.app(
            scope, limited_receive if http else receive, send_with_headers if http else send
        )


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
