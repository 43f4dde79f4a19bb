"""Access control: only pages on this machine that were opened with the token are answered."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
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


class OpeningCodes:
    """Codes that open the page once each: the code of an address is exchanged for the cookie.

    A browser's address can be seen in the list of processes, and stays in its history. The printed
    code is also a bearer token for programs, until it has opened the page.
    first: the code of the printed address. on_used: called when it, or the code that followed it,
    was used, with a new code that takes its place.
    """

    def __init__(self, first: str, on_used: Callable[[str], None] = lambda _: None) -> None:
        self._printed, self._on_used = first, on_used
        self._others: set[str] = set()
        self._lock = threading.Lock()

    def new(self) -> str:
        """Return a further code, for a browser that is opened without printing the address."""
        code = secrets.token_urlsafe(24)
        self._others.add(code)
        return code

    def is_printed(self, given: str) -> bool:
        """Return whether this is the code that was printed last, which is unused."""
        return _same(self._printed, given)

    def use(self, given: str) -> bool:
        """Return whether this is an unused code; it is used from now on."""
        with self._lock:
            found = [code for code in (self._printed, *self._others) if _same(code, given)]
            if not found:
                return False
            if found[0] != self._printed:
                self._others.discard(found[0])
                return True
            self._printed = secrets.token_urlsafe(24)
            self._on_used(self._printed)
            return True


def _same(one: str, other: str) -> bool:
    """Return whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


class SecurityMiddleware:
    """ASGI middleware that checks requests, limits their size and adds security headers.

    token: the value of the cookie, which is never printed, and a bearer token. port: the server's
    port. largest_upload: bytes of a request below /api/upload. codes: what opens the page; by
    default the token, once.

    It refuses: a Host other than this machine (DNS rebinding); a foreign Origin; a change without
    an Origin and without the token as a bearer; a request without the token; a body that is
    larger than allowed or than its header claims.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        port: int,
        largest_upload: int,
        codes: OpeningCodes | None = None,
    ) -> None:
        self.app, self.token = app, token
        self.codes = codes or OpeningCodes(token)
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
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.url.path != "/":
            return 403, "Requests from other pages are refused."
        word = headers.get("authorization", "").removeprefix("Bearer ")
        bearer = self._is_token(word) or self.codes.is_printed(word)
        reads = request.scope.get("method") in ("GET", "HEAD")
        if not reads and origin is None and not bearer:
            return 403, "A change needs the Origin of this page, or the token as a bearer."
        if not bearer and not self._is_token(request.cookies.get(COOKIE, "")):
            rest = request.url.remove_query_params("token").query
            given = request.query_params.get("token", "")
            if reads and request.url.path == "/" and given and self.codes.use(given):
                return 303, f"/?{rest}" if rest else "/"
            return 401, "Open the address that `moppet serve` printed last: each works once."
        claimed, largest = headers.get("content-length", "0"), self._largest(request.scope)
        if not claimed.isdecimal() or len(claimed) > 18 or int(claimed) > largest:
            return 413, f"A request here may have at most {largest:,} bytes."
        return 0, ""

    def _largest(self, scope: Scope) -> int:
        return self.largest_upload if scope["path"].startswith("/api/upload") else LARGEST_JSON

    def _is_token(self, word: str) -> bool:
        return _same(word, self.token)

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
