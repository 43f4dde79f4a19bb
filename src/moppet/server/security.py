"""Access control: only pages on this machine that were opened with the token are answered."""

from __future__ import annotations

import hmac
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

    def __init__(self, app: ASGIApp, token: str, port: int, largest_upload: int) -> None:
        self.app, self.token = app, token
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = {f"{name}:{port}" for name in names}
        self.origins = {f"http://{host}" for host in self.hosts}
        self.largest_upload = largest_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        app, (status, reason) = self.app, self._refusal(HTTPConnection(scope))
        if scope["type"] == "websocket" and status:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        elif scope["type"] == "websocket":
            await app(scope, receive, send)
        else:
            if status == 303:
                cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                app = RedirectResponse(reason, status, {"set-cookie": cookie})
            elif status:
                app = JSONResponse({"error": reason}, status, {"connection": "close"})
            await app(scope, self._limited(scope, receive), _with_headers(send))

    def _refusal(self, request: HTTPConnection) -> tuple[int, str]:
        """Return a status and the reason; (0, "") if allowed, 303 for the first opening."""
        headers, origin = request.headers, request.headers.get("origin")
        if headers.get("host", "") not in self.hosts:
            return 403, "This server answers only under the name of this machine (localhost)."
        if origin is not None and origin not in self.origins:
            return 403, "Requests from other pages are refused."
        bearer = self._is_token(headers.get("authorization", "").removeprefix("Bearer "))
        reads = request.scope.get("method") in ("GET", "HEAD")
        if not reads and origin is None and not bearer:
            return 403, "A change needs the Origin of this page, or the token as a bearer."
        if not bearer and not self._is_token(request.cookies.get(COOKIE, "")):
            rest = request.url.remove_query_params("token").query
            given = request.query_params.get("token", "")
            if reads and request.url.path == "/" and self._is_token(given):
                return 303, f"/?{rest}" if rest else "/"
            return 401, "Open the address that `moppet serve` printed: it contains the token."
        claimed, largest = headers.get("content-length", "0"), self._largest(request.scope)
        if not claimed.isdecimal() or int(claimed) > largest:
            return 413, f"A request here may have at most {largest:,} bytes."
        return 0, ""

    def _largest(self, scope: Scope) -> int:
        return self.largest_upload if scope["path"].startswith("/api/upload") else LARGEST_JSON

    def _is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        left = self._largest(scope)

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            # more than the header claimed: as if the client had left
            return message if left >= 0 else {"type": "http.disconnect"}

        return limited


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
