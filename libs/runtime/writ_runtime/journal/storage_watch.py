"""Watch on NATS's storage: one for each stream, judged by the service's own writes to it.

nats-server 2.15 latches the first write error of a stream (a full disk) until it is started again: it answers no append
to this stream any more, and everything else as before, reads of this stream too. So a stuck append is the only sign
here, and a minute of time-outs per request the only effect. A stream stores nothing if an append to it gets no answer,
none succeeds, and the stream's leader answers a read. On a slow disk the read waits for the write.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

from writ_bus.backoff import PATIENCE
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import Conflict, TimedOut, Unreachable, WritError
from writ_runtime.logs import Log

UNANSWERED = 1.2
"""Seconds without an answer to an append, and without a success of another one. A client gets the error within two. A
shorter wait would take a disk that is merely busy for a full one.
"""
ELECTION = 15.0
"""The same with several copies: while they elect a leader, for seconds, the servers answer and store nothing."""
ANSWERS = 0.5
"""Seconds in which the stream answers a read, if it answers at all."""
CHECK_EVERY = 0.2
PROBE = 2.0
IDLE = 300.0
"""Seconds without a stored write after which an idle probe is stored, so that a dead stream is known before its use."""
PARAMS_KEY, RESULTS_KEY = "storage-probe", "writ.storage-probe"
"""The keys of probes, which no operation has."""

Probe = Callable[[], Awaitable[object]]


def problem_of(*streams: str) -> str:
    """Return the problem of these streams, and what to do."""
    return (
        f"NATS replies but stores nothing in {' and '.join(streams)}: make room on its disk, then restart it"
        " (`systemctl restart writ-nats` or `docker compose restart nats`; `writ up` restarts its own)"
    )


class StorageWatch:
    """`problem` is set while nothing is stored in the stream; `refused` counts the writes refused since then.

    With a `probe`, which stores something harmless and bypasses `storing`, writes are refused at once until a probe is
    stored. Without one, as for a stream that keeps all it gets, each write is tried, for `UNANSWERED` seconds. The
    problem ends once the stream has stored anything, also late and from another writer, or with another start of the
    server. An `idle_probe`, which leaves nothing behind, is stored while there are no other writes: now and then, and
    after one without an answer. With several copies that one ended too early to judge the stream.
    """

    def __init__(self, stream: str, bus: Bus, clock: Callable[[], float]) -> None:
        """Watch writes to `stream`. `clock`: the journal server's time."""
        self.stream = stream
        self._bus = bus
        self._clock = clock
        self._log = Log("writ.storage")
        self._waiting: dict[asyncio.Timeout, float] = {}
        self._begun = asyncio.Event()
        self._stored = time.monotonic()
        self._unanswered: float | None = None
        """When the first append without an answer began, of those since the last success."""
        self._idle_since = self._stored
        self._server = bus.server
        self._last = 0
        """The last sequence of the stream when the problem began."""
        self._next_look = 0.0
        self._probed = float("-inf")
        self.probe: Probe | None = None
        self.idle_probe: Probe | None = None
        self.problem: str | None = None
        self.refused = 0
        self.since = 0.0

    def storing(self) -> "StoringBlock":
        """Return the context of a block which stores something. It raises Unreachable (`not_stored`) once nothing is
        stored.
        """
        return StoringBlock(self)

    def require(self) -> None:
        """Raise Unreachable (`not_stored`) while nothing is stored."""
        if self.problem is not None:
            raise self.error()

    def begin(self, scope: asyncio.Timeout) -> None:
        """Count an append that waits for its acknowledgement. Raises Unreachable if it is refused."""
        if self.probe is not None:
            self.require()
        now = time.monotonic()
        idle = 0.0 if self._waiting or self.problem is not None else now - self._idle_since
        if idle > PATIENCE:  # an earlier attempt says nothing about this one
            self._unanswered = None
        self._waiting[scope] = now
        self._begun.set()
        self._unanswered = now if self._unanswered is None else self._unanswered

    def end(self, scope: asyncio.Timeout, error: BaseException | None) -> None:
        """Count the append as no longer waiting."""
        self._waiting.pop(scope, None)
        now = time.monotonic()
        if not self._waiting:
            self._idle_since = now
        if error is None:
            self._stored, self._unanswered = now, None
        elif not isinstance(error, Conflict | TimedOut | asyncio.CancelledError):  # a dead stream answers conflicts
            self._unanswered = None
        if error is None and self.problem is not None and self.probe is None:
            self._well()

    def error(self) -> Unreachable:
        """Return the error for a write that is refused, and count it."""
        self.refused += 1
        return Unreachable(problem_of(self.stream), code="not_stored")

    async def watch(self) -> None:
        """Judge, until cancelled. Raises what a probe raises, other than WritError."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._judge(group)
        except ExceptionGroup as errors:  # its own text names no cause
            raise errors.exceptions[0] from None

    async def _judge(self, group: asyncio.TaskGroup) -> None:
        while True:
            if not self._waiting and self.problem is None:  # idle: there is nothing to judge
                await self._next_write(group)
            self._see_server()
            left = UNANSWERED - self._silence()
            await asyncio.sleep(min(left, CHECK_EVERY) if left > 0 else CHECK_EVERY)
            self._see_server()
            if self.problem is not None and self.probe is not None:
                await self._try(self.probe)
            elif self._silence() >= UNANSWERED or (self.problem is not None and time.monotonic() >= self._next_look):
                await self._suspect()

    async def _next_write(self, group: asyncio.TaskGroup) -> None:
        """Wait for a write, at last for the idle probe."""
        self._begun.clear()
        if self.idle_probe is not None:
            due = max(self._stored, self._probed) + IDLE if self._unanswered is None else self._probed + PROBE
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._begun.wait()
            if not self._begun.is_set():
                self._probed = time.monotonic()
                group.create_task(self._store_idle(self.idle_probe))
        await self._begun.wait()

    async def _store_idle(self, probe: Probe) -> None:
        try:
            async with self.storing():
                await probe()
        except WritError as error:
            self._log.debug("storage.probe_not_stored", stream=self.stream, error=str(error))

    def _see_server(self) -> None:
        """Start the time again where there is no server, or another start: appends wait for it, and are sent again."""
        if self._bus.connected and self._bus.server == self._server:
            return
        self._stored = time.monotonic()
        self._unanswered = self._stored if self._waiting else None
        if self._bus.connected:
            self._server = self._bus.server
            if self.problem is not None and self.probe is None:
                self._well()

    def _silence(self) -> float:
        """Return the seconds for which the oldest waiting append has had no answer, and no other one a success."""
        now = time.monotonic()
        return now - max(min(self._waiting.values(), default=now), self._stored)

    def _is_over(self, copies: int) -> bool:
        """Return whether the silence is too long. An attempt ends before several copies have elected a leader, so then
        the first of all attempts counts.
        """
        if copies == 1 or self._unanswered is None:
            return self._silence() >= UNANSWERED
        return self._silence() >= UNANSWERED and time.monotonic() - self._unanswered >= ELECTION

    async def _suspect(self) -> None:
        self._next_look = time.monotonic() + PROBE
        try:
            async with asyncio.timeout(ANSWERS):
                last, usage = await self._last_sequence(), await self._bus.journal.usage()
        except (WritError, TimeoutError):
            return  # the server is away, or hangs, or writes slowly
        self._see_server()
        if self.problem is not None and last > self._last:
            self._well()
        if not self._is_over(usage.copies):
            return
        if self.problem is None:
            self.problem, self.refused, self.since, self._last = problem_of(self.stream), 0, self._clock(), last
            self._log.error("storage.not_stored", stream=self.stream, effect="what needs this stream is refused")
        for scope in list(self._waiting):
            scope.reschedule(asyncio.get_running_loop().time())

    async def _last_sequence(self) -> int:
        """Return the last sequence of the stream, of a store that of its probe, as its leader reports it."""
        match self.stream:
            case subjects.PARAMS_STREAM:
                return await self._bus.params.version(PARAMS_KEY)
            case subjects.RESULTS_STREAM:
                return await self._bus.results.version(RESULTS_KEY)
            case subjects.POLICIES_STREAM:
                last = await self._bus.policies.last(subjects.POLICIES)
            case subjects.SCANS_STREAM:
                last = await self._bus.scans.last(subjects.SCANS)
            case _:
                last = await self._bus.journal.last(subjects.JOURNAL)
        return 0 if last is None else last.sequence

    async def _try(self, probe: Probe) -> None:
        try:
            await probe()
        except WritError as error:
            self._log.debug("storage.probe_not_stored", stream=self.stream, error=str(error))
            await asyncio.sleep(PROBE)
            return
        self._well()

    def _well(self) -> None:
        self.problem, self._stored, self._unanswered = None, time.monotonic(), None
        self._log.info("storage.stored_again", stream=self.stream, refused=self.refused)


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
        self._watch.end(self._scope, error)
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:  # of the scope alone: the watch ended it
            raise self._watch.error() from None
