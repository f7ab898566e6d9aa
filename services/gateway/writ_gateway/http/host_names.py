"""ASGI middleware that refuses requests under another host name, and those of web pages of another origin.

A page could have the name of its own server resolved to loopback (DNS rebinding). The SDK compares the beginnings
alone: `127.0.0.1:1.evil.example` passes there, and any port.
"""

import re

from writ_gateway.http.asgi import Application, Receive, Scope, Send, refuse

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PORT = "(:[0-9]{1,5})?"


class HostNames:
    """An ASGI application around another one. Host and origin are those of loopback, or of `public_host` over HTTPS."""

    def __init__(self, inner: Application, public_host: str = "") -> None:
        self._inner = inner
        loopback, public = "|".join(map(re.escape, LOOPBACK)), re.escape(public_host.lower())
        hosts, origins = f"({loopback}){_PORT}", f"http://({loopback}){_PORT}"
        if public_host:
            hosts, origins = f"{hosts}|{public}{_PORT}", f"{origins}|https://{public}{_PORT}"
        self._is_host, self._is_origin = re.compile(hosts).fullmatch, re.compile(origins).fullmatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reply 421 for its host, 403 for its origin."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._is_host(hosts[0]):
            await refuse(send, 421, "misdirected_request", "the Host header does not name this gateway")
        elif not all(map(self._is_origin, filter(None, origins))):
            await refuse(send, 403, "forbidden_origin", "the Origin header names another page than this gateway's")
        else:
            await self._inner(scope, receive, send)


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in scope["headers"] if name == header]
