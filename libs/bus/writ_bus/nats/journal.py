"""The journal on JetStream: appends with an expected sequence, and recovery when a reply does not come.

Every append names the last sequence its writer has read (`cas_headers`, the one place which builds the header). There
is no Nats-Msg-Id: together with an expected sequence its meaning differs between one server and three. After a lost
reply, or a wrong sequence, the writer searches the journal for the event's own id: it is there if it was stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, cast

from nats.aio.msg import Msg
from nats.nuid import NUID

from writ_bus import tracing
from writ_bus.backoff import PATIENCE, patiently, pause_after
from writ_bus.errors import BusError, BusRefused, Conflict, TimedOut, Unreachable
from writ_bus.grammar import check_filter, check_subject
from writ_bus.nats.connection import NatsConnection
from writ_bus.nats.jetstream import STREAM_NOT_FOUND, call_subject, direct_get_batch, leader_get, stored
from writ_bus.nats.replies import Replies
from writ_bus.nats.tail import NatsTail
from writ_bus.port import Entry, Usage
from writ_contracts.history.records import Record

PASSING = (Conflict, Unreachable, TimedOut)
"""Errors after which an append may yet be stored."""
ANSWER = 5.0
LEADER = 1.0
"""Seconds in which a stream's leader has to reply: without a leader nobody does."""
LAG = 0.02
USAGE = "writ.api.journal"
"""Subject for STREAM.INFO of the journal in every permitted account, for STREAM.LIST in that of monitoring (see
writ_nats_server.config).
"""
PAGE = 256
INDEXED = 65_536
"""Subjects of a stream up to which nats-server finds the next match of a wildcard by its index of subjects."""


def cas_headers(entry: Entry) -> dict[str, str]:
    """Return headers by which the server refuses the event of a writer who has not read the latest one."""
    return tracing.outgoing(
        {
            **entry.headers,
            tracing.EVENT_ID: entry.event_id,
            "Nats-Expected-Last-Subject-Sequence": str(entry.expected),
            "Nats-Expected-Last-Subject-Sequence-Subject": entry.filter,
        }
    )


def _expectations(entries: Sequence[Entry]) -> dict[str, int]:
    """Return the expected sequence of each filter before any of the entries is stored."""
    expected: dict[str, int] = {}
    for entry in entries:
        expected.setdefault(entry.filter, entry.expected)
    return expected


class NatsJournal:
    """The Journal port on one stream."""

    def __init__(
        self, connection: NatsConnection, replies: Replies, stream: str, subjects: str, republished: str
    ) -> None:
        self._connection = connection
        self._replies = replies
        self._stream = stream
        self._subjects = subjects
        self._republished = republished
        self._batch_ids = NUID()
        self._has_answered = False
        self._end_seen: int | None = None
        """The journal's last sequence, as last reported. A journal has no more subjects than events."""

    async def append(self, entry: Entry) -> int:
        check_subject(entry.subject)
        headers = cas_headers(entry)
        return await self._settle([entry], lambda: self._publish(entry, headers))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        """Store all entries or none. Entries with the same filter all expect the sequence before the batch (NATS
        ADR-50).
        """
        for entry in entries:
            check_subject(entry.subject)
        if len(entries) == 1:
            return await self.append(entries[0])
        return await self._settle(entries, lambda: self._publish_together(entries))

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
        self._end_seen = stored(message, "append")
        return self._end_seen

    async def _settle(self, entries: Sequence[Entry], publish: Callable[[], Awaitable[int]]) -> int:
        """Publish until it is known whether they are stored. Publishing again is safe: the sequence guards it."""
        give_up = monotonic() + PATIENCE
        ambiguous = False
        for turn in count():
            late = monotonic() > give_up
            try:
                return await publish()
            except BusError as error:
                ambiguous = ambiguous or isinstance(error, TimedOut)
                if (sequence := await self._after(entries, error)) is not None:
                    return sequence
                over = late or not isinstance(error, PASSING)
                if over and ambiguous:  # what was sent without an answer may still be stored
                    raise self._doubt(entries, error) from error
                if over:
                    raise
            await self._connection.wait_up(pause_after(turn))
        raise AssertionError("nothing else ends this")

    async def _after(self, entries: Sequence[Entry], error: Exception) -> int | None:
        """Return their sequence if they were stored after all. Raises Conflict if another writer's event was."""
        if isinstance(error, Conflict):
            return await self._own_sequence(entries, error)
        return await self._find(entries) if isinstance(error, TimedOut) else None

    def _doubt(self, entries: Sequence[Entry], error: Exception) -> TimedOut:
        return TimedOut(f"whether {entries[-1].subject} was stored is not known: {error}")

    async def _own_sequence(self, entries: Sequence[Entry], conflict: Conflict) -> int | None:
        """Return the sequence if our event was stored. Raises the conflict if another writer's was, or if the expected
        event never existed.

        None if nothing is stored yet: a cluster refuses an append while another event, which may be an earlier one
        of ours, is about to be stored.
        """
        if (sequence := await self._find(entries, conflict)) is not None:
            return sequence
        for line, expected in _expectations(entries).items():
            last = await self.last(line)
            if (last.sequence if last else 0) < expected:
                raise conflict
        return None

    async def _find(self, entries: Sequence[Entry], cause: Conflict | None = None) -> int | None:
        """Return the last one's sequence, if it is stored. Raises Conflict if another's event is there instead.

        Where others of ours are there and the last one is not, all were stored during the read: None, read again.
        """
        own, ours = entries[-1].event_id, {entry.event_id for entry in entries}
        for line, expected in reversed(_expectations(entries).items()):
            try:
                events = await patiently(partial(self.read, line, after=expected), self._connection.wait_up)
            except (Unreachable, TimedOut) as error:
                raise self._doubt(entries, error) from error
            there = {event.headers.get(tracing.EVENT_ID): event.sequence for event in events}
            if own in there:
                return there[own]
            if ours & there.keys():
                return None
            if events:
                last = events[-1].sequence
                raise Conflict(f"{line} is at {last}, not at {expected}", last=last) from cause
        return None

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        check_filter(filter)
        found: list[Record] = []
        moved, goal = monotonic(), None
        while limit is None or len(found) < limit:
            most = None if limit is None else limit - len(found)
            page, more = await self._events(filter, after, most, max(at_least - len(found), 1))
            found += page
            if page:
                after, moved = page[-1].sequence, monotonic()
            if not (page and more):
                # Later events are no part of this read, or under constant appends it would never end.
                end = await self._end(filter)
                goal = end if goal is None else min(goal, end)
                if after >= goal:
                    break
                if monotonic() > moved + PATIENCE:
                    raise Unreachable(
                        f"the replica of {self._stream} that replied has no event of {filter} after {after}"
                    )
                await asyncio.sleep(LAG)
        return found

    async def _end(self, filter: str) -> int:
        """Return the last sequence a replica may lack; 0 with a single server."""
        last = await self.last(filter) if self._connection.clustered else None
        return last.sequence if last else 0

    async def _events(self, filter: str, after: int, most: int | None, least: int) -> tuple[list[Record], int]:
        """Return the next events, of which there are at least `least`, and how many follow them.

        A request never names more events than a long journal has. With more than INDEXED subjects the server
        looks for the next match of a wildcard block by block. After the last one it goes on to the end of the stream:
        it loads every block (13 s at 4 million events), keeps them in memory, and replies to nobody meanwhile.
        """
        size = min(PAGE, PAGE if most is None else most)
        is_short = self._end_seen is not None and self._end_seen < INDEXED
        if filter == self._subjects or is_short:
            return await self._page(filter, after, size)
        if after and "*" not in filter:  # with one in the middle the server would match all subjects
            last = await self.last(filter)
            if last is None or last.sequence <= after:
                return [], 0
        found, more = await self._page(filter, after, min(least, size))
        if found and more and size > len(found):
            page, more = await self._page(filter, found[-1].sequence, min(more, size - len(found)))
            found += page
        return found, more

    async def _page(self, filter: str, after: int, size: int) -> tuple[list[Record], int]:
        """Return a page as `page` does. Until a copy of the stream has answered once, a cluster is given time: those of
        a new stream answer a moment after it has its leader. Later a caller is better served by an error at once.
        """
        give_up = monotonic() + PATIENCE
        for turn in count():
            try:
                found = await self.page(filter, after, size)
            except Unreachable:
                is_new = not self._has_answered and self._connection.clustered and self._connection.connected
                if not is_new or monotonic() > give_up:
                    raise
            else:
                self._has_answered = True
                return found
            await self._connection.wait_up(pause_after(turn))
        raise AssertionError("nothing else ends this")

    async def page(self, filter: str, after: int, size: int) -> tuple[list[Record], int]:
        # The server counts the rest of a filter again for each page, over all subjects, unless it is this one.
        whole = ">" if filter == self._subjects else filter
        request = {"batch": size, "seq": after + 1, "next_by_subj": whole}
        return await direct_get_batch(self._replies, self._stream, request, ANSWER)

    async def last(self, filter: str) -> Record | None:
        # The server walks over every subject that a wildcard matches (a second at four millions), except for this one.
        whole = ">" if filter == self._subjects else check_filter(filter)
        request = {"last_by_subj": whole}
        if not self._connection.clustered:
            return await leader_get(self._replies, self._stream, request, ANSWER)
        ask_leader = partial(leader_get, self._replies, self._stream, request, LEADER)
        return await patiently(ask_leader, self._connection.wait_up)

    def tail(self, after: int, *, live: bool = True) -> NatsTail:
        return NatsTail(self._connection, self.page, self._subjects, self._republished, after, live=live)

    async def usage(self) -> Usage:
        info = await call_subject(self._replies, USAGE, {})
        if "streams" in info:  # of all streams: what monitoring may request
            info = self._listed(info)
        state = info["state"]
        self._end_seen = state["last_seq"]
        first = max(state["first_seq"], 1)
        most, created = info["config"]["max_bytes"], info["created"]
        copies = info["config"].get("num_replicas", 1)
        return Usage(state["bytes"], most, state["last_seq"], state["messages"], first, created, copies)

    def _listed(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return the journal's entry of a STREAM.LIST. Raises Unreachable, BusRefused."""
        for info in reply["streams"] or ():  # null: there are none
            if info["config"]["name"] == self._stream:
                return cast(dict[str, Any], info)
        if self._stream in (reply.get("missing") or ()):
            raise Unreachable(f"no server of the cluster replies for the stream {self._stream}")
        raise BusRefused(f"there is no stream {self._stream}", number=STREAM_NOT_FOUND)
