"""Dispatch to a pool: reads at once; changes of a target, and operations under a limit, in turn.

An operation takes the lock of its line, which names the previous holder; only a writer who has seen the holder's event
can take it. A target admits one at a time: its lock is taken first, and any replica which finds a holder without a
dispatch dispatches it. A limit admits several, so all locks of an operation are stored together with `dispatched`, or
none of them. The order is the one of the requests: a line is read only when the index has passed the request, so no
earlier one can be missing.
"""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import structs

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.errors import Conflict, Unreachable
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Dispatched, DispatchedAtOnce, LimitTaken, LockTaken, Requested
from writ_contracts.life import AcceptedLife, DispatchedLife, GrantedLife, Life, State
from writ_contracts.operations import Catalogue
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event
from writ_executor.journal.follower import JournalFollower
from writ_executor.journal.index import Index, Lock
from writ_executor.journal.lines import changes, limit_of, lines_of, needs_approval
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.traces import going_on
from writ_executor.policy.client import CheckedDecision
from writ_executor.steps.baseline_notices import BaselineNotices
from writ_runtime.faults import fault
from writ_trust.statements import digest

PROBE_FIRST = 8.0
"""Seconds for which the next change of a target waits for a probe of the last one, if that ended `unknown`. A probe on
an engine lasts 4 s before it finds no effect.
"""
Review = Callable[[AcceptedLife], Awaitable[CheckedDecision | None]]


async def _no_review(life: AcceptedLife) -> CheckedDecision | None:
    raise Unreachable("this executor cannot review approved operations")


class Dispatcher:
    """Appends `dispatched` once an operation holds its target and limits."""

    def __init__(
        self,
        bus: Bus,
        catalogue: Catalogue,
        recorder: Recorder,
        index: Index,
        follower: JournalFollower,
        notices: BaselineNotices,
        start_window: float,
        *,
        with_requests: bool,
    ) -> None:
        """`with_requests`: whether what waits for nothing is dispatched by the event of its request."""
        self._bus = bus
        self._catalogue = catalogue
        self._recorder = recorder
        self._index = index
        self._follower = follower
        self._notices = notices
        self._start_window = start_window
        self._with_requests = with_requests
        self.review: Review = _no_review
        """Policy's second decision on what people approved. Set once: what it needs in turn needs the dispatcher."""

    def at_once(self, requested: Requested) -> Requested:
        """Return the request with its dispatch, if it waits for nothing.

        Agents then see the whole event. So it needs parameters that are public, all of them.
        """
        waits = requested.dry_run or requested.target == WRIT_TARGET or needs_approval(requested) or lines_of(requested)
        if waits or requested.hidden or not self._with_requests:
            return requested
        at_once = DispatchedAtOnce(
            start_by=requested.at + self._start_window, decision_digest=digest(requested.decision)
        )
        return structs.replace(requested, dispatched=at_once)

    async def give_notice(self, requested: Requested) -> None:
        """Let an agent read the baseline of an operation about to be recorded, if nothing delays its dispatch."""
        await self._notices.send(requested)

    async def start(self, life: AcceptedLife) -> Life:
        """Dispatch the operation if its target and limits are free. Return its life, which may still be waiting."""
        stands_in = lines_of(life.requested)
        if not stands_in:
            event = await self._first_event(life)
            return life if event is None else await self._recorder.append(life, event)
        if await self._follower.reached(life.sequence):
            await self.advance(*stands_in)
        return self._index.get(life.requested.operation_id) or life

    async def advance(self, *stood_in: str) -> None:
        """Dispatch as many of the next operations in these lines as possible. Losing a race to another replica is
        fine.
        """
        for line in stood_in:
            while (life := self._index.next_in(line, self._waits_for_probe)) is not None:
                with going_on(life):
                    if not await self._dispatch_next(life) and not self._waits_for_probe(life):
                        break

    async def _dispatch_next(self, life: AcceptedLife) -> bool:
        requested = life.requested
        locks = {line: await self._lock(line) for line in lines_of(requested)}
        if not await self._may_go(life, locks):
            return False
        fault("executor.before_dispatch")
        event = await self._first_event(life)
        if event is None:
            return True
        try:
            if requested.limits:
                await self._recorder.dispatch_with_locks(life, event, locks)
                fault("executor.let_in")
                return True
            lock = locks[subjects.target_lock(requested.target)]
            if lock is None or lock.operation_id != requested.operation_id:
                noticed = self._notices.hold(requested, lock)
                await self._recorder.take_lock(requested, lock)
                at = self._recorder.clock()  # after its lock, in times as in sequences
                event = structs.replace(event, at=at, noticed=noticed)
            fault("executor.locked")
            await self._recorder.append(life, event)
        except Conflict:
            for line in locks:
                self._index.locks.pop(line, None)  # what we knew of it was old: read it again next time
            return False
        return True

    async def _first_event(self, life: AcceptedLife) -> Dispatched | None:
        """Return the event by which an agent may claim it; None where policy's second decision ended an approved
        operation.
        """
        event = self._event(life.requested, attempt=1)
        if life.state is not State.APPROVED:
            return event
        reviewed = await self.review(life)
        if reviewed is None:
            return None
        # The read grants of the request are too old by now.
        return structs.replace(event, look=reviewed.look, look_key=event.look_key or reviewed.look_key, ahead=None)

    async def _may_go(self, life: AcceptedLife, locks: Mapping[str, Lock | None]) -> bool:
        requested = life.requested
        for line, lock in locks.items():
            if limit_of(requested, line) is None:
                other = lock if lock is not None and lock.operation_id != requested.operation_id else None
                if other is not None and (self._index.holds(other) or self._may_be_probed(other)):
                    return False
            elif not await self._has_room(line, life, lock):
                return False
        return True

    def _waits_for_probe(self, life: AcceptedLife) -> bool:
        lock = self._index.locks.get(subjects.target_lock(life.requested.target)) if changes(life.requested) else None
        return lock is not None and lock.operation_id != life.requested.operation_id and self._may_be_probed(lock)

    def _may_be_probed(self, lock: Lock) -> bool:
        """Return whether the last change of a target has just ended `unknown`, and a probe may find its outcome."""
        last = self._index.get(lock.operation_id)
        if not isinstance(last, GrantedLife) or last.state is not State.UNKNOWN:
            return False
        recent = abs(self._recorder.clock() - last.time) < PROBE_FIRST  # the server's clock may be set back
        definition = self._catalogue.get(last.requested.operation)  # None for one of a plugin that was removed
        return recent and definition is not None and definition.probe

    async def _has_room(self, line: str, life: AcceptedLife, lock: Lock | None) -> bool:
        """Return whether the limit has room. Its holders are known once the journal was read up to its last lock."""
        read = lock is None or await self._follower.reached(lock.sequence)
        return read and self._index.has_room(line, life, lock)

    async def is_last(self, requested: Requested) -> bool:
        """Return whether no operation has taken the target's lock since this one did, by the journal as it is now."""
        lock = await self._recorded_lock(subjects.target_lock(requested.target))
        return lock is not None and lock.operation_id == requested.operation_id

    def held_up_by(self, life: AcceptedLife) -> RuleLimit | None:
        """Return the limit that keeps the operation waiting; None if its target does."""
        requested = life.requested
        return requested.limits[0] if requested.limits and self._index.has_target(life) else None

    async def again(self, life: DispatchedLife, over: Signed | None = None) -> None:
        """Dispatch another attempt; the operation still holds its target.

        `over`: the receipt for the end of the earlier attempt. Without it policy waits for the earlier attempt's
        deadline.
        """
        before = life.dispatched
        event = structs.replace(self._event(life.requested, attempt=before.attempt + 1), over=over)
        if life.approved is not None:
            event = structs.replace(event, look=before.look, look_key=before.look_key, ahead=None)
        await self._recorder.append(life, event)

    async def _lock(self, line: str) -> Lock | None:
        known = self._index.locks.get(line)
        if known is None and (recorded := await self._recorded_lock(line)) is not None:
            return self._index.locks.setdefault(line, recorded)
        return known

    async def _recorded_lock(self, line: str) -> Lock | None:
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
