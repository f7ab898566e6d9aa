"""Handing work to a pool: at once for what only reads, one after the other for what changes a target.

A change first takes its target's lock, then goes out; whoever finds a lock whose holder was not dispatched dispatches
that holder. Whoever was requested first goes first: the line is looked at only when the index has read past the
request, so nobody that came earlier can be missing from it.
"""

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import Conflict
from writ_contracts.journal import Dispatched, LockTaken, Requested
from writ_contracts.life import Life
from writ_contracts.wire import decode_event
from writ_executor.follower import Follower
from writ_executor.index import Index, Lock, changes
from writ_executor.recorder import Recorder
from writ_runtime.faults import fault
from writ_trust.statements import digest


class Dispatcher:
    """Appends `dispatched`."""

    def __init__(self, bus: Bus, recorder: Recorder, index: Index, follower: Follower, start_window: float) -> None:
        self._bus = bus
        self._recorder = recorder
        self._index = index
        self._follower = follower
        self._start_window = start_window

    async def start(self, life: Life) -> Life:
        """Dispatch it, or leave it waiting for its target; the life as it is then."""
        requested = _requested(life)
        if not changes(requested):
            return await self._recorder.append(life, self._event(requested, attempt=1))
        if await self._follower.reached(life.sequence):
            await self.advance(requested.target)
        return self._index.get(requested.operation_id) or life

    async def advance(self, target: str) -> None:
        """Let the next change on this target go, if none is under way. Losing a race to another replica is fine."""
        life = self._index.next_on(target)
        if life is None:
            return
        requested, lock = _requested(life), await self._lock(target)
        its_own = lock is not None and lock.operation_id == requested.operation_id
        if lock is not None and not its_own and self._holds(lock):
            return
        fault("executor.before_dispatch")
        try:
            if not its_own:
                await self._recorder.take_lock(requested, lock)
            fault("executor.locked")
            await self._recorder.append(life, self._event(requested, attempt=1))
        except Conflict:
            self._index.locks.pop(target, None)  # what we knew of it was old: read it again next time

    async def holder(self, target: str) -> str | None:
        """The operation that changed this target last, or does so now."""
        lock = await self._lock(target)
        return lock.operation_id if lock else None

    async def again(self, life: Life) -> Life:
        """Let an agent claim it once more; it still holds its target."""
        attempt = life.dispatched.attempt + 1 if life.dispatched else 1
        return await self._recorder.append(life, self._event(_requested(life), attempt=attempt))

    def _holds(self, lock: Lock) -> bool:
        """Whoever took it and has not ended has it; one that we do not know has ended, unless it is news to us."""
        holder = self._index.get(lock.operation_id)
        return lock.sequence > self._index.sequence if holder is None else holder.open

    async def _lock(self, target: str) -> Lock | None:
        known = self._index.locks.get(target)
        if known is not None:
            return known
        record = await self._bus.journal.last(subjects.target_lock(target))
        event = decode_event(record.data) if record else None
        return Lock(event.operation_id, record.sequence) if record and isinstance(event, LockTaken) else None

    def _event(self, requested: Requested, attempt: int) -> Dispatched:
        return Dispatched(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            principal=requested.principal,
            operation=requested.operation,
            target=requested.target,
            pool=requested.pool,
            attempt=attempt,
            parameters=requested.effective,
            start_by=self._recorder.clock() + self._start_window,
            timeout=requested.timeout,
            decision_digest=digest(requested.decision),
            look=requested.look,
            look_key=requested.look_key,
        )


def _requested(life: Life) -> Requested:
    if life.requested is None:
        raise Conflict("an operation that was never accepted cannot be dispatched")
    return life.requested
