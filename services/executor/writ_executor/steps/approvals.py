"""Approvals on the executor's side: it records the wait, and requests a second decision once they are complete.

People's verdicts pass no executor. Policy records them; executors follow the journal like everybody else.
"""

from writ_contracts.decisions import DecideRequest, Decision, changed_since
from writ_contracts.errors import Invalid
from writ_contracts.journal import AwaitingApproval, Outcome, Requested
from writ_contracts.life import AcceptedLife
from writ_contracts.operations import Catalogue
from writ_contracts.people.approvals import seconds_of
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.agents.targets import Targets
from writ_executor.journal.hidden_values import ParametersLost, Vault
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.policy.client import CheckedDecision, PolicyClient
from writ_executor.policy.recorded_request import subject_of
from writ_executor.steps.approver_events import ApproverEvents
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_runtime.faults import fault
from writ_runtime.journal.stop_history import StopHistory, frozen_seconds
from writ_trust.statements import read


class ApprovalSteps:
    """From `requested` to `awaiting_approval`, and from `approved` to the second decision."""

    def __init__(
        self,
        catalogue: Catalogue,
        index: Index,
        recorder: Recorder,
        vault: Vault,
        policy: PolicyClient,
        outcomes: OutcomeRecorder,
        events: ApproverEvents,
        targets: Targets,
        stops: StopHistory,
        start_seconds: float,
        statements: AgentStatements,
    ) -> None:
        """`start_seconds`: how long an approved operation may wait for its target."""
        self._catalogue = catalogue
        self._index = index
        self._recorder = recorder
        self._vault = vault
        self._policy = policy
        self._outcomes = outcomes
        self._events = events
        self._targets = targets
        self._stops = stops
        self._start_seconds = start_seconds
        self._statements = statements

    async def wait(self, life: AcceptedLife) -> AcceptedLife:
        """Record the wait for approval. Raises as an append."""
        waiting = self._waiting(life.requested)
        life = await self._recorder.append(life, waiting)
        fault("executor.awaiting_approval")
        await self._events.send(waiting, "pending")
        return life

    def _waiting(self, requested: Requested) -> AwaitingApproval:
        decision = read(requested.decision, Decision)
        return AwaitingApproval(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            approvers=list(decision.could_approve),
            quorum=max((sum(step.quorum for step in one.steps) for one in decision.demands), default=1),
            requested_at=requested.at,
            until=requested.at + seconds_of(decision.demands),
            principal=requested.principal,
            operation=requested.operation,
            target=requested.target,
            acts_for=requested.acts_for,
            demands=decision.demands,
        )

    async def frozen_seconds(self, life: AcceptedLife) -> float:
        """Return the seconds since the request in which stops held the operation up. People have so much more time."""
        requested = life.requested
        return frozen_seconds(
            await self._stops.periods(),
            requested.target,
            await self._targets.role_of(requested.target),
            [name for name in (requested.principal, requested.acts_for) if name],
            requested.operation,
            since=life.first_time or requested.at,
            now=self._recorder.clock(),
        )

    async def remind(self, waiting: AwaitingApproval) -> None:
        """Remind approvers of the pending operation."""
        await self._events.send(waiting, "reminder")

    async def review(self, life: AcceptedLife) -> CheckedDecision | None:
        """Return policy's decision on an approved operation right before its start, with a new read grant for its
        baseline; None where the decision ended it: denied by now, or `stale`. Raises where policy does not answer.
        """
        requested = life.requested
        try:
            parameters = await self._vault.parameters(requested)
            decided = await self._policy.decide(self._question(requested, parameters))
        except ParametersLost as error:
            await self._outcomes.not_started(life, "failed", error.code, f"nothing was run: {error}")
            return None
        except Invalid as error:  # its principal or target was removed
            await self._statements.listing_refused(requested, error)
            await self._outcomes.not_started(life, "denied", error.code, f"at its start: {error}")
            return None
        return await self._allowed(life, requested, decided)

    async def _allowed(
        self, life: AcceptedLife, requested: Requested, decided: CheckedDecision
    ) -> CheckedDecision | None:
        outcome, code, why = _refusal(read(requested.decision, Decision), decided.decision)
        if outcome is None:
            return decided
        await self._outcomes.not_started(life, outcome, code, f"at its start: {why}", decided.signed)
        return None

    def _question(self, requested: Requested, parameters: dict[str, object]) -> DecideRequest:
        baseline = self._catalogue.find(requested.operation).baseline
        return DecideRequest(
            subject=subject_of(requested, parameters, self._vault.keys_of(requested).parameters),
            control_sequence=self._index.control_sequence,
            look=["baseline"] if baseline else [],
            look_until=self._recorder.clock() + self._start_seconds if baseline else None,
            look_key=self._vault.keys_of(requested).read_grant,
        )


def _refusal(first: Decision, now: Decision) -> tuple[Outcome | None, str, str]:
    """Return the outcome, code and reason of an approved operation which must not start; no outcome where it may."""
    if now.effect == "deny":
        return "denied", now.code, now.reason
    if now.effect == "require_approval":
        return "stale", "stale", f"the approvals on record do not satisfy the policy any more: {now.reason}"
    why = changed_since(first, now)
    return ("stale", "stale", why) if why else (None, "", "")
