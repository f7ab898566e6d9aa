"""Bytes by key with an age, in a stream which keeps the last message of each subject (per-message TTL, NATS ADR-43)."""

from contextlib import suppress
from math import ceil

from writ_bus import tracing
from writ_bus.backoff import patiently
from writ_bus.errors import Conflict, Unreachable
from writ_bus.grammar import check_subject
from writ_bus.nats.connection import NatsConnection
from writ_bus.nats.jetstream import call_subject, direct_get_last, leader_get, purge_of, stored
from writ_bus.nats.replies import Replies
from writ_contracts.history.records import Record

ANSWER = 5.0


class NatsStore:
    """The Store port; a key `a.b` is the subject `<prefix>.a.b`."""

    def __init__(self, connection: NatsConnection, replies: Replies, stream: str, prefix: str) -> None:
        self._connection = connection
        self._replies = replies
        self._stream = stream
        self._prefix = prefix

    async def put(self, key: str, data: bytes, *, ttl: float, only_new: bool = False) -> int:
        return await self._put(key, data, ttl, 0 if only_new else None)

    async def renew(self, key: str, *, ttl: float) -> None:
        found = await self._found(key)
        if found is not None:
            with suppress(Conflict):  # it was deleted or replaced since it was read
                await self._put(key, found.data, ttl, found.sequence)

    async def _put(self, key: str, data: bytes, ttl: float, expected: int | None) -> int:
        """Store it. With `expected`, raises Conflict unless this is the present version; 0 stands for no value."""
        condition = {} if expected is None else {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        subject, headers = self._subject(key), tracing.outgoing({"Nats-TTL": f"{max(1, ceil(ttl))}s", **condition})
        attempts = 0

        async def attempt() -> int:
            nonlocal attempts
            attempts += 1
            try:
                return stored(await self._replies.one(subject, data, timeout=ANSWER, headers=headers), f"put {key}")
            except Conflict:
                if attempts > 1 and (version := await self._version_of(subject, data)) is not None:
                    return version
                raise

        return await patiently(attempt, self._connection.wait_up)

    async def _version_of(self, subject: str, data: bytes) -> int | None:
        """Return the version of this very value, which was stored by an attempt without an answer; None for another."""
        found = await leader_get(self._replies, self._stream, {"last_by_subj": subject}, ANSWER)
        return found.sequence if found is not None and found.data == data else None

    async def get(self, key: str) -> bytes | None:
        found = await self._found(key)
        return None if found is None else found.data

    async def version(self, key: str) -> int:
        found = await leader_get(self._replies, self._stream, {"last_by_subj": self._subject(key)}, ANSWER)
        return 0 if found is None else found.sequence

    async def _found(self, key: str) -> Record | None:
        try:
            found = await direct_get_last(self._replies, self._stream, self._subject(key), ANSWER)
        except Unreachable:  # no copy of a new stream answers yet
            if not self._connection.clustered:
                raise
            found = None
        if found is None and self._connection.clustered:  # or the copy that answered does not have it yet
            found = await leader_get(self._replies, self._stream, {"last_by_subj": self._subject(key)}, ANSWER)
        return found

    async def delete(self, key: str, *, version: int | None = None) -> None:
        purged: dict[str, object] = {"filter": self._subject(key)}
        if version is not None:
            purged["seq"] = version + 1  # the server purges what is before it

        async def attempt() -> None:
            await call_subject(self._replies, purge_of(self._stream), purged, timeout=ANSWER)

        await patiently(attempt, self._connection.wait_up)

    def _subject(self, key: str) -> str:
        return check_subject(f"{self._prefix}.{key}")
