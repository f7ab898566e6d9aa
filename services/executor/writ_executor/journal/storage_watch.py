"""Watch on NATS's storage, judged by the executor's own appends.

nats-server 2.15 latches the first write error of a stream (a full disk) until it is started again: it answers no append
any more, and every other question as before. So a stuck append is the only sign here, and a minute of time-outs per
request the only effect. Nothing is stored if an append gets no answer, none succeeds, and the server answers otherwise.
Then requests are refused at once, until a probe is stored.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from writ_bus.port import Entry, Journal, Tail, Usage
from writ_contracts.errors import Conflict, Unreachable, WritError
from writ_contracts.history.records import Record
from writ_runtime.logs import Log

UNANSWERED = 1.2
"""Seconds without an answer to an append, and without a success of another one. A client gets the error within two. A
shorter wait would take a disk that is merely busy for a full one.
"""
ELECTION = 15.0
"""The same with several copies: while they elect a leader, for seconds, the servers answer and store nothing."""
ANSWERS = 0.5
"""Seconds in which the server answers another question, if it answers at all."""
CHECK_EVERY = 0.2
PROBE = 2.0
MOST_ACKNOWLEDGED = 4_096
"""Events of more than the time between two comparisons of the journal."""
PROBLEM = "NATS replies but stores nothing: read its log; after a full disk make room and restart NATS"

_log = Log("writ.executor")


class StorageWatch:
    """`problem` is set while nothing is stored; `refused` counts the appends refused since then."""

    def __init__(self, usage: Callable[[], Awaitable[Usage]], clock: Callable[[], float]) -> None:
        """`usage`: another question to the server, about the same stream; `clock`: the journal server's time."""
        self._usage = usage
        self._clock = clock
        self._waiting: dict[asyncio.Timeout, float] = {}
        self._stored = time.monotonic()
        self.problem: str | None = None
        self.refused = 0
        self.since = 0.0

    def storing(self) -> "StoringBlock":
        """Return the context of a block which stores something. It raises Unreachable (`not_stored`) once nothing is
        stored.
        """
        return StoringBlock(self)

    def begin(self, scope: asyncio.Timeout) -> None:
        """Count an append that waits for its acknowledgement. Raises Unreachable once nothing is stored."""
        if self.problem is not None:
            raise self.error(self.problem)
        self._waiting[scope] = time.monotonic()

    def end(self, scope: asyncio.Timeout, *, answered: bool) -> None:
        """Count the append as no longer waiting."""
        self._waiting.pop(scope, None)
        if answered:
            self._stored = time.monotonic()

    def error(self, problem: str) -> Unreachable:
        """Return the error for an append that is refused, and count it."""
        self.refused += 1
        return Unreachable(problem, code="not_stored")

    async def watch(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Judge, until cancelled. `probe` stores one event and bypasses `storing`."""
        while True:
            left = UNANSWERED - self._silence()
            await asyncio.sleep(min(left, CHECK_EVERY) if left > 0 else CHECK_EVERY)
            if self.problem is not None:
                await self._try(probe)
            elif self._silence() >= UNANSWERED:
                await self._suspect()

    def _silence(self) -> float:
        """Return the seconds for which the oldest waiting append has had no answer, and no other one a success."""
        now = time.monotonic()
        return now - max(min(self._waiting.values(), default=now), self._stored)

    async def _suspect(self) -> None:
        try:
            async with asyncio.timeout(ANSWERS):
                usage = await self._usage()
        except (WritError, TimeoutError):
            return  # the server is away or hangs: its connection tells
        if self._silence() < (UNANSWERED if usage.copies == 1 else ELECTION):
            return
        self.problem, self.refused, self.since = PROBLEM, 0, self._clock()
        _log.error("journal.not_stored", effect="requests are refused until an event is stored again")
        for scope in list(self._waiting):
            scope.reschedule(asyncio.get_running_loop().time())

    async def _try(self, probe: Callable[[], Awaitable[object]]) -> None:
        try:
            await probe()
        except WritError as error:
            _log.debug("journal.probe_not_stored", error=str(error))
            await asyncio.sleep(PROBE)
            return
        self.problem, self._stored = None, time.monotonic()
        _log.info("journal.stored_again", refused=self.refused)


class StoringBlock:
    """The context of one watched append. Each operation has three: a class costs half of a generator."""

    __slots__ = ("_scope", "_watch")

    def __init__(self, watch: StorageWatch) -> None:
        self._watch, self._scope = watch, asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._watch.begin(self._scope)
        await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A conflict is an answer, too.
        self._watch.end(self._scope, answered=error is None or isinstance(error, Conflict))
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:  # of the scope alone: the watch ended it
            raise self._watch.error(PROBLEM) from None


class WatchedJournal:
    """The Journal port; its appends are watched."""

    def __init__(self, journal: Journal, watch: StorageWatch) -> None:
        self._journal = journal
        self._watch = watch
        self.acknowledged: dict[int, str] = {}
        """The ids, by sequence, of the latest events that were stored through it; of several stored together the last.
        """

    async def append(self, entry: Entry) -> int:
        """Raises Unreachable (`not_stored`) too."""
        async with self._watch.storing():
            return self._stored(entry, await self._journal.append(entry))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        """Raises Unreachable (`not_stored`) too."""
        async with self._watch.storing():
            return self._stored(entries[-1], await self._journal.append_together(entries))

    def _stored(self, entry: Entry, sequence: int) -> int:
        # The first event of a sequence counts: where there is another, the journal has lost the first.
        self.acknowledged.setdefault(sequence, entry.event_id)
        if len(self.acknowledged) > MOST_ACKNOWLEDGED:
            del self.acknowledged[next(iter(self.acknowledged))]
        return sequence

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        return await self._journal.read(filter, after=after, limit=limit, at_least=at_least)

    async def last(self, filter: str) -> Record | None:
        return await self._journal.last(filter)

    def tail(self, after: int, *, live: bool = True) -> Tail:
        return self._journal.tail(after, live=live)

    async def usage(self) -> Usage:
        return await self._journal.usage()
