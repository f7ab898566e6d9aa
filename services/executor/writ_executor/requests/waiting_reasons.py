"""Why an operation has not started yet, as far as this replica has read the journal and received heartbeats."""

from collections.abc import Callable

from msgspec import structs

from writ_contracts.decisions import RuleLimit
from writ_contracts.journal import Requested
from writ_contracts.life import AcceptedLife, GrantedLife, Life, State
from writ_contracts.requests import WaitingReason
from writ_contracts.subjects import limit_line
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.wait_notices import WaitNotices
from writ_executor.journal.index import Index

MINUTE = 60
STEPS = (1800, 600, 300, 120, 60, 30, 20, 10, 7, 5, 2)
"""Seconds."""


class WaitingReasons:
    """Finds the target, limit, approval, agent or host an operation waits for, or the silent agent it runs on."""

    def __init__(
        self,
        index: Index,
        presence: AgentPresence,
        notices: WaitNotices,
        server: Callable[[], float],
        failed_preview: Callable[[str], str],
        unstored: Callable[[], str | None],
        undecided: Callable[[], str | None],
    ) -> None:
        """`server`: the journal's clock, in Unix seconds. `failed_preview`: the code with which the latest try of this
        replica to have an operation's preview made failed, or nothing. `unstored`, `undecided`: why NATS stores no
        event, and why policy does not decide, as far as this replica sees it.
        """
        self._index = index
        self._presence = presence
        self._notices = notices
        self._server = server
        self._failed_preview = failed_preview
        self._unstored, self._undecided = unstored, undecided

    def of(self, life: Life) -> WaitingReason | None:
        """Return the reason; None for an operation which runs without a wait, has ended, or is about to start. An
        operation runs as long as heartbeats name it.
        """
        if not isinstance(life, AcceptedLife) or not life.open:
            return None
        return self._of_operation(life, life.requested) or self._of_service(life)

    def _of_operation(self, life: AcceptedLife, requested: Requested) -> WaitingReason | None:
        match life.state:
            case State.REQUESTED | State.APPROVED:
                return self._target(life, requested) or self._limit(life, requested)
            case State.AWAITING_APPROVAL:
                return self._approval(life, requested)
            case State.DISPATCHED:
                return self._dispatched(requested)
            case State.STARTED | State.CANCELLING if isinstance(life, GrantedLife):
                return self._silent_run(life) or self._notices.reason(requested.operation_id)
            case _:
                return None

    def before_request(self, pool: str) -> WaitingReason | None:
        """Return the reason for which an operation would wait if it were dispatched to this pool now."""
        reason = self._agent(pool, "would wait")
        if reason is None or self._presence.agents(pool):
            return reason
        return structs.replace(reason, text=f"{reason.text}, and it expires if none comes online in time")

    def _of_service(self, life: AcceptedLife) -> WaitingReason | None:
        """Every next step is recorded first. Policy decides once more on what people have approved."""
        if (problem := self._unstored()) is not None:
            return WaitingReason(kind="storage", text=f"waits for its next event to be stored: {problem}")
        if life.state is State.APPROVED and (problem := self._undecided()) is not None:
            return WaitingReason(kind="policy", text=f"waits for the decision at its start: {problem}")
        return None

    def _dispatched(self, requested: Requested) -> WaitingReason | None:
        """A silent agent comes first: what it reported before may have ended. That all agents are busy comes last: one
        of them may have taken the operation.
        """
        agent = self._agent(requested.pool)
        if agent is not None and agent.silent:
            return agent
        return self._notices.reason(requested.operation_id) or agent

    def _approval(self, life: AcceptedLife, requested: Requested) -> WaitingReason:
        """An approver may need a preview, and cannot see why the agent makes none."""
        text = f"waits for an approval: {requested.verdict.reason}"
        if not life.preview_digest and (code := self._failed_preview(requested.operation_id)):
            text += f"; there is no preview yet; the latest try of this executor failed: {code}"
        return WaitingReason(kind="approval", text=text)

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

    def _agent(self, pool: str, waits: str = "waits") -> WaitingReason | None:
        agents = self._presence.agents(pool)
        if not agents and not self._presence.new:
            text = f"{waits} for an agent of pool {pool}: none is online"
            return WaitingReason(kind="agent", text=text, silent=f"pool {pool}")
        if agents and (silence := self._presence.shortest_silence(pool)) > self._presence.notable_silence:
            named = agents[0].instance if len(agents) == 1 else f"{len(agents)} agents"
            text = f"{waits} for a reply of {named} of pool {pool}: no heartbeat for {more_than(silence)}"
            return WaitingReason(kind="agent", text=text, silent=named if len(agents) == 1 else f"pool {pool}")
        if agents and not any(agent.free_slots for agent in agents):
            return WaitingReason(
                kind="agent", text=f"{waits} for a free slot: all agents of pool {pool} ({len(agents)}) are busy"
            )
        return None

    def _silent_run(self, life: GrantedLife) -> WaitingReason | None:
        pool, instance = life.requested.pool, life.started.instance
        silence = self._presence.least_silence(pool, life.requested.operation_id)
        if life.state is State.STARTED and life.time:  # granted just now: no heartbeat could name it
            silence = min(silence, self._server() - life.time)
        if silence <= self._presence.notable_silence:
            return None
        text = f"runs on agent {instance} of pool {pool}: no heartbeat names it for {more_than(silence)}"
        return WaitingReason(kind="agent", text=text, silent=instance)


def more_than(seconds: float) -> str:
    """Return a period in words that stay the same for a while: clients show each change."""
    least = next((one for one in STEPS if one <= seconds), 0)
    return f"more than {least} s" if least < MINUTE else f"more than {least // MINUTE} min"


def _of_limit(limit: RuleLimit) -> WaitingReason:
    what = ("operation" if limit.kind == "max_concurrent" else "target") + ("" if limit.most == 1 else "s")
    text = f"waits for a limit: rule '{limit.rule}' allows {limit.most} {what} at once"
    return WaitingReason(kind="limit", text=text, rule=limit.rule)
