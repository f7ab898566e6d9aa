"""Principals of bearer tokens, by the current file of tokens.

The file is read again when it changes, so a revoked token ends with the next request. Lifetimes are days, by this
host's clock.
"""

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_runtime.buckets import Bucket
from writ_runtime.logs import Log

LONGEST = 200
MOST_RATES = 10_000
_log = Log("writ.gateway")


class Tokens:
    """The tokens of one file. Without the file, or with an unreadable one, no token is valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._read_version: tuple[int, int, int] | None = None
        self._known: tuple[GatewayToken, ...] = ()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return the error of reading the file; None without a file, since a gateway may serve OAuth tokens alone."""
        self._current()
        return self._problem

    def find(self, token: str) -> GatewayToken | None:
        """Return the token's entry, or None for an unknown, revoked or expired token."""
        if not token or len(token) > LONGEST:
            return None
        digest = sha256(token.encode()).hexdigest()
        for known in self._current():
            if hmac.compare_digest(known.digest, digest):
                return known if self._clock() < known.expires else None
        return None

    def _current(self) -> tuple[GatewayToken, ...]:
        try:
            stat = self._path.stat()
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if version != self._read_version:
                self._known = tuple(msgspec.json.decode(self._path.read_bytes(), type=GatewayTokens).tokens)
                self._read_version, self._problem = version, None
        except (OSError, msgspec.DecodeError) as error:
            if self._known or self._read_version is not None:
                _log.error("tokens.unreadable", path=str(self._path), error=str(error))
            self._known, self._read_version = (), None
            self._problem = None if isinstance(error, FileNotFoundError) else f"{self._path}: {error}"
        return self._known


class TokenRates:
    """The token bucket of each bearer token with a rate limit."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def take(self, token: GatewayToken, now: float) -> bool:
        """Take one request of the token's rate; return whether there was one. `now`: seconds, of a steady clock."""
        assert token.rate is not None  # noqa: S101 - its caller has a token with a rate
        bucket = self._buckets.get(token.id)
        if bucket is None or bucket.burst != token.rate:
            if len(self._buckets) >= MOST_RATES:
                self._buckets.clear()
            bucket = self._buckets[token.id] = Bucket(token.rate / 60, token.rate, token.rate, now)
        return bucket.take(now)
