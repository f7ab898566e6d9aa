"""Notices of operations that are soon dispatched, so that an agent reads the baseline while their events are stored.

A notice is sent only while the target is free, and to a pool with one agent alone. The baseline counts if the operation
is the next one to take the target's lock; `dispatched` states that.
"""

from collections import OrderedDict

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import BaselineNotice
from writ_contracts.errors import WritError
from writ_contracts.journal import Requested
from writ_contracts.wire import encode
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.index import Index, Lock
from writ_executor.journal.lines import lines_of, needs_approval
from writ_runtime.faults import fault
from writ_runtime.logs import Log

MOST_REMEMBERED = 1_000
_log = Log("writ.executor")


class BaselineNotices:
    """Sends the notices of one executor, and remembers the lock that each was sent under."""

    def __init__(self, bus: Bus, index: Index, presence: AgentPresence) -> None:
        self._bus, self._index, self._presence = bus, index, presence
        self._sent: OrderedDict[str, int] = OrderedDict()
        """By operation id, the sequence of its target's last lock."""

    async def send(self, requested: Requested) -> None:
        """Send the notice of an operation that is about to be recorded, if its agent can use it."""
        lock = self._free_target(requested)
        if lock is None or requested.look is None or len(self._presence.agents(requested.pool)) != 1:
            return
        notice = BaselineNotice(
            operation_id=requested.operation_id,
            operation=requested.operation,
            target=requested.target,
            parameters=requested.effective,
            look=requested.look,
            look_key=requested.look_key,
        )
        try:
            await self._bus.publish(subjects.baseline_notice(requested.pool), encode(notice))
        except WritError as error:  # the agent reads after `dispatched`
            _log.debug("baselines.not_noticed", operation_id=requested.operation_id, error=str(error))
            return
        fault("executor.noticed")
        self._sent[requested.operation_id] = lock.sequence
        if len(self._sent) > MOST_REMEMBERED:
            self._sent.popitem(last=False)

    def hold(self, requested: Requested, lock: Lock | None) -> bool:
        """Return whether the target is still free as it was at the notice of this operation, once for each notice.
        `lock`: the target's last lock, after which this operation takes it.
        """
        sequence = self._sent.pop(requested.operation_id, None)
        return lock is not None and lock.sequence == sequence

    def _free_target(self, requested: Requested) -> Lock | None:
        """Return the last lock of the target if nothing holds it and nothing else holds up the operation, else None."""
        line = subjects.target_lock(requested.target)
        if lines_of(requested) != (line,) or needs_approval(requested):
            return None
        lock = self._index.locks.get(line)
        if lock is None or self._index.holds(lock) or self._index.next_in(line) is not None:
            return None
        return lock
