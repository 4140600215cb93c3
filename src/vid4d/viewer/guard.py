"""Access to a page: for the machine's own browser, or whoever has the address with its token."""

from __future__ import annotations

import hmac
import http
import ipaddress
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vid4d.viewer.client import mend

COOKIE = "vid4d_token"
REFUSED = "This page can be opened only at the address that `vid4d view` has printed.\n"
_serving = threading.Lock()


@dataclass(frozen=True)
class Guard:
    """Checks requests. token: what they must have, in the address or as a cookie; None for loopback.

    Without a token, a request must name this machine in its Host, so that no page can come here by a name of
    its own (DNS rebinding). With and without, a request from a page must come from a page of the same place.
    """

    token: str | None = None

    @classmethod
    def for_host(cls, local: bool) -> Guard:
        """The guard of a viewer that listens on this machine alone, or beyond it."""
        return cls(None if local else secrets.token_urlsafe(16))

    @property
    def query(self) -> str:
        """End of the address, with the token where there is one."""
        return f"/?token={self.token}" if self.token else ""

    @property
    def cookie(self) -> str | None:
        """Set by pages, for all that they ask for afterwards, on any port of the machine."""
        return f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict" if self.token else None

    def allows(self, path: str, host: str | None, origin: str | None, cookies: str | None) -> bool:
        """True for a request that is answered. path: with its query; the rest are headers or None."""
        address = _place(f"//{host or ''}")
        if address is None or (origin is not None and _place(origin) != address):
            return False
        if self.token is None:
            return _is_loopback(address[0])
        return any(hmac.compare_digest(t.encode(), self.token.encode()) for t in _tokens(path, cookies or ""))

    @contextmanager
    def watching(self, title: str) -> Iterator[None]:
        """Puts this guard before the server that viser starts within: viser has no place for one.

        title: of the pages that it serves.
        """
        from websockets.asyncio import server

        original = server.serve

        def serve(*arguments: Any, process_request: Callable[..., Any] | None = None, **options: Any) -> Any:
            return original(*arguments, process_request=self._before(process_request, title), **options)

        with _serving:
            server.serve = serve  # type: ignore[assignment,misc]
            try:
                yield
            finally:
                server.serve = original  # type: ignore[misc]

    def _before(self, answer: Callable[..., Any] | None, title: str) -> Callable[..., Any]:
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        def process(connection: Any, request: Any) -> Any:
            got = {name: request.headers.get_all(name) for name in ("Host", "Origin", "Cookie")}
            once = {name: values[0] if len(values) == 1 else None for name, values in got.items()}
            doubled = any(len(values) > 1 for values in got.values())
            if doubled or not self.allows(request.path, once["Host"], once["Origin"], once["Cookie"]):
                plain = {"Content-Type": "text/plain", "Content-Length": str(len(REFUSED))}
                return Response(http.HTTPStatus.FORBIDDEN, "Forbidden", Headers(plain), REFUSED.encode())
            response = None if answer is None else answer(connection, request)
            mend(response, title)
            if response is not None and self.cookie is not None:
                response.headers["Set-Cookie"] = self.cookie
                response.headers["Referrer-Policy"] = "no-referrer"
            return response

        return process


def _place(address: str) -> tuple[str, int] | None:
    """Name and port of an address; None where it has none."""
    try:
        parts = urlsplit(address)
        if parts.hostname is None or parts.username is not None:
            return None
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _tokens(path: str, cookies: str) -> list[str]:
    tokens = parse_qs(urlsplit(path).query).get("token", [])
    try:
        cookie = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        cookie = None
    return tokens if cookie is None else [*tokens, cookie.value]
