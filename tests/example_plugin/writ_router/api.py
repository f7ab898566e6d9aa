"""The router's HTTP API, known to this module alone.

A request that was not sent has no effect (Unreachable). A request without an answer may have one (TimedOut).
"""

import asyncio
import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

from writ_contracts.errors import Denied, Invalid, TimedOut, Unreachable

SECONDS = 5.0
MOST_BYTES = 1_000_000
"""The largest reply that is read."""


class RouterApi:
    """One router. Each call is a connection of its own, in a thread."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"connection.url is {url!r}, not http://HOST or https://HOST", code="invalid_connection")
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._token = parts.hostname, parts.port, token

    async def call(self, method: str, *path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the reply. Raises Unreachable, Denied or Invalid without an effect, TimedOut for an unknown one."""
        return await asyncio.to_thread(self._call, method, "/" + "/".join(quote(part, safe="") for part in path), body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with closing(self._make(self._host, self._port, timeout=SECONDS)) as connection:
            try:
                connection.connect()
            except OSError as error:
                raise Unreachable(f"router {self._host}: {error}") from error
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            try:
                connection.request(method, path, json.dumps(body) if body is not None else None, headers)
                reply = connection.getresponse()
                data = reply.read(MOST_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise TimedOut(f"router {self._host} did not answer: {type(error).__name__}") from error
        return _read(reply.status, data)


def _read(status: int, data: bytes) -> Any:
    """Return the content of a reply. An unreadable reply leaves the effect unknown."""
    try:
        content = json.loads(data)
    except ValueError as error:
        raise TimedOut(f"the router's reply ({status}) is no JSON") from error
    if status < 300:
        return content
    message = str(content.get("error", "") if isinstance(content, dict) else "")[:200]
    if status in (401, 403):
        raise Denied(f"the router refuses the token: {message}", code="permission_denied")
    if status < 500:
        raise Invalid(f"the router refuses it: {message}", code="invalid_parameters")
    raise TimedOut(f"the router failed ({status}): {message}")
