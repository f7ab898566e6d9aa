"""The ends of operations: the event, then its consequences (parameters deleted, the next in line dispatched)."""

from typing import Any

from msgspec import structs

from writ_contracts.errors import WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import AwaitingApproval, Finished, Outcome, Requested, Resolved, Unknown
from writ_contracts.life import AcceptedLife, GrantedLife
from writ_contracts.signing import Signed
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.lines import lines_of
from writ_executor.journal.recorder import Recorder
from writ_executor.steps.approver_events import ApproverEvents
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.dispatch import Dispatcher
from writ_runtime.logs import Log

_log = Log("writ.executor")


class OutcomeRecorder:
    """Appends `finished`, `unknown` and `resolved`."""

    def __init__(
        self,
        recorder: Recorder,
        vault: Vault,
        dispatcher: Dispatcher,
        presence: AgentPresence,
        background: BackgroundTasks,
        audit_detail: AuditDetail,
        approvers: ApproverEvents,
    ) -> None:
        self._recorder = recorder
        self._vault = vault
        self._dispatcher = dispatcher
        self._presence = presence
        self._background = background
        self._audit_detail = audit_detail
        self._approvers = approvers

    async def finish(
        self,
        life: AcceptedLife,
        *,
        outcome: Outcome,
        code: str = "",
        message: str = "",
        output: dict[str, Any] | None = None,
        whole: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        output_digest: str = "",
        receipt: Signed | None = None,
        probe: Signed | None = None,
        decision: Signed | None = None,
    ) -> AcceptedLife:
        """Record the outcome of the operation. Raises Conflict if another writer recorded one first.

        `whole`: the output for the requester where the record has only a part of it, `output`.
        """
        requested = life.requested
        keeps = self._keeps(requested)
        if result := whole or (None if keeps else output):
            await self._vault.keep_result(requested.principal, requested.operation_id, result)
        if not keeps:
            output, state = {}, {}
        event = Finished(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            outcome=outcome,
            code=code,
            message=message,
            output=output or {},
            state=state or {},
            output_digest=output_digest,
            receipt=receipt,
            probe=probe,
            decision=decision,
        )
        ended = self._after(await self._recorder.append(life, event), requested)
        if isinstance(life.phase, AwaitingApproval):
            await self._approvers.send(life.phase, outcome if outcome in ("expired", "cancelled") else "ended", message)
        return ended

    def rejected(self, life: AcceptedLife) -> None:
        """Clean up after an operation recorded by policy as rejected."""
        self._after(life, life.requested)

    async def not_started(
        self, life: AcceptedLife, outcome: Outcome, code: str, message: str, decision: Signed | None = None
    ) -> AcceptedLife:
        """End an operation whose present attempt did not begin: `unknown` if an earlier one may have taken effect."""
        if earlier_effect(life):
            return await self.mark_unknown(life, code, f"{message}; an earlier attempt may have taken effect")
        return await self.finish(life, outcome=outcome, code=code, message=message, decision=decision)

    async def mark_unknown(
        self,
        life: AcceptedLife,
        code: str,
        message: str,
        receipt: Signed | None = None,
        output: dict[str, Any] | None = None,
    ) -> AcceptedLife:
        """End the operation `unknown`: it may have run, and no party can say yet. `output`: of a control operation."""
        requested = life.requested
        event = Unknown(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            code=code,
            message=message,
            output=output or {},
            receipt=receipt,
        )
        return self._after(await self._recorder.append(life, event), requested)

    async def resolve(self, life: AcceptedLife, event: Resolved) -> AcceptedLife:
        """Record the outcome of an `unknown` operation."""
        requested = life.requested
        if not self._keeps(requested):
            event = structs.replace(event, output={}, state={})
        return self._after(await self._recorder.append(life, event), requested)

    def _keeps(self, requested: Requested) -> bool:
        """Return whether its outputs are kept in the journal. Those of control operations always are."""
        return self._audit_detail.outputs or requested.target == WRIT_TARGET

    def _after(self, life: AcceptedLife, requested: Requested) -> AcceptedLife:
        self._presence.forget(requested.pool, requested.operation_id)
        # Each in a task of its own: nobody repeats the deletion, so the next in line must not keep it from happening.
        if stood_in := lines_of(requested):
            self._background.spawn("dispatch next", self._dispatcher.advance(*stood_in))
        if requested.hidden and life.outcome != "unknown":  # a probe may still need a decision on it
            self._background.spawn("delete parameters", self._delete_parameters(requested))
        return life

    async def _delete_parameters(self, requested: Requested) -> None:
        try:
            await self._vault.forget(requested)
        except WritError as error:
            _log.warning("parameters.not_deleted", operation_id=requested.operation_id, error=str(error))


def earlier_effect(life: AcceptedLife) -> bool:
    """Return whether an earlier attempt was started: an idempotent operation may have taken effect before."""
    return isinstance(life, GrantedLife) and life.requested.risk != "read" and life.dispatched.attempt > 1
