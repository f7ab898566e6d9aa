"""Why an operation has not started yet, as far as this replica has read the journal and received heartbeats."""

from writ_contracts.decisions import RuleLimit
from writ_contracts.journal import Requested
from writ_contracts.life import AcceptedLife, Life, State
from writ_contracts.requests import WaitingReason
from writ_contracts.subjects import limit_line
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.index import Index


class WaitingReasons:
    """Finds the target, limit, approval or agent an operation waits for."""

    def __init__(self, index: Index, presence: AgentPresence) -> None:
        self._index = index
        self._presence = presence

    def of(self, life: Life) -> WaitingReason | None:
        """Return the reason; None for an operation which runs, has ended, or is about to start."""
        if not isinstance(life, AcceptedLife):
            return None
        requested = life.requested
        match life.state:
            case State.REQUESTED | State.APPROVED:
                return self._target(life, requested) or self._limit(life, requested)
            case State.AWAITING_APPROVAL:
                return WaitingReason(kind="approval", text=f"waits for an approval: {requested.verdict.reason}")
            case State.DISPATCHED:
                return self._agent(requested.pool)
            case _:
                return None

    def _target(self, life: AcceptedLife, requested: Requested) -> WaitingReason | None:
        ahead = self._index.ahead_of(life)
        if ahead is None:
            return None
        first = ahead.requested
        text = f"waits for {requested.target}: {first.operation} {first.operation_id} holds its lock ({ahead.state})"
        return WaitingReason(kind="target", text=text, operation_id=first.operation_id)

    def _limit(self, life: AcceptedLife, requested: Requested) -> WaitingReason | None:
        return next((_of_limit(limit) for limit in requested.limits if not self._has_room(limit, life)), None)

    def _has_room(self, limit: RuleLimit, life: AcceptedLife) -> bool:
        line = limit_line(limit.rule, limit.kind)
        return self._index.has_room(line, life, self._index.locks.get(line))

    def _agent(self, pool: str) -> WaitingReason | None:
        agents = self._presence.agents(pool)
        if not agents and not self._presence.new:
            return WaitingReason(kind="agent", text=f"waits for an agent of pool {pool}: none is online")
        if agents and not any(agent.free_slots for agent in agents):
            return WaitingReason(
                kind="agent", text=f"waits for a free slot: all agents of pool {pool} ({len(agents)}) are busy"
            )
        return None


def _of_limit(limit: RuleLimit) -> WaitingReason:
    what = ("operation" if limit.kind == "max_concurrent" else "target") + ("" if limit.most == 1 else "s")
    text = f"waits for a limit: rule '{limit.rule}' allows {limit.most} {what} at once"
    return WaitingReason(kind="limit", text=text, rule=limit.rule)
