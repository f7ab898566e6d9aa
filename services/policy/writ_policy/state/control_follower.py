"""Follow the journal's control events, so a stop or a new policy counts from its storage.

There is no push: a question for a decision names the last control sequence, and missing events are read before it is
made. The journal is also read every second. An event widening rights (the lift of a stop, an emergency) counts only
with policy's own decision on the requester's signature: an executor alone can only set a stop.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from writ_bus.port import Journal
from writ_contracts import subjects
from writ_contracts.copied_control_events import CARRIED_FROM, origin
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.journal import ControlEvent
from writ_contracts.records import Record
from writ_contracts.wire import decode
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.control import ControlState, apply
from writ_runtime.logs import Log
from writ_trust.control_events import DECIDED, allowed_by_policy, is_decided, stored_late
from writ_trust.copied_control_events import in_order

INTERVAL = 1.0
LOST_AFTER = 10
"""Reads in a row that miss the last event: one copy of the journal may be behind for a moment."""
VERSIONS = ("policy_publish", "policy_rollback")

_log = Log("writ.policy")


class Follower:
    """`state` is the control state as of the last read."""

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
        """`keys`: policy's, each with the last event of the journal for which its decisions count. Versions up to
        `versions_lost` are not waited for. `on_forged` gets the fault of copies that no archive vouches for.
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
        """The journal is another one than `state` came from: nothing is decided until it returns, or all is read
        anew.
        """
        self._reading = asyncio.Lock()
        self._known: dict[int, bytes] = {}
        """The events taken in, by their first sequence."""
        self._counted: set[tuple[str, str]] = set()
        self._latest: tuple[int, bytes] | None = None
        """First sequence and digest of the last event read."""

    async def read(self) -> None:
        """Read now. Raises errors of the bus, and Unreachable if a published version is missing."""
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
        """Return the events after the last one, which must still be there, or have been stored again. Raises
        Unreachable.
        """
        known_sequence = self.state.sequence
        records = await self._journal.read(subjects.CONTROL, after=max(known_sequence - 1, 0))
        if self._latest is not None and self._latest not in map(_mark, records):
            self.lost = f"control event {known_sequence} is not in the journal any more: was the journal restored?"
            raise Unreachable(self.lost, code="behind")
        self.lost = None
        return [record for record in records if record.sequence > known_sequence]

    def _is_strange(self, record: Record) -> bool:
        """Return whether a copy differs from the event taken in before."""
        try:
            return self._known.get(origin(record.headers, record.sequence)) != _digest(record)
        except Invalid:
            return True

    async def _start_over(self) -> None:
        """Read all events in their first order. The state changes only when this is done."""
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
        """Return whether the state includes `sequence`, after reading on if needed.

        A caller with a lower sequence may be behind, or know another journal: then the journal is read, too. Raises
        Unreachable if it is another.
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
        """Read every second until cancelled. `problem` holds the last failure until a success.

        Raises Unreachable if the journal stays another one: the process ends, and its successor reads the journal anew.
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
        """Return the state after the event, first stored at `sequence`."""
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
        """Read the policy versions up to the one named by the event, so no later decision uses an earlier one."""
        number = event.body.get("version")
        decided = event.kind in VERSIONS and self._allowed(event, event.kind, sequence) is not None
        if not isinstance(number, int) or not decided:
            await self._versions.read()  # a hint only: stored versions are believed by their own signatures
        elif number > self._versions_lost and not await self._versions.reach(number):
            raise Unreachable(f"version {number} of the policy was published and is not in the store", code="behind")

    def _counts(self, event: ControlEvent, sequence: int) -> bool:
        """Return whether the event was decided, and is no copy of an event counted before."""
        if not self._decided(event, sequence) or (event.kind, event.operation_id) in self._counted:
            return False
        self._counted.add((event.kind, event.operation_id))
        return True

    def _decided(self, event: ControlEvent, sequence: int) -> bool:
        """Return whether policy allowed exactly this event on its author's signature."""
        return is_decided(event, self._trusted(sequence), self._installation)

    def _allowed(self, event: ControlEvent, operation: str, sequence: int) -> Decision | None:
        """Return policy's own decision allowing the event's operation, or None. `sequence`: the event's first one."""
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
