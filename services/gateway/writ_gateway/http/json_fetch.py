"""One small JSON document from an authorization server, over HTTPS (or HTTP on loopback), without redirects."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit

from writ_contracts.errors import Unreachable

FETCH_SECONDS = 5
LARGEST = 1_000_000
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect, since only the configured address is trusted. urllib raises the status then."""


def is_safe(address: str) -> bool:
    """Return whether the address is https, or http on loopback."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


async def get(address: str) -> Any:
    """Return the document at the address. Raises Unreachable."""
    return await asyncio.to_thread(_json, urllib.request.Request(address))  # noqa: S310 - configured, and checked


async def post(address: str, form: Mapping[str, str], client: str, secret: str) -> Any:
    """Send a form with HTTP Basic authentication (RFC 6749 §2.3.1), and return the reply."""
    pair = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}", "Accept": "application/json"}
    request = urllib.request.Request(address, urlencode(form).encode(), headers)  # noqa: S310 - as above
    return await asyncio.to_thread(_json, request)


def _json(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=FETCH_SECONDS) as reply:
            data = reply.read(LARGEST + 1)
        return json.loads(data) if len(data) <= LARGEST else None
    except HTTPError as error:
        raise Unreachable(f"{request.full_url} answers {error.code}") from error
    except (OSError, ValueError) as error:
        raise Unreachable(f"{request.full_url}: {error}") from error
