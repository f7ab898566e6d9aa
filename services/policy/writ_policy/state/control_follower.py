"""Follows the journal's control events, so that a stop or a new policy counts from the moment it is stored.

Nobody is told of each event: whoever asks for a decision names the last control sequence, and what is missing up to
there is read before it is made. Besides, the journal is looked at every second. What opens doors (the lift of a stop,
an emergency) counts only with policy's own decision on its asker's signature: an executor alone can only set a stop.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct, structs

from writ_bus.port import Journal
from writ_contracts import subjects
from writ_contracts.catalogue.control import EmergencyConfirm, EmergencyDeclare, JournalArchive, StopLift
from writ_contracts.copied_control_events import CARRIED_FROM, origin
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.journal import ControlEvent
from writ_contracts.records import Record
from writ_contracts.wire import decode
from writ_policy.state.copied_control_events import in_order
from writ_policy.versions.stored import Versions
from writ_rules.engine.control import ControlState, apply
from writ_runtime.logs import Log
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import open_signed

INTERVAL = 1.0
LOST_AFTER = 10
"""Looks in a row that do not find the last event again: one copy of the journal may be behind for a moment."""
DECIDED: dict[str, type[Struct]] = {
    "stop_lift": StopLift,
    "emergency_declare": EmergencyDeclare,
    "emergency_confirm": EmergencyConfirm,
    "journal_archive": JournalArchive,
}
"""Kinds that count only where policy allowed exactly these parameters."""
VERSIONS = ("policy_publish", "policy_rollback")

_log = Log("writ.policy")


class Follower:
    """`state` is the control state as of the last look."""

    def __init__(
        self,
        journal: Journal,
        own_key: str,
        versions: Versions,
        *,
        versions_lost: int = 0,
        former: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Versions up to `versions_lost` are not waited for. `former`: policy's earlier keys, and up to which event of
        the journal what each decided counts.
        """
        self._journal = journal
        self._own_key = own_key
        self._versions = versions
        self._versions_lost = versions_lost
        self._former = former
        self.state = ControlState()
        self.problem: str | None = None
        self.lost: str | None = None
        """The journal is not the one that `state` is of: nothing is decided until it is, or all is read anew."""
        self._reading = asyncio.Lock()
        self._known: dict[int, bytes] = {}
        """What was taken in, by the sequence that it had at first."""
        self._counted: set[tuple[str, str]] = set()
        self._latest: tuple[int, bytes] | None = None
        """Of the last event that was read: where it was first, and what it is."""

    async def read(self) -> None:
        """Look now. Raises what the bus raises, and Unreachable where a version that was published is not there."""
        async with self._reading:
            records = await self._read_on()
            new = not self._known and records
            if new or any(self._is_strange(record) for record in records if CARRIED_FROM in record.headers):
                await self._start_over()
                return
            for record in records:
                if CARRIED_FROM not in record.headers:
                    self.state = await self._applied(self.state, record.sequence, record)
                    self._known[record.sequence] = _digest(record)
                self.state = structs.replace(self.state, sequence=record.sequence)
                self._latest = _mark(record)

    async def _read_on(self) -> Sequence[Record]:
        """What came after the last event, which must still be there, or have been stored again. Raises Unreachable."""
        seen = self.state.sequence
        records = await self._journal.read(subjects.CONTROL, after=max(seen - 1, 0))
        if self._latest is not None and self._latest not in map(_mark, records):
            self.lost = f"control event {seen} is not in the journal any more: was it restored?"
            raise Unreachable(self.lost, code="behind")
        self.lost = None
        return [record for record in records if record.sequence > seen]

    def _is_strange(self, record: Record) -> bool:
        """Stored again, and not the very event that was taken in before."""
        try:
            return self._known.get(origin(record.headers, record.sequence)) != _digest(record)
        except Invalid:
            return True

    async def _start_over(self) -> None:
        """All of them, in the order that they had at first; until that is done the state stays as it was."""
        records = await self._journal.read(subjects.CONTROL)
        state, self._counted = ControlState(), set()
        try:
            ordered = in_order(records, self._decided)
        except Untrusted as error:
            _log.error("control.incomplete", error=str(error), effect="everything is stopped")
            ordered, state = {record.sequence: record for record in records}, apply(state, 1, None)
            state = structs.replace(state, sequence=0)
        for first, record in ordered.items():
            state = await self._applied(state, first, record)
        self.state = structs.replace(state, sequence=max((record.sequence for record in records), default=0))
        self._known = {first: _digest(record) for first, record in ordered.items()}
        self._latest = _mark(records[-1]) if records else None

    async def reach(self, sequence: int) -> bool:
        """Whether the state is as of `sequence` or later, after reading on where it was not. Who knows of less may be
        behind, or know another journal: then, too, it is looked at. Raises Unreachable where it is another.
        """
        if self.state.sequence < sequence or 0 < sequence < self.state.sequence or self.lost:
            try:
                await self.read()
            except WritError as error:
                _log.warning("control.unread", error=str(error), wanted=sequence)
        if self.lost is not None:
            raise Unreachable(self.lost, code="behind")
        return self.state.sequence >= sequence

    async def follow(self) -> None:
        """Look every second, until cancelled; what goes wrong is in `problem` until it goes well. Raises Unreachable
        where the journal stays another: the process ends, and what is started in its place reads it anew.
        """
        lost = 0
        while lost < LOST_AFTER:
            await asyncio.sleep(INTERVAL)
            try:
                await self._versions.read()
                await self.read()
                self.problem = None
            except WritError as error:
                self.problem = f"control events can't be followed ({error.code}): {error}"
            lost = lost + 1 if self.lost else 0
        raise Unreachable(self.lost or "")

    async def _applied(self, state: ControlState, sequence: int, record: Record) -> ControlState:
        """The state after the event, which was at `sequence` when it was first stored."""
        try:
            event = decode(record.data, ControlEvent)
        except Invalid as error:
            _log.error("control.unreadable", sequence=record.sequence, error=str(error), effect="everything is stopped")
            return apply(state, sequence, None)
        if event.kind in DECIDED and not self._counts(event, sequence):
            _log.error("control.undecided", sequence=record.sequence, kind=event.kind, effect="it does not count")
            event = structs.replace(event, kind="undecided")
        if event.kind.startswith("policy_"):
            await self._reach_version(event, sequence)
        after = apply(state, sequence, event)
        counts = {"stops": len(after.stops), "emergencies": len(after.emergencies)}
        _log.info("control.event", sequence=record.sequence, kind=event.kind, **counts)
        return after

    async def _reach_version(self, event: ControlEvent, sequence: int) -> None:
        """No decision after this event is made by a version before the one that it names."""
        number = event.body.get("version")
        decided = event.kind in VERSIONS and self._allowed(event, event.kind, sequence) is not None
        if not isinstance(number, int) or not decided:
            await self._versions.read()  # a hint: what is stored there is believed by its own signatures
        elif number > self._versions_lost and not await self._versions.reach(number):
            raise Unreachable(f"version {number} of the policy was published and is not in the store", code="behind")

    def _counts(self, event: ControlEvent, sequence: int) -> bool:
        """Whether it was decided, and is not one of before that somebody stored once more."""
        if not self._decided(event, sequence) or (event.kind, event.operation_id) in self._counted:
            return False
        self._counted.add((event.kind, event.operation_id))
        return True

    def _decided(self, event: ControlEvent, sequence: int) -> bool:
        """Whether policy allowed exactly this on its asker's signature."""
        decision = self._allowed(event, event.kind, sequence)
        return decision is not None and _is_on(event, decision)

    def _allowed(self, event: ControlEvent, operation: str, sequence: int) -> Decision | None:
        """Policy's own decision that allows the event's operation, if it names one. `sequence`: where it was first."""
        if event.decision is None:
            return None
        try:
            former = (key for key, last in self._former.items() if sequence <= last)
            decision = open_signed(event.decision, Decision, (self._own_key, *former))
        except Untrusted:
            return None
        signed_for = (
            decision.operation,
            decision.operation_id,
            decision.principal,
            decision.effect,
            decision.authenticated,
        )
        allowed = signed_for == (operation, event.operation_id, event.principal, "allow", "signature")
        return decision if allowed and not decision.dry_run else None


def _is_on(event: ControlEvent, decision: Decision) -> bool:
    """Whether the decision is on the parameters that the event names: its digest covers them alone."""
    known = DECIDED[event.kind].__struct_fields__
    parameters = {name: event.body[name] for name in known if name in event.body}
    try:
        return same(keyed_digest(event.parameters_key, parameters), decision.parameters_digest)
    except ValueError:  # the key is any string
        return False


def _mark(record: Record) -> tuple[int, bytes]:
    """Which event it is."""
    try:
        return origin(record.headers, record.sequence), _digest(record)
    except Invalid:
        return record.sequence, _digest(record)


def _digest(record: Record) -> bytes:
    return hashlib.sha256(record.data).digest()
