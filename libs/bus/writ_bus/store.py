"""Bytes by key with an age, in a stream that keeps the last message of each subject (per-message TTL, NATS ADR-43)."""

import asyncio
from math import ceil

from writ_bus import tracing
from writ_bus.connection import Connection
from writ_bus.errors import TimedOut, Unreachable
from writ_bus.grammar import check_subject
from writ_bus.jetstream import call, direct_get_last, stored
from writ_bus.patience import backoff
from writ_bus.replies import Replies

ANSWER = 5.0
PATIENCE = 10.0


class NatsStore:
    """The Store port; a key `a.b` is the subject `<prefix>.a.b`."""

    def __init__(self, connection: Connection, replies: Replies, stream: str, prefix: str) -> None:
        self._connection = connection
        self._replies = replies
        self._stream = stream
        self._prefix = prefix

    async def put(self, key: str, data: bytes, *, ttl: float) -> None:
        """See Store."""
        subject = self._subject(key)
        give_up = asyncio.get_running_loop().time() + PATIENCE
        headers = tracing.outgoing({"Nats-TTL": f"{max(1, ceil(ttl))}s"})
        for pause in backoff():
            try:
                stored(await self._replies.one(subject, data, timeout=ANSWER, headers=headers), f"put {key}")
            except (Unreachable, TimedOut):  # putting the same once more does no harm
                if asyncio.get_running_loop().time() > give_up:
                    raise
                await self._connection.wait_up(pause)
            else:
                return

    async def get(self, key: str) -> bytes | None:
        """See Store."""
        found = await direct_get_last(self._replies, self._stream, self._subject(key), ANSWER)
        return None if found is None else found.data

    async def delete(self, key: str) -> None:
        """See Store."""
        await call(self._replies, f"STREAM.PURGE.{self._stream}", {"filter": self._subject(key)}, timeout=ANSWER)

    def _subject(self, key: str) -> str:
        return check_subject(f"{self._prefix}.{key}")
