"""How operations end: the event, then what must follow from it (parameters forgotten, the next in line let go)."""

from typing import Any

from msgspec import structs

from writ_contracts.errors import WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Finished, Outcome, Requested, Resolved, Unknown
from writ_contracts.life import Life
from writ_contracts.signing import Signed
from writ_executor.agents.presence import Presence
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import lines
from writ_executor.journal.recorder import Recorder
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
        presence: Presence,
        background: BackgroundTasks,
        audit_detail: AuditDetail,
    ) -> None:
        self._recorder = recorder
        self._vault = vault
        self._dispatcher = dispatcher
        self._presence = presence
        self._background = background
        self._audit_detail = audit_detail

    def now(self) -> float:
        """Unix seconds."""
        return self._recorder.clock()

    def stamp(self, requested: Requested) -> dict[str, Any]:
        """The fields that every event of this operation has."""
        return self._recorder.stamp(requested.correlation_id)

    async def finish(
        self,
        life: Life,
        *,
        outcome: Outcome,
        code: str = "",
        message: str = "",
        output: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        output_digest: str = "",
        receipt: Signed | None = None,
        decision: Signed | None = None,
    ) -> Life:
        """Its one outcome. Raises Conflict if another was first."""
        requested = _requested(life)
        if not self._keeps(requested):
            if output:
                await self._vault.keep_result(requested.principal, requested.operation_id, output)
            output, state = {}, {}
        event = Finished(
            **self.stamp(requested),
            operation_id=requested.operation_id,
            outcome=outcome,
            code=code,
            message=message,
            output=output or {},
            state=state or {},
            output_digest=output_digest,
            receipt=receipt,
            decision=decision,
        )
        return self._after(await self._recorder.append(life, event), requested)

    async def not_started(
        self, life: Life, outcome: Outcome, code: str, message: str, decision: Signed | None = None
    ) -> Life:
        """Its end before this attempt began: `unknown` where an earlier one may have taken effect."""
        if earlier_effect(life):
            return await self.mark_unknown(life, code, f"{message}; an earlier attempt may have taken effect")
        return await self.finish(life, outcome=outcome, code=code, message=message, decision=decision)

    async def mark_unknown(self, life: Life, code: str, message: str, receipt: Signed | None = None) -> Life:
        """`unknown`: it may have run, and nobody can tell yet."""
        requested = _requested(life)
        event = Unknown(
            **self.stamp(requested), operation_id=requested.operation_id, code=code, message=message, receipt=receipt
        )
        return self._after(await self._recorder.append(life, event), requested)

    async def resolve(self, life: Life, event: Resolved) -> Life:
        """What it was after all."""
        requested = _requested(life)
        if not self._keeps(requested):
            event = structs.replace(event, output={}, state={})
        return self._after(await self._recorder.append(life, event), requested)

    def shown(self, observed: dict[str, Any]) -> dict[str, Any]:
        """What of something seen on a host is not too large to be kept."""
        return self._audit_detail.shown(observed)

    def _keeps(self, requested: Requested) -> bool:
        """Whether outputs of this one are for the record; those of control operations are in any case."""
        return self._audit_detail.outputs or requested.target == WRIT_TARGET

    def _after(self, life: Life, requested: Requested) -> Life:
        self._presence.forget(requested.pool, requested.operation_id)
        self._background.spawn("clean up", self._clean_up(requested, forget=life.outcome != "unknown"))
        return life

    async def _clean_up(self, requested: Requested, *, forget: bool) -> None:
        await self._dispatcher.advance(*lines(requested))
        if not forget:  # a probe may still ask policy about it; the parameters' own age ends them
            return
        try:
            await self._vault.forget(requested)
        except WritError as error:
            _log.warning("parameters.not_deleted", operation_id=requested.operation_id, error=str(error))


def earlier_effect(life: Life) -> bool:
    """Whether an attempt before the latest dispatched one was started: what may be run again may have run before."""
    if life.requested is None or life.dispatched is None or life.requested.risk == "read":
        return False
    return life.started is not None and life.dispatched.attempt > 1


def _requested(life: Life) -> Requested:
    if life.requested is None:
        raise AssertionError("only an accepted operation ends here")
    return life.requested
