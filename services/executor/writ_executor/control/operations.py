"""The operations on Writ itself that an executor carries out: cancels, stops, emergencies, versions of the policy,
archives of the journal.

Each was decided by policy like any other; what it does is an event in the journal, and nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping

from writ_contracts import subjects
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import CancelRequested, Requested, Started
from writ_contracts.life import Life, State
from writ_executor.control.archiving import Archiving
from writ_executor.control.policy_versions import Done, Publishing
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.lookup import Lives
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_runtime.faults import fault

INSTANCE = "executor"
EVENTS = ("stop_set", "stop_lift", "emergency_declare", "emergency_confirm")
"""What these do is a control event, named after them: policy follows it."""
Carry = Callable[[Requested], Awaitable[Done]]


class Controls:
    """Control operations by name."""

    def __init__(
        self,
        recorder: Recorder,
        lives: Lives,
        vault: Vault,
        outcomes: OutcomeRecorder,
        cancels: Cancels,
        publishing: Publishing,
        archiving: Archiving,
    ) -> None:
        self._recorder = recorder
        self._lives = lives
        self._vault = vault
        self._outcomes = outcomes
        self._cancels = cancels
        self.offered: Mapping[str, Carry] = {
            "operation_cancel": self._cancel,
            "policy_publish": publishing.carry_out,
            "policy_rollback": publishing.carry_out,
            "journal_archive": archiving.carry_out,
            **dict.fromkeys(EVENTS, self._control),
        }

    async def carry_out(self, life: Life) -> None:
        """From `requested` (or `started`, where another replica died) to its outcome; each step may be repeated."""
        requested = life.requested
        if requested is None:
            return
        if life.state is State.REQUESTED:
            life = await self._recorder.append(life, self._started(requested))
        fault("executor.control_started")
        try:
            outcome, code, message, output = await self.offered[requested.operation](requested)
        except Invalid as error:
            outcome, code, message, output = "failed", error.code, str(error), {}
        await self._outcomes.finish(life, outcome=outcome, code=code, message=message, output=output)

    def _started(self, requested: Requested) -> Started:
        return Started(
            **(stamp := self._recorder.stamp(requested.correlation_id)),
            operation_id=requested.operation_id,
            attempt=1,
            instance=INSTANCE,
            deadline=stamp["at"] + requested.timeout,
            parameters=requested.effective,
            decision=requested.decision,
        )

    async def _control(self, requested: Requested) -> Done:
        kind = requested.operation
        event = self._recorder.control_event(requested, self._vault.digest_key(requested.operation_id))
        life = await self._lives.find(requested.principal, requested.operation_id)
        sequence = await self._recorder.append_once(subjects.control_event(kind), event, after=life.first_sequence)
        fault("executor.control_stored")
        named = requested.effective.get("stop_id") or requested.effective.get("emergency_id")
        set_id = str(named or requested.operation_id)
        return "succeeded", "", "", {"id": set_id, "sequence": sequence}

    async def _cancel(self, requested: Requested) -> Done:
        victim_id = str(requested.effective["operation_id"])
        principal, _ = await self._lives.find_any(victim_id)
        for _ in range(ATTEMPTS):
            life = await self._lives.fresh(principal, victim_id)
            if not life.open:
                return "failed", "not_cancellable", f"it has already ended: {life.outcome}", {"result": "ended"}
            try:
                return await self._cancel_now(requested, life)
            except Conflict:
                continue  # it moved on while we looked: look again
        raise Conflict(f"{victim_id} moved on {ATTEMPTS} times while it was to be cancelled")

    async def _cancel_now(self, requested: Requested, life: Life) -> Done:
        if life.state in (State.STARTED, State.CANCELLING):
            return await self._cancel_running(requested, life)
        message = f"cancelled by {requested.principal} before it started"
        ended = await self._outcomes.not_started(life, "cancelled", "cancelled", message)
        return "succeeded", "", "", {"result": "cancelled" if ended.outcome == "cancelled" else "not_confirmed"}

    async def _cancel_running(self, requested: Requested, life: Life) -> Done:
        victim = life.requested
        if victim is None or victim.target == WRIT_TARGET:
            return (
                "failed",
                "not_cancellable",
                "a control operation that has begun is not cancelled",
                {"result": "running"},
            )
        if life.state is State.STARTED:
            life = await self._recorder.append(life, self._cancel_event(requested, victim))
        fault("executor.cancel_requested")
        try:
            result = await self._cancels.ask(life)
        except WritError as error:
            return "succeeded", error.code, f"the agent did not answer yet: {error}", {"result": "not_confirmed"}
        return "succeeded", "", "", {"result": result}

    def _cancel_event(self, requested: Requested, victim: Requested) -> CancelRequested:
        return CancelRequested(
            **self._recorder.stamp(victim.correlation_id),
            operation_id=victim.operation_id,
            by=requested.principal,
            cancel_id=requested.operation_id,
            decision=requested.decision,
            parameters=requested.effective,
            parameters_key=self._vault.digest_key(requested.operation_id),
        )
