"""Check recorded verdicts of people: the approver signed each of them, on exactly this request.

NATS lets policy's key alone write them, so a verdict that nobody signed comes from a thief of that key.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.history.records import Record
from writ_contracts.inventory import Principal
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.people.persons import person_of
from writ_contracts.people.principal_changes import principals_in_force
from writ_rules.engine.control import ControlState
from writ_rules.second_decisions.comparison import Comparison
from writ_rules.second_decisions.control_states import ControlStates
from writ_rules.second_decisions.file_history import FileHistory, KeptReading
from writ_rules.second_decisions.signatures import (
    DecidedRequest,
    RecordedApproval,
    credentials_of,
    is_persons,
    is_signed,
    keys_of,
)
from writ_trust.approvals import read_approval
from writ_trust.digests import plain_digest
from writ_trust.statements import digest, read

Verdict = journal.ApprovalGiven | journal.Approved | journal.Rejected
VERDICTS = ("approval_given", "approved", "rejected")
"""Kinds of events with verdicts of people."""


class Approvers(Struct, frozen=True):
    """The principals, and their sessions, that policy may have known at the time of a verdict. Without `knows_keys`
    others were there perhaps, with other keys, or of other persons: then any name, nkey and credential will do.
    """

    principals: Mapping[str, Principal]
    control: ControlState
    knows_keys: bool

    def problem(self, event: Verdict, recorded: DecidedRequest) -> str:
        """Return why the verdict does not count, or ""."""
        verdict = "reject" if isinstance(event, journal.Rejected) else "approve"
        everybody = event.approvals if isinstance(event, journal.Approved) else [event.approval]
        approver = ""
        for signed in everybody:
            try:
                approver = read_approval(signed).approver
            except Untrusted as error:
                return str(error)
            if self.knows_keys and approver not in self.principals:
                return f"there was no principal {approver}"
            one = RecordedApproval(approver, signed)
            exact = is_signed(one, recorded, self._keys(approver), event.operation_id, verdict)
            if not exact or (self.knows_keys and not is_persons(one, recorded, person_of(approver, self.principals))):
                return f"{approver} did not sign this verdict on this request"
        if not everybody:
            return "nobody signed it"
        return f"{approver} signed it, and not {event.approver}" if event.approver not in ("", approver) else ""

    def _keys(self, approver: str) -> tuple[str, ...]:
        return keys_of(self.principals[approver], self.control) if self.knows_keys else ()


class VerdictCheck:
    """Checks verdicts by the principals of their time."""

    def __init__(
        self,
        control: ControlStates,
        principals: FileHistory,
        read_listed: KeptReading[list[Principal]],
        people: Callable[[], PeopleDirectory | None],
        installation: str,
        slack: float,
    ) -> None:
        """`slack`: seconds for which policy may have had a replaced file."""
        self._control, self._principals, self._read_listed = control, principals, read_listed
        self._people, self._installation, self._slack = people, installation, slack

    async def compared(self, event: Verdict, record: Record, first: journal.Requested, requested: Record) -> Comparison:
        """Return whether the people signed it. `first`: the request, from the record `requested`. Raises errors of the
        bus.
        """
        try:
            decision = read(first.decision, Decision)
            controls = [await self._control.of(one.sequence) for one in (requested, record)]
        except Untrusted as error:
            return Comparison(result="open", why=str(error))
        recorded = DecidedRequest(
            parameters={},
            effective={},
            requested=plain_digest(requested.data),
            decided=digest(first.decision),
            installation=self._installation,
            credentials=credentials_of(self._people()),
        )
        knows = self._principals.named(decision.policy.principals_digest, decision.at, self._slack) is True
        listings = map(self._read_listed.of, self._principals.around(record.time, self._slack))
        problems = [
            Approvers(principals_in_force(listed, control.changes), control, knows).problem(event, recorded)
            for listed in listings
            if listed is not None
            for control in controls
        ]
        if knows and "" in problems:
            return Comparison(result="same")
        if problems and all(problems):
            return Comparison(result="differs", why=problems[0])
        return Comparison(result="open", why="the principals of that time are not known here")
