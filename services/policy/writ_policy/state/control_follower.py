"""Follow the journal's control events, so that a stop or a new policy counts as soon as it is stored.

Events are not pushed. A request for a decision names the last control sequence, and policy reads missing events before
it decides; it also reads every second.

An event that widens rights (the lift of a stop, an emergency) counts only with policy's own decision on the requester's
signature. An executor alone can only set a stop.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from writ_bus.port import Journal
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.history.copied_control_events import CARRIED_FROM, origin
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.control import ControlState, apply
from writ_runtime.logs import Log
from writ_trust.control_events import DECIDED, allowed_by_policy, is_decided, stored_late
from writ_trust.copied_control_events import in_order

INTERVAL = 1.0
LOST_AFTER = 10
"""So many reads in a row must miss the last event before it counts as lost: one replica of the stream may be behind for
a moment.
"""
VERSIONS = ("policy_publish", "policy_rollback")

_log = Log("writ.policy")


class ControlFollower:
    """Follows control events. `state` is the control state as of the last read."""

    def __init__(
        self,
        journal: Journal,
        keys: Mapping[str, int],
        versions: Versions,
        *,
        installation: str = "",
        versions_lost: int = 0,
        on_forged: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Follow `journal`.

        `keys`: policy's keys, each with the last event for which its decisions count. `versions_lost`: versions up to
        this number are not waited for. `on_forged` receives the finding on a copied event that no archive explains.
        """
        self._on_forged = on_forged
        self._journal = journal
        self._keys = keys
        self._installation = installation
        self._versions = versions
        self._versions_lost = versions_lost
        self.state = ControlState()
        self.problem: str | None = None
        self.lost: str | None = None
        """The journal is not the one that `state` was read from: nothing is decided until the known one returns, or all
        events were read again.
        """
        self._reading = asyncio.Lock()
        self._known: dict[int, bytes] = {}
        """The events that were read, by their first sequence."""
        self._counted: set[tuple[str, str]] = set()
        self._latest: tuple[int, bytes] | None = None
        """The first sequence and the digest of the last event read."""

    async def read(self) -> None:
        """Read new events. Raises errors of the bus, and Unreachable if a published version is missing."""
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
        """Return the events after the last one. That one must still be in the journal, or have been stored again.
        Raises Unreachable.
        """
        known_sequence = self.state.sequence
        records = await self._journal.read(subjects.CONTROL, after=max(known_sequence - 1, 0))
        if self._latest is not None and self._latest not in map(_mark, records):
            self.lost = f"control event {known_sequence} is not in the journal any more: was the journal restored?"
            raise Unreachable(self.lost, code="behind")
        self.lost = None
        return [record for record in records if record.sequence > known_sequence]

    def _is_strange(self, record: Record) -> bool:
        """Return true if a copy differs from the event that was read before."""
        try:
            return self._known.get(origin(record.headers, record.sequence)) != _digest(record)
        except Invalid:
            return True

    async def _start_over(self) -> None:
        """Read all events again in their first order. The state changes only at the end."""
        records = await self._journal.read(subjects.CONTROL)
        state, self._counted = ControlState(), set()
        try:
            ordered = in_order(records, self._decided)
        except Untrusted as error:
            _log.error("control.incomplete", error=str(error), effect="everything is stopped")
            self._on_forged(str(error))
            ordered, state = {record.sequence: record for record in records}, apply(state, 1, None)
            state = structs.replace(state, sequence=0)
        for first, record in ordered.items():
            state = await self._applied(state, first, record)
        self.state = structs.replace(state, sequence=max((record.sequence for record in records), default=0))
        self._known = {first: _digest(record) for first, record in ordered.items()}
        self._latest = _mark(records[-1]) if records else None

    async def reach(self, sequence: int) -> bool:
        """Return true if the state includes `sequence`, after reading new events if needed.

        A caller with a lower sequence may be behind or know another journal, so the journal is read then too. Raises
        Unreachable if it is another one.
        """
        if self.state.sequence < sequence or 0 < sequence < self.state.sequence or self.lost:
            try:
                await self.read()
            except WritError as error:
                _log.warning("control.unread", error=str(error), expected=sequence)
        if self.lost is not None:
            raise Unreachable(self.lost, code="behind")
        return self.state.sequence >= sequence

    async def follow(self) -> None:
        """Read every second until cancelled. `problem` holds the last failure until the next success.

        Raises Unreachable if the journal stays another one: the process then ends, and the next one reads the journal
        from the start.
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
        """Return the state after the event that was first stored at `sequence`."""
        try:
            event = decode(record.data, ControlEvent)
        except Invalid as error:
            _log.error("control.unreadable", sequence=record.sequence, error=str(error), effect="everything is stopped")
            return apply(state, sequence, None)
        if event.kind in DECIDED and (stored_late(event, record) or not self._counts(event, sequence)):
            _log.error("control.undecided", sequence=record.sequence, kind=event.kind, effect="it does not count")
            event = structs.replace(event, kind="undecided")
        if event.kind.startswith("policy_"):
            await self._reach_version(event, sequence)
        after = apply(state, sequence, event)
        counts = {"stops": len(after.stops), "emergencies": len(after.emergencies)}
        _log.info("control.event", sequence=record.sequence, kind=event.kind, **counts)
        return after

    async def _reach_version(self, event: ControlEvent, sequence: int) -> None:
        """Read the policy versions up to the one that the event names, so that no later decision uses an
        earlier one.
        """
        number = event.body.get("version")
        decided = event.kind in VERSIONS and self._allowed(event, event.kind, sequence) is not None
        if not isinstance(number, int) or not decided:
            await self._versions.read()  # only a hint: a stored version counts by its own signatures
        elif number > self._versions_lost and not await self._versions.reach(number):
            raise Unreachable(f"version {number} of the policy was published and is not in the store", code="behind")

    def _counts(self, event: ControlEvent, sequence: int) -> bool:
        """Return true if the event was decided, and is no copy of an event that counted before."""
        if not self._decided(event, sequence) or (event.kind, event.operation_id) in self._counted:
            return False
        self._counted.add((event.kind, event.operation_id))
        return True

    def _decided(self, event: ControlEvent, sequence: int) -> bool:
        """Return true if policy allowed exactly this event on its author's signature."""
        return is_decided(event, self._trusted(sequence), self._installation)

    def _allowed(self, event: ControlEvent, operation: str, sequence: int) -> Decision | None:
        """Return policy's own decision that allows the event's operation, or None. `sequence`: where the event was
        first stored.
        """
        return allowed_by_policy(event, operation, self._trusted(sequence), self._installation)

    def _trusted(self, sequence: int) -> list[str]:
        return [key for key, last in self._keys.items() if sequence <= last]


def _mark(record: Record) -> tuple[int, bytes]:
    """Return the identity of the event."""
    try:
        return origin(record.headers, record.sequence), _digest(record)
    except Invalid:
        return record.sequence, _digest(record)


def _digest(record: Record) -> bytes:
    return hashlib.sha256(record.data).digest()
