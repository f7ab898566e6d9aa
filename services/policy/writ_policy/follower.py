"""Follows the journal's control events, so that a stop counts from the moment it is stored.

Nobody is told of each event: whoever asks for a decision names the last control sequence, and what is missing up to
there is read before it is made. Besides, the journal is looked at every second.
"""

import asyncio

from msgspec import structs

from writ_bus.port import Journal, Record
from writ_contracts import subjects
from writ_contracts.catalogue.control import StopLift
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted, WritError
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_policy.engine.control import ControlState, apply
from writ_runtime.logs import Log
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import open_signed

INTERVAL = 1.0

_log = Log("writ.policy")


class Follower:
    """`state` is the control state as of the last look."""

    def __init__(self, journal: Journal, own_key: str) -> None:
        self._journal = journal
        self._own_key = own_key
        self.state = ControlState()
        self.problem: str | None = None

    async def read(self) -> None:
        """Look now. Raises what the bus raises."""
        for record in await self._journal.read(subjects.CONTROL, after=self.state.sequence):
            self._apply(record)

    async def reach(self, sequence: int) -> bool:
        """Whether the state is as of `sequence` or later, after reading on where it was not."""
        if self.state.sequence < sequence:
            try:
                await self.read()
            except WritError as error:
                _log.warning("control.unread", error=str(error), wanted=sequence)
        return self.state.sequence >= sequence

    async def follow(self) -> None:
        """Look every second, until cancelled; what goes wrong is in `problem` until it goes well."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.read()
                self.problem = None
            except WritError as error:
                self.problem = f"control events can't be read ({error.code})"

    def _apply(self, record: Record) -> None:
        try:
            event = decode(record.data, ControlEvent)
        except Invalid as error:
            _log.error("control.unreadable", sequence=record.sequence, error=str(error), effect="everything is stopped")
            self.state = apply(self.state, record.sequence, None)
            return
        if event.kind == "stop_lift" and not self._decided(event):
            _log.error("control.undecided_lift", sequence=record.sequence, effect="the stop stays in force")
            event = structs.replace(event, kind="undecided")
        self.state = apply(self.state, record.sequence, event)
        _log.info("control.event", sequence=record.sequence, kind=event.kind, stops=len(self.state.stops))

    def _decided(self, event: ControlEvent) -> bool:
        """Whether policy allowed exactly this lift on its asker's signature: an executor alone can only set a stop."""
        if event.decision is None:
            return False
        try:
            decision = open_signed(event.decision, Decision, (self._own_key,))
        except Untrusted:
            return False
        asked = (decision.operation, decision.operation_id, decision.principal, decision.effect, decision.authenticated)
        if asked != ("stop_lift", event.operation_id, event.principal, "allow", "signature") or decision.dry_run:
            return False
        return _lifts(event, decision)


def _lifts(event: ControlEvent, decision: Decision) -> bool:
    """Whether the decision is about the stop that the event names: its digest covers the parameters alone."""
    parameters = {name: event.body[name] for name in StopLift.__struct_fields__ if name in event.body}
    try:
        return same(keyed_digest(event.parameters_key, parameters), decision.parameters_digest)
    except ValueError:  # the key is any string
        return False
