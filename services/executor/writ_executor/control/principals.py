"""`principal_manage`: record the change, end the principal's operations not started yet, and have NATS updated.

Policy refuses a removed or disabled principal from the event on. The provisioner then takes it out of NATS, which
closes its connections. Changes are recorded one after the other: each must have been decided after the one before.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.decisions import Decision
from writ_contracts.errors import Conflict, Invalid, TimedOut, Unreachable, WritError
from writ_contracts.failures import raise_for
from writ_contracts.installation.provisioning import ProvisionReply, ProvisionRequest
from writ_contracts.journal import Requested
from writ_contracts.life import Life, State, is_open
from writ_contracts.registry import channel
from writ_contracts.wire import decode, decode_event, encode
from writ_executor.control.control_outcome import ControlOutcome
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_runtime.faults import fault
from writ_trust.statements import read

KIND = "principal_manage"
SUBJECT = subjects.control_event(KIND)
ENDING = frozenset({"remove", "disable"})
RUNNING = frozenset({State.STARTED, State.CANCELLING})
CONFIRMED_WITHIN = 15.0
ASKED_AGAIN, PAUSE = 0.5, 0.05
MOST_LISTED = 250
"""Ids of each list in the output, which has to fit into one event."""


class PrincipalManagement:
    """The operation `principal_manage`."""

    def __init__(
        self, bus: Bus, recorder: Recorder, lives: OperationTable, vault: Vault, index: Index, outcomes: OutcomeRecorder
    ) -> None:
        self._bus = bus
        self._recorder = recorder
        self._lives = lives
        self._vault = vault
        self._index = index
        self._outcomes = outcomes

    async def carry_out(self, requested: Requested) -> ControlOutcome:
        """Record and apply the change. Raises Invalid (`conflict`) if another was recorded after its decision."""
        sequence = await self._store(requested)
        fault("executor.control_stored")
        change = msgspec.convert(requested.effective, PrincipalManage)
        lists = await self._end_operations(change) if change.action in ENDING else _OperationLists()
        output = {"id": requested.operation_id, "sequence": sequence, **lists.output()}
        try:
            await self.provision(sequence)
        except WritError as error:
            return not_confirmed_by_nats(error, output)
        return ControlOutcome(output=output)

    async def _store(self, requested: Requested) -> int:
        event = self._recorder.control_event(requested, self._vault.keys_of(requested).parameters)
        life = await self._lives.find(requested.principal, requested.operation_id)
        decided_at = read(requested.decision, Decision).control_sequence
        for _ in range(ATTEMPTS):
            stored = await self._bus.journal.read(SUBJECT, after=life.first_sequence)
            if own := [record.sequence for record in stored if decode_event(record.data).id == event.id]:
                return own[0]
            self._recorder.check_prompt(event)
            last = await self._bus.journal.last(SUBJECT)
            if last is not None and last.sequence > decided_at:
                break
            try:
                return await self._recorder.append_after(last.sequence if last else 0, SUBJECT, event)
            except Conflict:
                continue
        raise Invalid("another change of principals was recorded first: send the request again", code="conflict")

    async def _end_operations(self, change: PrincipalManage) -> "_OperationLists":
        code = "unknown_principal" if change.action == "remove" else "principal_disabled"
        message = f"{change.principal_id} was {change.action}d before it started"
        found = _OperationLists()
        for one in list(self._of(change.principal_id)):
            life = await self._ended(one, code, message)
            (found.running if life.open else found.ended).append(one.operation_id)
        return found

    async def _ended(self, one: Requested, code: str, message: str) -> Life:
        """End the operation unless it runs; return it as it is then."""
        life = await self._lives.find(one.principal, one.operation_id)
        for _ in range(ATTEMPTS):
            if not is_open(life) or life.state in RUNNING:
                break
            try:
                return await self._outcomes.not_started(life, "denied", code, message)
            except Conflict:
                life = await self._lives.fresh(one.principal, one.operation_id)
        return life

    def _of(self, principal: str) -> Iterator[Requested]:
        """Yield the open operations of the principal and of the agents that act for it, except changes which an
        executor is carrying out: possibly this very one.
        """
        for life in self._index.open():
            one = life.requested
            if principal not in (one.principal, one.acts_for):
                continue
            if life.state not in RUNNING or one.operation != KIND:
                yield one

    async def provision(self, sequence: int) -> None:
        """Repeat the request until NATS has the change; a reload may lose a request or its reply. Raises WritError."""
        message = encode(ProvisionRequest(sequence=sequence))
        try:
            async with asyncio.timeout(CONFIRMED_WITHIN):
                while not await self._is_applied(message):  # noqa: ASYNC110 - another process has to
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise TimedOut(f"the provisioner did not confirm it within {CONFIRMED_WITHIN:g} s") from None

    async def _is_applied(self, message: bytes) -> bool:
        try:
            reply = await self._bus.request(channel("provision").subject(), message, timeout=ASKED_AGAIN)
        except (TimedOut, Unreachable):
            return False
        answer = decode(reply.data, ProvisionReply)
        raise_for(answer)
        return answer.applied


def not_confirmed_by_nats(error: WritError, output: dict[str, Any]) -> ControlOutcome:
    """Return the result of a change that policy follows from its event on, whatever NATS does."""
    message = f"policy applies it; NATS has not confirmed it: {error}"
    return ControlOutcome(outcome="unknown", code="not_confirmed", message=message, output=output)


class _OperationLists(Struct):
    """The operations of a principal ended by a change, and those still running."""

    ended: list[str] = []
    running: list[str] = []

    def output(self) -> dict[str, object]:
        """Return the fields of the operation's output."""
        more = sum(max(len(one) - MOST_LISTED, 0) for one in (self.ended, self.running))
        return {"ended": self.ended[:MOST_LISTED], "running": self.running[:MOST_LISTED], "more": more}
