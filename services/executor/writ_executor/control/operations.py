"""Control operations: cancels, stops, emergencies, principals, policy versions and journal archives.

Policy decides on each like on any other. Its effect is an event in the journal and nothing else.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Literal

from msgspec import structs

from writ_contracts import subjects
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import CancelRequested, Finished, Requested, Resolved, Started
from writ_contracts.life import AcceptedLife, CancellingLife, ControlLife, GrantedLife, Life, State, is_open
from writ_contracts.policy.stops import Reach
from writ_contracts.signing import Signed
from writ_executor.agents.targets import Targets
from writ_executor.control.archiving import ArchiveOperation
from writ_executor.control.control_outcome import ControlOutcome
from writ_executor.control.in_force_check import ENDINGS, check_in_force
from writ_executor.control.policy_versions import PolicyVersionOperations
from writ_executor.control.principals import PrincipalManagement, not_confirmed_by_nats
from writ_executor.journal.follower import JournalFollower
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.dispatch import Review
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_runtime.faults import fault

INSTANCE = "executor"
EVENTS = (
    *("stop_set", "stop_lift", "emergency_declare", "emergency_confirm", "emergency_review"),
    *("window_request", "window_end", "session_open", "session_end"),
)
"""Operations whose effect is a control event of the same name, which policy follows."""
SESSIONS = ("session_open", "session_end")
"""Those that NATS has to follow, too."""
NAMED = ("stop_id", "emergency_id", "window_id", "session_id")
RUNNING = (State.STARTED, State.CANCELLING)
RECEIPT_SECONDS, RECEIPT_PAUSE = 2.0, 0.05
"""Time for the receipt of an operation that its agent ended just before the cancel."""
MOST_RUNNING = 500
"""Ids in the output of a stop, which has to fit into one event."""
Carry = Callable[[Requested], Awaitable[ControlOutcome]]


class ControlOperations:
    """The control operations by name."""

    def __init__(
        self,
        recorder: Recorder,
        lives: OperationTable,
        vault: Vault,
        outcomes: OutcomeRecorder,
        cancels: Cancels,
        publishing: PolicyVersionOperations,
        archiving: ArchiveOperation,
        principals: PrincipalManagement,
        index: Index,
        follower: JournalFollower,
        targets: Targets,
        review: Review,
    ) -> None:
        self._index = index
        self._follower = follower
        self._targets = targets
        self._recorder = recorder
        self._lives = lives
        self._vault = vault
        self._outcomes = outcomes
        self._review = review
        self._cancels = cancels
        self._principals = principals
        self.offered: Mapping[str, Carry] = {
            "operation_cancel": self._cancel,
            "policy_publish": publishing.carry_out,
            "policy_rollback": publishing.carry_out,
            "journal_archive": archiving.carry_out,
            "principal_manage": principals.carry_out,
            **dict.fromkeys(EVENTS, self._control),
            "stop_set": self._stop,
            **dict.fromkeys(SESSIONS, self._session),
        }

    async def carry_out(self, life: AcceptedLife) -> None:
        """Carry the operation from `requested` (or `started`, after a replica's death) to its outcome. Each step may
        be repeated.
        """
        started = life if isinstance(life, ControlLife) else await self._start(life)
        if started is not None:
            await self._carry_out(started)

    async def _start(self, life: AcceptedLife) -> ControlLife | None:
        """Record its start; None where policy's second decision ended an approved operation."""
        requested = life.requested
        if life.state is State.REQUESTED:
            return await self._recorder.append(life, self._started(requested, requested.decision))
        reviewed = await self._review(life)
        if reviewed is None:
            return None
        return await self._recorder.append(life, self._started(requested, reviewed.signed))

    async def _carry_out(self, life: ControlLife) -> None:
        requested = _as_started(life)
        fault("executor.control_started")
        try:
            result = await self.offered[requested.operation](requested)
        except Invalid as error:
            result = ControlOutcome(outcome="failed", code=error.code, message=str(error))
        if result.outcome == "unknown":
            await self._outcomes.mark_unknown(life, result.code, result.message, output=result.output)
        else:
            await self._outcomes.finish(
                life, outcome=result.outcome, code=result.code, message=result.message, output=result.output
            )

    def _started(self, requested: Requested, decision: Signed) -> Started:
        return Started(
            **(stamp := self._recorder.stamp(requested.correlation_id)),
            operation_id=requested.operation_id,
            attempt=1,
            instance=INSTANCE,
            deadline=stamp["at"] + requested.timeout,
            parameters=requested.effective,
            decision=decision,
        )

    async def _stop(self, requested: Requested) -> ControlOutcome:
        result = await self._control(requested)
        message = ""
        if not await self._follower.reached(
            int(result.output["sequence"])
        ):  # a start at another replica may be missing
            message = "the executor has not read the journal up to the stop: more operations may run than are listed"
        found = [one async for one in self._running_within(requested)]
        listed = {"running": found[:MOST_RUNNING], "more": max(len(found) - MOST_RUNNING, 0)}
        return structs.replace(result, message=message, output={**result.output, **listed})

    async def _session(self, requested: Requested) -> ControlOutcome:
        """Record the session or its end, and have NATS follow. Policy follows at once, whatever NATS does."""
        result = await self._control(requested)
        try:
            await self._principals.provision(int(result.output["sequence"]))
        except WritError as error:
            return not_confirmed_by_nats(error, result.output)
        return result

    async def _running_within(self, requested: Requested) -> AsyncIterator[str]:
        """Yield the operations that the stop covers, and that go on since they started before it was stored."""
        parameters = requested.effective
        names = ("roles", "principals", "operations")
        reach = Reach(targets=parameters.get("scope", ["*"]), **{name: parameters.get(name) or () for name in names})
        for life in self._index.open():
            one = life.requested
            if life.state not in RUNNING or one.risk == "read" or one.target == WRIT_TARGET:
                continue
            principals = [name for name in (one.principal, one.acts_for) if name]
            if reach.covers(one.target, await self._targets.role_of(one.target), principals, one.operation):
                yield one.operation_id

    async def _control(self, requested: Requested) -> ControlOutcome:
        kind = requested.operation
        if kind in ENDINGS:
            begun = await self._recorder.control_events(ENDINGS[kind].begun_by)
            check_in_force(requested, begun, await self._recorder.control_events(kind))
        event = self._recorder.control_event(requested, self._vault.keys_of(requested).parameters)
        life = await self._lives.find(requested.principal, requested.operation_id)
        sequence = await self._recorder.append_once(subjects.control_event(kind), event, after=life.first_sequence)
        fault("executor.control_stored")
        named = next((requested.effective[name] for name in NAMED if name in requested.effective), None)
        set_id = str(named or requested.operation_id)
        return ControlOutcome(output={"id": set_id, "sequence": sequence})

    async def _cancel(self, requested: Requested) -> ControlOutcome:
        victim_id = str(requested.effective["operation_id"])
        principal, _ = await self._lives.find_any(victim_id)
        for _ in range(ATTEMPTS):
            life = await self._lives.fresh(principal, victim_id)
            if not is_open(life):
                return _ended(life)
            try:
                return await self._cancel_now(requested, life)
            except Conflict:
                continue  # it moved on meanwhile: read it again
        raise Conflict(f"{victim_id} changed {ATTEMPTS} times during the cancel: try again")

    async def _cancel_now(self, requested: Requested, life: AcceptedLife) -> ControlOutcome:
        if life.state in RUNNING:
            return await self._cancel_running(requested, life)
        message = f"cancelled by {requested.principal} before it started"
        ended = await self._outcomes.not_started(life, "cancelled", "cancelled", message)
        if ended.outcome == "unknown":
            return _not_confirmed(life.requested, "an earlier attempt may have taken effect")
        return ControlOutcome(output={"result": "cancelled"})

    async def _cancel_running(self, requested: Requested, life: AcceptedLife) -> ControlOutcome:
        victim = life.requested
        if not isinstance(life, GrantedLife):
            return _not_cancellable("a control operation that has begun cannot be cancelled", "running")
        if not isinstance(life, CancellingLife):
            life = await self._recorder.append(life, self._cancel_event(requested, victim))
        fault("executor.cancel_requested")
        try:
            result = await self._cancels.request(life)
        except WritError as error:
            return _not_confirmed(victim, f"its agent has not replied yet ({error})")
        if result == "stopped":
            return ControlOutcome(output={"result": result})
        if (by_end := _by_end(await self._soon_ended(victim))) is not None:
            return by_end
        if result == "not_running":
            return _not_confirmed(victim, "its agent does not run this operation")
        return _not_confirmed(victim, "if the host has begun it, a process of it may still run")

    async def _soon_ended(self, victim: Requested) -> Life:
        """Return the operation, once it has ended or the time for its receipt is over: an agent that has just ended it
        confirms no stop, and its receipt is on the way.
        """
        deadline = time.monotonic() + RECEIPT_SECONDS
        while (life := await self._lives.find(victim.principal, victim.operation_id)).open:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(RECEIPT_PAUSE)
        return life

    async def resolve_cancel(self, life: AcceptedLife) -> None:
        """Record the outcome of an unconfirmed cancel, if the outcome of its operation is known by now."""
        requested = life.requested
        _, victim = await self._lives.find_any(str(requested.effective["operation_id"]))
        known = _by_end(victim)
        if known is None or known.outcome == "unknown":
            return
        event = Resolved(
            **self._recorder.stamp(requested.correlation_id),
            operation_id=requested.operation_id,
            outcome=known.outcome,
            how=_how_known(victim),
            code=known.code,
            message=known.message,
            output=known.output,
        )
        await self._outcomes.resolve(life, event)

    def _cancel_event(self, requested: Requested, victim: Requested) -> CancelRequested:
        return CancelRequested(
            **self._recorder.stamp(victim.correlation_id),
            operation_id=victim.operation_id,
            by=requested.principal,
            cancel_id=requested.operation_id,
            decision=requested.decision,
            parameters=requested.effective,
            parameters_key=self._vault.keys_of(requested).parameters,
        )


def _how_known(victim: Life) -> Literal["receipt", "probe"]:
    """Return the source of the operation's outcome."""
    end = victim.end
    return "probe" if isinstance(end, Finished | Resolved) and end.probe is not None else "receipt"


def _by_end(victim: Life) -> ControlOutcome | None:
    """Return the outcome of a cancel that was sent to the agent; None while that of its operation is not known."""
    if victim.open or victim.outcome in (None, "unknown"):
        return None
    return ControlOutcome(output={"result": "stopped"}) if victim.outcome == "cancelled" else _ended(victim)


def _ended(life: Life) -> ControlOutcome:
    return _not_cancellable(f"it has already ended: {life.outcome}", "ended")


def _not_cancellable(message: str, result: str) -> ControlOutcome:
    return ControlOutcome(outcome="failed", code="not_cancellable", message=message, output={"result": result})


def _not_confirmed(victim: Requested, why: str) -> ControlOutcome:
    """Return the result of a cancel whose effect was not observed: never `succeeded`."""
    message = f"{why}; `writ op watch {victim.operation_id}` shows its end"
    return ControlOutcome(outcome="unknown", code="not_confirmed", message=message)


def _as_started(life: ControlLife) -> Requested:
    """Return the request with the decision it was started by: for an approved one the second, which allows."""
    decision = life.started.decision
    return life.requested if decision is None else structs.replace(life.requested, decision=decision)
