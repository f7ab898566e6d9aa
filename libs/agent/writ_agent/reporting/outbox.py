"""Messages which must reach an executor (receipts, security reports): spooled, and sent until acknowledged.

An acknowledged message is forgotten. After anything else it is sent again, also after a restart. Only a final refusal
moves it aside, with an error in the log.

NATS may hold back the append of a grant for longer than an agent waits. So the receipt of a claim that was given up is
sent until that claim can no longer be granted (`unsettled`). This holds up no other claim of the operation.
"""

import asyncio
import random
from collections.abc import Callable
from time import monotonic

from writ_agent.reporting.spool import Parcel, Spool
from writ_bus import tasks
from writ_bus.backoff import backoff
from writ_bus.port import Bus
from writ_contracts.agents import Acknowledgement
from writ_contracts.errors import Invalid, WritError
from writ_contracts.wire import decode
from writ_runtime.faults import fault
from writ_runtime.logs import Log

SEND_SECONDS = 5.0
LONGEST_PAUSE = 5.0
"""Much less than a grant's lifetime: an operation granted late ends before it counts as lost."""
REPEATS_A_SECOND = 100
"""Receipts of given-up claims that are sent again. Executors read the journal for each, and 4,000 claims may wait."""
NOT_FOUND_SECONDS = 60.0
"""Seconds from the first `not_found` until it is final. A former leader of the journal has not seen the operation."""
LARGE = 65_536
"""Bytes of a message about no change that is spooled only once it could not be sent at once."""
_log = Log("writ.agent")
_random = random.SystemRandom()


class Outbox:
    """Sends each parcel in its own task. `pending`: the keys without an acknowledgement."""

    def __init__(self, bus: Bus, spool: Spool, on_sent: Callable[[str], None]) -> None:
        """`on_sent` gets the key of each acknowledged parcel."""
        self._bus = bus
        self._spool = spool
        self._on_sent = on_sent
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._repeating: set[asyncio.Task[None]] = set()
        self._unspooled: dict[str, Parcel] = {}
        self._syncing: dict[str, asyncio.Task[None]] = {}
        self._not_found: dict[str, float] = {}
        """Keys by the monotonic time of the first `not_found` without a later acknowledgement."""

    @property
    def pending(self) -> frozenset[str]:
        """Return the keys still on their way."""
        return frozenset(self._sending)

    def has_pending(self, key: str) -> bool:
        """Return true if a parcel with this key, or with this key, a dot and more, is still on its way."""
        return any(other == key or other.startswith(f"{key}.") for other in self._sending)

    def resume(self) -> None:
        """Send the parcels of an earlier process."""
        for key, entry in list(self._spool.live.items()):
            if isinstance(entry, Parcel):
                self._start(key, entry)

    async def post(self, key: str, parcel: Parcel, *, durable: bool = True) -> None:
        """Spool the parcel and send it; a failed disk does not stop the sending.

        A parcel about a change is written, and sent while the disk syncs it: if both are lost in a power cut, its
        intent is settled. One about no change (`durable` false) is sent before it is written. A large one of these is
        spooled only if it could not be sent at once: a read that is lost with this process is read again.
        """
        if durable:
            syncing = self._syncing[key] = tasks.start(self._keep(key, parcel, durable=True), "spool receipt")
            await asyncio.sleep(0)  # it is written
            self._start(key, parcel)
            await asyncio.shield(syncing)
        else:
            if len(parcel.body) > LARGE:
                self._unspooled[key] = parcel
            self._start(key, parcel)
            await asyncio.sleep(0)
            if key not in self._unspooled:
                await self._keep(key, parcel, durable=False)
        fault("agent.receipt_spooled")

    async def flush(self, grace: float) -> None:
        """Give pending parcels this long to arrive; the spool keeps the rest."""
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=grace)

    async def close(self) -> None:
        ending = [*self._sending.values(), *self._repeating]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._keep_unspooled(*self._unspooled)

    async def _keep(self, key: str, parcel: Parcel, *, durable: bool) -> None:
        try:
            await self._spool.put(key, parcel, durable=durable)
        except OSError as error:
            _log.error("outbox.not_spooled", key=key, error=str(error))

    async def _keep_unspooled(self, *keys: str) -> None:
        for key in keys:
            if parcel := self._unspooled.pop(key, None):
                await self._keep(key, parcel, durable=False)

    async def _synced(self, key: str) -> None:
        """Wait until the disk has the parcel, or has failed: only then may it be cleared."""
        if syncing := self._syncing.pop(key, None):
            await asyncio.wait({syncing})

    def _start(self, key: str, parcel: Parcel) -> None:
        task = tasks.spawn(self._send(key, parcel), "receipt")
        self._sending[key] = task
        task.add_done_callback(lambda _: self._sending.pop(key, None))

    async def _send(self, key: str, parcel: Parcel) -> None:
        pauses = backoff(first=0.1, most=LONGEST_PAUSE)
        while (reply := await self._reply(key, parcel)) is None:
            await self._keep_unspooled(key)
            await asyncio.sleep(next(pauses))
        if reply.unsettled:
            task = tasks.spawn(self._repeat(key, parcel), "receipt of a claim")
            self._repeating.add(task)
            task.add_done_callback(self._repeating.discard)
        else:
            await self._forget(key, parcel)
        self._on_sent(key)

    async def _repeat(self, key: str, parcel: Parcel) -> None:
        """Send the acknowledged parcel again until the fate of its claim is known."""
        reply = None
        while reply is None or reply.unsettled:
            await asyncio.sleep(repeat_pause(len(self._repeating)) * _random.uniform(0.5, 1.0))
            reply = await self._reply(key, parcel)
        await self._forget(key, parcel)

    async def _forget(self, key: str, parcel: Parcel) -> None:
        self._unspooled.pop(key, None)
        await self._synced(key)
        fault("agent.receipt_sent")
        if self._spool.live.get(key) is parcel:  # not the entry of another claim under this key
            self._spool.clear(key)

    def _is_set_aside(self, key: str, parcel: Parcel) -> bool:
        """Set a refused parcel aside. With a full disk it is kept, and tried again."""
        try:
            if self._spool.live.get(key) is parcel:
                self._spool.set_aside(key)
        except OSError as error:
            _log.error("outbox.not_set_aside", key=key, error=str(error))
            return False
        return True

    async def _reply(self, key: str, parcel: Parcel) -> Acknowledgement | None:
        """Return the reply to the parcel, also to one that was set aside; None if it must be sent again."""
        try:
            reply = await self._bus.request(parcel.subject, parcel.body, timeout=SEND_SECONDS)
            answer = decode(reply.data, Acknowledgement)
        except Invalid as error:
            _log.error("outbox.unreadable_answer", key=key, error=str(error))
            return None
        except WritError as error:
            _log.warning("outbox.not_sent", key=key, code=error.code, error=str(error))
            return None
        if answer.error is not None and not answer.error.retry:
            if answer.error.code == "not_found" and not self._is_final(key):
                return None
            _log.error("outbox.refused", key=key, code=answer.error.code, error=answer.error.message)
            await self._keep_unspooled(key)
            await self._synced(key)
            if not self._is_set_aside(key, parcel):
                return None
        elif not answer.stored:
            return None
        self._not_found.pop(key, None)
        return answer

    def _is_final(self, key: str) -> bool:
        """Return whether no server has found the operation for so long that none will."""
        now = monotonic()
        return now - self._not_found.setdefault(key, now) >= NOT_FOUND_SECONDS


def repeat_pause(count: int) -> float:
    """Return the longest pause in seconds of each of so many receipts that are sent again."""
    return max(LONGEST_PAUSE, count / REPEATS_A_SECOND)
