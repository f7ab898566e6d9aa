"""The published keys of an authorization server (RFC 7517), from a file or fetched.

A token names its key by `kid`, which anybody can invent. So an unknown `kid` fetches the keys again only after a
cooldown, and never twice at the same time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import jwt

from writ_contracts.errors import Unreachable
from writ_gateway.http import json_fetch
from writ_runtime.logs import Log

FRESH_SECONDS = 300.0
COOLDOWN_SECONDS = 30.0
KEPT_SECONDS = 3600.0
"""So long keys count that cannot be fetched again."""
_log = Log("writ.gateway")


class KeySet(Protocol):
    """Public keys of an authorization server, by key id."""

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None. Raises Unreachable if the keys cannot be read."""


class FileKeys:
    """The keys of a file, as it is at each use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def key(self, kid: str) -> jwt.PyJWK | None:
        try:
            return by_id(jwt.PyJWKSet.from_json(self._path.read_text())).get(kid)
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise Unreachable(f"{self._path}: {error}") from error


class FetchedKeys:
    """The keys at an address: fetched every five minutes, and for an unknown id at most every 30 seconds."""

    def __init__(
        self,
        address: str,
        fetch: Callable[[str], Awaitable[Any]] = json_fetch.get,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK | None:
        if self._due(kid):
            async with self._fetching:
                if self._due(kid):  # nobody else fetched them meanwhile
                    await self._read()
        if self._read_at is None or self._clock() - self._read_at > KEPT_SECONDS:
            raise Unreachable(f"the keys at {self._address} could not be fetched")
        return self._keys.get(kid)

    def _due(self, kid: str) -> bool:
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < COOLDOWN_SECONDS:
            return False
        return self._read_at is None or kid not in self._keys or now - self._read_at >= FRESH_SECONDS

    async def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = by_id(jwt.PyJWKSet.from_dict(await self._fetch(self._address)))
        except (Unreachable, AttributeError, TypeError, ValueError, jwt.PyJWTError) as error:
            _log.warning("access_token.keys_not_fetched", error=str(error)[:500])
            return
        self._read_at = self._clock()


def by_id(keys: jwt.PyJWKSet) -> dict[str, jwt.PyJWK]:
    """Return the keys with an id, by that id."""
    return {key.key_id: key for key in keys.keys if key.key_id}
