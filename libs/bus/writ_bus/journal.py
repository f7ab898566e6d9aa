"""The journal on JetStream: appends that hold the lock, and what to do when an answer does not come.

Every append says which sequence it saw last (`cas_headers`, the one place that builds this). There is no Nats-Msg-Id:
together with an expected sequence it means one thing on one server and another on three. After an answer that got
lost, or that says the sequence is wrong, the event's own id in the journal tells whether it was stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.nuid import NUID

from writ_bus import tracing
from writ_bus.connection import Connection
from writ_bus.errors import Conflict, TimedOut, Unreachable
from writ_bus.grammar import check_filter, check_subject
from writ_bus.jetstream import ask, direct_get, direct_get_batch, stored
from writ_bus.patience import backoff
from writ_bus.port import Entry, Record, Usage
from writ_bus.replies import Replies
from writ_bus.tail import NatsTail

PATIENCE = 10.0
"""How long an append goes on while no stream answers: a cluster elects a new leader in up to 8 s."""
ANSWER = 5.0
USAGE = "writ.api.journal"
"""Where STREAM.INFO of the journal is asked for, in every account that may (see server_config)."""
PAGE = 256


def cas_headers(entry: Entry) -> dict[str, str]:
    """What makes the server refuse the event of a writer who has not seen the latest one."""
    return tracing.outgoing(
        {
            **entry.headers,
            tracing.EVENT_ID: entry.event_id,
            "Nats-Expected-Last-Subject-Sequence": str(entry.expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": entry.filter,
        }
    )


class NatsJournal:
    """The Journal port on one stream."""

    def __init__(self, connection: Connection, replies: Replies, stream: str, subjects: str, republished: str) -> None:
        self._connection = connection
        self._replies = replies
        self._stream = stream
        self._subjects = subjects
        self._republished = republished
        self._batch_ids = NUID()

    async def append(self, entry: Entry) -> int:
        """See Journal."""
        check_subject(entry.subject)
        headers = cas_headers(entry)
        return await self._settle(entry, lambda: self._publish(entry, headers))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        """See Journal. Entries that share a filter all expect the sequence before the batch (NATS ADR-50)."""
        for entry in entries:
            check_subject(entry.subject)
        if len(entries) == 1:
            return await self.append(entries[0])
        return await self._settle(entries[-1], lambda: self._publish_together(entries))

    async def _publish(self, entry: Entry, headers: dict[str, str]) -> int:
        return self._stored(await self._replies.one(entry.subject, entry.data, timeout=ANSWER, headers=headers))

    async def _publish_together(self, entries: Sequence[Entry]) -> int:
        # The server checks and stores everything at the commit, so that one answer is enough; see ADR-50.
        batch = self._batch_ids.next().decode()
        *before, last = [(entry, cas_headers(entry)) for entry in entries]
        for number, (entry, headers) in enumerate(before, 1):
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await self._connection.publish(entry.subject, entry.data, headers=headers)
        entry, headers = last
        headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(entries)), "Nats-Batch-Commit": "1"}
        return await self._publish(entry, headers)

    def _stored(self, message: Msg) -> int:
        return stored(message, "append")

    async def _settle(self, entry: Entry, publish: Callable[[], Awaitable[int]]) -> int:
        """Publish until it is known whether the event is stored. Publishing again is safe: the sequence guards it."""
        give_up = asyncio.get_running_loop().time() + PATIENCE
        ambiguous = False
        for pause in backoff():
            try:
                return await publish()
            except Conflict as conflict:
                return await self._own_or_raise(entry, conflict, looks=6 if ambiguous else 1)
            except Unreachable as error:
                if asyncio.get_running_loop().time() > give_up:
                    if ambiguous:  # what an earlier try sent may still be stored
                        raise TimedOut(f"whether {entry.subject} was stored is not known: {error}") from error
                    raise
            except TimedOut:
                ambiguous = True
                if (sequence := await self._find(entry)) is not None:
                    return sequence
                if asyncio.get_running_loop().time() > give_up:
                    raise
            await self._connection.wait_up(pause)
        raise AssertionError("backoff never ends")

    async def _own_or_raise(self, entry: Entry, conflict: Conflict, looks: int) -> int:
        """Ours after all, or raise the conflict. After a lost answer look often: a replica may lag."""
        for pause in backoff(looks):
            if (sequence := await self._find(entry, conflict)) is not None:
                return sequence
            if looks > 1:
                await asyncio.sleep(pause)
        raise conflict

    async def _find(self, entry: Entry, cause: Conflict | None = None) -> int | None:
        """The sequence of our event, if it is stored. Raises Conflict if another's is there instead."""
        events = await self._read_patiently(entry)
        for event in events:
            if event.headers.get(tracing.EVENT_ID) == entry.event_id:
                return event.sequence
        if events:
            last = events[-1].sequence
            raise Conflict(f"{entry.filter} is at {last}, not at {entry.expected}", last=last) from cause
        return None

    async def _read_patiently(self, entry: Entry) -> list[Record]:
        give_up = asyncio.get_running_loop().time() + PATIENCE
        for pause in backoff():
            try:
                return await self.read(entry.filter, after=entry.expected)
            except (Unreachable, TimedOut) as error:
                if asyncio.get_running_loop().time() > give_up:
                    raise TimedOut(f"whether {entry.subject} was stored is not known: {error}") from error
            await self._connection.wait_up(pause)
        raise AssertionError("backoff never ends")

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """See Journal."""
        check_filter(filter)
        found: list[Record] = []
        more = limit is None or limit > 0
        while more:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            page, more = await self._page(filter, after, size)
            found += page
            after = page[-1].sequence if page else after
            more = more and bool(page) and (limit is None or len(found) < limit)
        return found

    async def _page(self, filter: str, after: int, size: int) -> tuple[list[Record], bool]:
        request = {"batch": size, "seq": after + 1, "next_by_subj": filter}
        return await direct_get_batch(self._replies, self._stream, request, ANSWER)

    async def last(self, filter: str) -> Record | None:
        """See Journal."""
        request = {"last_by_subj": check_filter(filter)}
        return await direct_get(self._replies, self._stream, request, ANSWER)

    def tail(self, after: int) -> NatsTail:
        """See Journal."""
        return NatsTail(self._connection, self._page, self._subjects, self._republished, after)

    async def usage(self) -> Usage:
        """See Journal."""
        info = await ask(self._replies, USAGE, {})
        state = info["state"]
        return Usage(state["bytes"], info["config"]["max_bytes"], state["last_seq"], state["messages"])
