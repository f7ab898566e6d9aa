"""Progress relay: the latest message of each half second, bounded in size.

What an operation waits for is repeated while it lasts, for executors alone: they reply to queries with it, and forget a
wait that is not repeated.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from writ_bus import tasks
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import WAITS, Progress
from writ_contracts.errors import WritError
from writ_contracts.journal import Dispatched
from writ_contracts.requests import Failure
from writ_contracts.wire import encode

INTERVAL = 0.5
REPEAT_SECONDS = 4.0
"""A wait is repeated after this time. Executors remember it for three times as long."""
LATE_SECONDS = 3.0
"""A read of the state before an operation, and a reply to a claim, that take longer are reported."""
LONGEST, LONGEST_NAME = 500, 200


class ProgressRelay:
    """The progress of one operation. Call it with each message; `close` it at the end."""

    def __init__(self, bus: Bus, pool: str, operation_id: str, principal: str, *, claimed: bool = True) -> None:
        self._bus = bus
        self._subject = subjects.progress(pool)
        self._operation_id = operation_id
        self._principal = principal
        self._claimed = claimed
        self._latest: Progress | None = None
        self._sent: Progress | None = None
        self._news = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    def __call__(self, message: str) -> None:
        """Accept a message; never blocks."""
        self._accept(message, "")

    def report_silence(self, host: str, message: str) -> None:
        """Accept a message about a host that does not reply, or that replies again; never blocks."""
        self._accept(message, host)

    def _accept(self, message: str, silent: str) -> None:
        progress = Progress(
            operation_id=self._operation_id,
            principal=self._principal,
            message=message[:LONGEST],
            silent=silent[:LONGEST_NAME],
            claimed=self._claimed,
        )
        if progress == (self._latest or self._sent):
            return
        self._latest = progress
        self._news.set()
        if self._sender is None:
            self._sender = tasks.spawn(self._send(), "progress")

    def close(self, *, waits: bool = False) -> None:
        """Drop unsent messages: they are useless after the end. A wait that was sent ends, unless the operation still
        `waits` and somebody else reports it soon.
        """
        if self._sender is not None:
            self._sender.cancel()
        if not waits and self._sent is not None and self._sent.is_wait:
            ended = replace(self._sent, message="", silent="", for_requester=False)
            tasks.spawn(self._publish(ended), "end of a wait")

    async def _send(self) -> None:
        while self._latest is not None:
            self._sent, self._latest = self._latest, None
            await self._publish(self._sent)
            await asyncio.sleep(INTERVAL)
            await self._repeat(self._sent)
        self._sender = None

    async def _repeat(self, sent: Progress) -> None:
        """Repeat a wait until there is another message."""
        while sent.is_wait and self._latest is None:
            self._news.clear()
            try:
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                await self._publish(replace(sent, for_requester=False))

    async def _publish(self, progress: Progress) -> None:
        try:
            await self._bus.publish(self._subject, encode(progress))
        except WritError:
            return  # progress is a courtesy


class HeldProgress:
    """The progress of a read that is begun before its grant: discarded until there is a relay for it."""

    def __init__(self) -> None:
        self.relay: ProgressRelay | None = None

    def __call__(self, message: str) -> None:
        """See ProgressRelay."""
        if self.relay is not None:
            self.relay(message)

    def report_silence(self, host: str, message: str) -> None:
        """See ProgressRelay."""
        if self.relay is not None:
            self.relay.report_silence(host, message)


@contextmanager
def late_reply(bus: Bus, pool: str, work: Dispatched) -> Iterator[None]:
    """Report a target that is slow to reply within the block, while its state before the operation is read."""
    relay = ProgressRelay(bus, pool, work.operation_id, work.principal, claimed=False)
    message = f"{work.target} has not replied for more than {LATE_SECONDS:g} s to a read of its state; nothing has run"
    late = asyncio.get_running_loop().call_later(LATE_SECONDS, relay.report_silence, work.target, message)
    try:
        yield
    finally:
        late.cancel()
        relay.close()


class ClaimWait:
    """Reports that an operation waits for its grant, and why as far as executors say it."""

    def __init__(self, bus: Bus, pool: str, work: Dispatched) -> None:
        self._bus, self._pool, self._work = bus, pool, work
        self._relay = ProgressRelay(bus, pool, work.operation_id, work.principal)
        self._late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._report)
        self._declined: Failure | None = None

    def declined(self, error: Failure) -> None:
        """Note the latest reply that gave no grant and lets the agent claim again."""
        self._declined = error
        if self._late.when() <= asyncio.get_running_loop().time():
            self._report()

    def end(self, *, waits: bool) -> None:
        """End the reports. `waits`: the operation is claimed again later."""
        self._late.cancel()
        self._relay.close(waits=waits)
        if waits and self._declined is not None:
            tasks.spawn(report_wait(self._bus, self._pool, self._work, self._text), "wait for a grant")

    def _report(self) -> None:
        self._relay(self._text)

    @property
    def _text(self) -> str:
        why = f"no certain reply to its claim for more than {LATE_SECONDS:g} s"
        return f"{WAITS}for its grant: {self._declined.message if self._declined is not None else why}"


async def report_wait(bus: Bus, pool: str, work: Dispatched, message: str) -> None:
    """Report to executors alone what an operation waits for that this agent does not claim yet. It needs no end:
    executors forget it at the start.
    """
    progress = Progress(
        operation_id=work.operation_id,
        principal=work.principal,
        message=message[:LONGEST],
        for_requester=False,
        claimed=False,
    )
    try:
        await bus.publish(subjects.progress(pool), encode(progress))
    except WritError:
        return  # progress is a courtesy
