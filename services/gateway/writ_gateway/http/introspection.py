"""Introspection of tokens by the authorization server (RFC 7662): of opaque ones, and of revoked ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from writ_bus import tasks
from writ_contracts.errors import Unreachable
from writ_gateway.http import json_fetch
from writ_runtime.buckets import Bucket

KEPT_SECONDS = 5.0
"""So long an answer counts: a revoked token ends after it."""
MOST_KEPT = 10_000
RATE, BURST, AT_ONCE = 20.0, 100.0, 8
"""Questions a second about tokens that were not active before: a flood of invented ones must not become one at the
authorization server.
"""


class IntrospectionEndpoint(Struct, frozen=True, kw_only=True):
    """The address of the endpoint, and this gateway's own credentials there."""

    address: str
    client: str
    secret: str


class IntrospectedTokens:
    """Answers by token, kept for five seconds."""

    def __init__(
        self,
        at: IntrospectionEndpoint,
        ask: Callable[[str, Mapping[str, str], str, str], Awaitable[Any]] = json_fetch.post,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at = at
        self._request = ask
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self._rate = Bucket(RATE, BURST, BURST, clock())
        self._asking = {is_active: asyncio.Semaphore(AT_ONCE) for is_active in (False, True)}
        """By whether the token was active: questions about invented ones hold up no others."""
        self._under_way: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        """By digest of the token: many requests of one client come at once, and need one question."""

    async def claims(self, token: str) -> dict[str, Any] | None:
        """Return the server's claims of an active token; None for any other. Raises Unreachable."""
        digest = sha256(token.encode()).hexdigest()
        until, known = self._known.get(digest, (0.0, None))
        if self._clock() < until:
            return known
        question = self._under_way.get(digest)
        if question is None:
            if known is None and not self._rate.take(self._clock()):
                raise Unreachable("too many tokens need introspection at once: retry later")
            question = self._under_way[digest] = tasks.start(self._introspect(digest, token, known), "introspection")
            question.add_done_callback(lambda ended: self._end(digest, ended))
        return await asyncio.shield(question)

    async def _introspect(self, digest: str, token: str, known: dict[str, Any] | None) -> dict[str, Any] | None:
        async with self._asking[known is not None]:
            form = {"token": token, "token_type_hint": "access_token"}
            answer = await self._request(self._at.address, form, self._at.client, self._at.secret)
        found = answer if isinstance(answer, dict) and answer.get("active") is True else None
        if len(self._known) >= MOST_KEPT:
            active = {one: answer for one, answer in self._known.items() if answer[1] is not None}
            self._known = active if len(active) < MOST_KEPT else {}
        self._known[digest] = (self._clock() + KEPT_SECONDS, found)
        return found

    def _end(self, digest: str, question: asyncio.Task[dict[str, Any] | None]) -> None:
        del self._under_way[digest]
        if not question.cancelled():
            question.exception()  # retrieved, also where its clients have gone
