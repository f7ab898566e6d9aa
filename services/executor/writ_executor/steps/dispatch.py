"""Handing work to a pool: at once for what only reads, one after the other for what changes a target or has a limit.

Whoever is let in takes the line's lock, which names who was let in last, and only a writer who has seen it. A target
lets in one at a time: its lock goes first, and whoever finds one whose holder was not dispatched dispatches that
holder. Under a limit several are inside at once, so all that an operation takes is stored together with `dispatched`,
or none of it. Whoever was requested first goes first: a line is looked at only when the index has read past the
request, so nobody that came earlier can be missing from it.
"""

from collections.abc import Mapping

from msgspec import structs

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.errors import Conflict
from writ_contracts.journal import Dispatched, LimitTaken, LockTaken, Requested
from writ_contracts.life import Life
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event
from writ_executor.journal.follower import Follower
from writ_executor.journal.index import Index, Lock, limit_of, lines
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.traces import going_on
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
        """Dispatch it, or leave it waiting for its target or a limit; the life as it is then."""
        requested = _requested(life)
        stands_in = lines(requested)
        if not stands_in:
            return await self._recorder.append(life, self._event(requested, attempt=1))
        if await self._follower.reached(life.sequence):
            await self.advance(*stands_in)
        return self._index.get(requested.operation_id) or life

    async def advance(self, *stood_in: str) -> None:
        """Let those who are next in these lines go, as many as may. Losing a race to another replica is fine."""
        for line in stood_in:
            while (life := self._index.next_in(line)) is not None:
                with going_on(life):
                    if not await self._let_go(life):
                        break

    async def _let_go(self, life: Life) -> bool:
        requested = _requested(life)
        locks = {line: await self._lock(line) for line in lines(requested)}
        if not await self._may_go(life, locks):
            return False
        fault("executor.before_dispatch")
        event = self._event(requested, attempt=1)
        try:
            if requested.limits:
                await self._recorder.dispatch_with_locks(life, event, locks)
                fault("executor.let_in")
                return True
            lock = locks[subjects.target_lock(requested.target)]
            if lock is None or lock.operation_id != requested.operation_id:
                await self._recorder.take_lock(requested, lock)
            fault("executor.locked")
            await self._recorder.append(life, event)
        except Conflict:
            for line in locks:
                self._index.locks.pop(line, None)  # what we knew of it was old: read it again next time
            return False
        return True

    async def _may_go(self, life: Life, locks: Mapping[str, Lock | None]) -> bool:
        requested = _requested(life)
        for line, lock in locks.items():
            if limit_of(requested, line) is None:
                if lock is not None and lock.operation_id != requested.operation_id and self._holds(lock):
                    return False
            elif not await self._has_room(line, life, lock):
                return False
        return True

    async def _has_room(self, line: str, life: Life, lock: Lock | None) -> bool:
        """Who is inside is known once all is read up to whoever was let in last."""
        read = lock is None or await self._follower.reached(lock.sequence)
        return read and self._index.has_room(line, life, lock)

    async def holder(self, target: str) -> str | None:
        """The operation that changed this target last, or does so now."""
        lock = await self._lock(subjects.target_lock(target))
        return lock.operation_id if lock else None

    def held_up_by(self, life: Life) -> RuleLimit | None:
        """The limit that it waits for, if it is not its target that it waits for."""
        requested = _requested(life)
        return requested.limits[0] if requested.limits and self._index.has_target(life) else None

    async def again(self, life: Life, over: Signed | None = None) -> Life:
        """Let an agent claim it once more; it still holds its target. `over`: the receipt that says that nothing of the
        attempt before runs any more, without which policy waits for that one's deadline.
        """
        attempt = life.dispatched.attempt + 1 if life.dispatched else 1
        event = structs.replace(self._event(_requested(life), attempt=attempt), over=over)
        return await self._recorder.append(life, event)

    def _holds(self, lock: Lock) -> bool:
        """Whoever took it and has not ended has it; one that we do not know has ended, unless it is news to us."""
        holder = self._index.get(lock.operation_id)
        return lock.sequence > self._index.sequence if holder is None else holder.open

    async def _lock(self, line: str) -> Lock | None:
        known = self._index.locks.get(line)
        if known is not None:
            return known
        record = await self._bus.journal.last(line)
        event = decode_event(record.data) if record else None
        if record is None or not isinstance(event, LockTaken | LimitTaken):
            return None
        return Lock(event.operation_id, record.sequence)

    def _event(self, requested: Requested, attempt: int) -> Dispatched:
        return Dispatched(
            **(stamp := self._recorder.stamp(requested.correlation_id)),
            operation_id=requested.operation_id,
            principal=requested.principal,
            operation=requested.operation,
            target=requested.target,
            pool=requested.pool,
            attempt=attempt,
            parameters=requested.effective,
            start_by=stamp["at"] + self._start_window,
            timeout=requested.timeout,
            decision_digest=digest(requested.decision),
            look=requested.look,
            look_key=requested.look_key,
            ahead=requested.ahead,
        )


def _requested(life: Life) -> Requested:
    if life.requested is None:
        raise Conflict("an operation that was never accepted cannot be dispatched")
    return life.requested
