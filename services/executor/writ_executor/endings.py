"""How operations end: the event, then what must follow from it (parameters forgotten, the next in line let go)."""

from typing import Any

from writ_contracts.errors import WritError
from writ_contracts.journal import Finished, Outcome, Requested, Resolved, Unknown
from writ_contracts.life import Life
from writ_contracts.signing import Signed
from writ_executor.chores import Chores
from writ_executor.dispatch import Dispatcher
from writ_executor.index import changes
from writ_executor.presence import Presence
from writ_executor.recorder import Recorder
from writ_executor.vault import Vault
from writ_runtime.logs import Log
from writ_runtime.metrics import Counter

_log = Log("writ.executor")


class Endings:
    """Appends `finished`, `unknown` and `resolved`."""

    def __init__(
        self,
        recorder: Recorder,
        vault: Vault,
        dispatcher: Dispatcher,
        presence: Presence,
        chores: Chores,
        outcomes: Counter,
    ) -> None:
        self._recorder = recorder
        self._vault = vault
        self._dispatcher = dispatcher
        self._presence = presence
        self._chores = chores
        self._outcomes = outcomes

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
        return self._after(await self._recorder.append(life, event), requested, outcome)

    async def not_started(
        self, life: Life, outcome: Outcome, code: str, message: str, decision: Signed | None = None
    ) -> Life:
        """Its end before this attempt began: `unknown` where an earlier one may have taken effect."""
        if earlier_effect(life):
            return await self.lose(life, code, f"{message}; an earlier attempt may have taken effect")
        return await self.finish(life, outcome=outcome, code=code, message=message, decision=decision)

    async def lose(self, life: Life, code: str, message: str, receipt: Signed | None = None) -> Life:
        """`unknown`: it may have run, and nobody can tell yet."""
        requested = _requested(life)
        event = Unknown(
            **self.stamp(requested), operation_id=requested.operation_id, code=code, message=message, receipt=receipt
        )
        return self._after(await self._recorder.append(life, event), requested, "unknown")

    async def resolve(self, life: Life, event: Resolved) -> Life:
        """What it was after all."""
        return self._after(await self._recorder.append(life, event), _requested(life), event.outcome)

    def _after(self, life: Life, requested: Requested, outcome: str) -> Life:
        self._outcomes.add(outcome=outcome, operation=requested.operation)
        self._presence.forget(requested.pool, requested.operation_id)
        self._chores.spawn("clean up", self._clean_up(requested, forget=outcome != "unknown"))
        return life

    async def _clean_up(self, requested: Requested, *, forget: bool) -> None:
        if changes(requested):
            await self._dispatcher.advance(requested.target)
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
