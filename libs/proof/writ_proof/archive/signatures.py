"""Verification of the signatures in a range of events: decisions, grants and read grants by policy; statements,
approvals, claims and receipts by the key named in the next link of the chain.

Events come in order. An operation begun before the range is checked as far as it is inside.
"""

import sys
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TypeVar

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.agents import Claim, ProbeFinding, Receipt, SecurityReport
from writ_contracts.decisions import Decision, Grant, ReadGrant
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.copied_control_events import origin
from writ_contracts.history.recorded_receipts import finding_problem, receipt_problem
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.previews import Preview
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed, Statement
from writ_contracts.subjects import parse_event
from writ_contracts.wire import decode_event, kind_of
from writ_proof.archive.approval_request import SKEW, RequestDigests, credentials_of, may_be_own
from writ_proof.archive.control_record import ControlRecord
from writ_trust.approvals import ProvenApproval, approval_digest, prove_approval
from writ_trust.control_events import stored_late
from writ_trust.people import Directory
from writ_trust.requester_presence import check_presence
from writ_trust.statements import digest, open_signed

MOST_TOLD = 1_000
T = TypeVar("T", bound=Struct)


class DamagedEvent(Struct, frozen=True):
    """A damaged event, with the reason."""

    sequence: int
    what: str


class Signatures:
    """Checks one event after the other. `signed` counts valid signatures; `problems` has the first thousand."""

    def __init__(
        self, policy_keys: Collection[str], people: Directory | None = None, *, by_directory: bool = True
    ) -> None:
        """Policy's public keys, of all times the range covers; as a mapping, each with the last event for which it
        counts. `people`: the newest directory of people's credentials, including removed ones; without it no approval
        with a proof of presence can be verified. Not `by_directory`: checks in need of the directory are left out, as
        where a trace is shown.
        """
        self._policy = policy_keys if isinstance(policy_keys, Mapping) else dict.fromkeys(policy_keys, sys.maxsize)
        self._at = 0
        """The first sequence of the event in question."""
        self._people = people
        self._by_directory = by_directory
        self._grants: dict[str, dict[str | None, tuple[str, str]]] = {}
        """By operation: the claimant (key, instance) of each start by the digests of its grant and claim, until it has
        ended.
        """
        self._requests: dict[str, RequestDigests] = {}
        """By operation: the request whose decision demands approvals, until it has ended."""
        self._approvals: dict[str, set[str]] = {}
        """By operation: digests of its approvals."""
        self._control = ControlRecord()
        self._installation = ""
        self._previews: dict[str, str] = {}
        """By operation: digest of its preview, which its approvals must name."""
        self.signed = 0
        self.problems: list[DamagedEvent] = []

    def take(self, record: Record) -> None:
        """Check the next event."""
        try:
            self.check(record)
        except (Invalid, Untrusted) as error:
            if len(self.problems) < MOST_TOLD:
                self.problems.append(DamagedEvent(record.sequence, str(error)))

    def check(self, record: Record) -> None:
        """Check the next event. Raises Untrusted for a bad signature, Invalid for unreadable content."""
        event = decode_event(record.data)
        carried = isinstance(event, journal.ControlEvent)  # nothing else is stored again
        self._at = origin(record.headers, record.sequence) if carried else record.sequence
        self._belongs(record, event)
        self._check(record, event)

    def _belongs(self, record: Record, event: journal.JournalEvent | journal.Carried) -> None:
        where = parse_event(record.subject)
        tag = kind_of(event)
        if isinstance(event, journal.Carried) and record.subject.startswith("writ.journal.control."):
            raise Invalid(f"a control event of the unknown kind {tag}")
        if where is not None and (where.operation_id, where.event) != (getattr(event, "operation_id", None), tag):
            raise Untrusted(f"it is a {tag} of another operation than its subject names")

    def _check(self, record: Record, event: journal.JournalEvent | journal.Carried) -> None:  # noqa: C901 - a table by type
        match event:
            case journal.Requested():
                self._requested(record, event)
            case journal.Refused():
                # A refused statement may have any signature: an invalid one may be why it was refused.
                if event.decision is not None:
                    self._is_of(event, self._of_policy(event.decision, Decision))
            case journal.Dispatched():
                self._check_read_grant(event.look)
                self._check_read_grant(event.ahead)
                if event.over is not None:
                    self._own(event.over, Receipt)
            case journal.PreviewTaken() | journal.ApprovalGiven() | journal.Approved() | journal.Rejected():
                self._verdict(event, record.time)
            case journal.Granted():
                self._granted(event)
            case journal.Started():
                if event.decision is not None:
                    self._of_policy(event.decision, Decision)
                    self._started(event.operation_id)
            case journal.CancelRequested():
                self._of_policy(event.decision, Decision)
            case journal.Finished() | journal.Unknown() | journal.Resolved():
                self._ended(event)
            case journal.ControlEvent():
                self._controlled(record, event)
            case journal.WindowUsed():
                self._control.used(event)
            case journal.SecurityEvent():
                if event.report is not None:
                    self._own(event.report, SecurityReport)
            case _:
                return

    def _requested(self, record: Record, event: journal.Requested) -> None:
        decision = self._of_policy(event.decision, Decision)
        self._is_of(event, decision)
        self._demanded(record, event, decision)
        self._statement(event.statement, decision)
        self._presence(record, event, decision)
        self._check_read_grant(event.look)
        self._check_read_grant(event.ahead)

    def _controlled(self, record: Record, event: journal.ControlEvent) -> None:
        if event.decision is None:
            return
        decision = self._of_policy(event.decision, Decision)
        self._is_of(event, decision)
        self._statement(event.statement, decision)
        if stored_late(event, record):
            raise Untrusted("it was not stored when it was decided")
        self._control.take(event, decision, origin(record.headers, record.sequence))

    def _granted(self, event: journal.Granted) -> None:
        decision = self._of_policy(event.decision, Decision)
        grant = self._of_policy(event.grant, Grant)
        self._own(event.claim, Claim)
        if grant.operation_id != event.operation_id or grant.claim_digest != digest(event.claim):
            raise Untrusted("its grant is not for its claim")
        if grant.decision_digest != digest(event.decision):
            raise Untrusted("its grant is not by its decision")
        self._started(event.operation_id, grant.approvals)
        known = self._grants.setdefault(event.operation_id, {})
        known |= dict.fromkeys((digest(event.grant), digest(event.claim)), (event.claim.key, event.instance))
        self._control.granted(decision)

    def _demanded(self, record: Record, event: journal.Requested, decision: Decision) -> None:
        """Remember the digests which approvals of this request must name."""
        if decision.effect != "allow" and not event.dry_run:  # an unknown effect, of a newer release, is not an allow
            self._requests[event.operation_id] = RequestDigests(
                sha256(record.data).hexdigest(),
                digest(event.decision),
                event.principal,
                event.acts_for,
                record.time,
                decision.demands,
            )

    def _preview(self, event: journal.PreviewTaken) -> None:
        if self._own(event.preview, Preview).operation_id != event.operation_id:
            raise Untrusted("its preview is of another operation")
        self._previews.setdefault(event.operation_id, digest(event.preview))

    def _approval(
        self, operation_id: str, signed: SignedApproval, verdict: str, approver: str, at: float
    ) -> ProvenApproval:
        """Check an approval: by a credential which counted then, of the exact request, by another person than the
        requester.
        """
        known = self._requests.get(operation_id)
        proven = prove_approval(signed, credentials_of(signed, self._people, known, at), installation=None)
        approval = proven.approval
        self._same_installation(approval)
        self.signed += 1
        if (approval.operation_id, approval.verdict) != (operation_id, verdict):
            raise Untrusted("its approval is of another operation or verdict")
        if approver and approval.approver != approver:
            raise Untrusted("its approval is of another person")
        if known is not None:  # else it was requested before the range
            if (approval.requested, approval.decision_digest) != (known.requested, known.decision):
                raise Untrusted("its approval is of another request")
            if verdict == "approve" and approval.preview != self._previews.get(operation_id):
                raise Untrusted("its approval is of another preview")
            own = {approval.approver, proven.person} & {known.principal, known.acts_for}
            if own and not may_be_own(proven, known, self._people):
                raise Untrusted("its approver requested it")
        return proven

    def _verdict(
        self, event: journal.PreviewTaken | journal.ApprovalGiven | journal.Approved | journal.Rejected, at: float
    ) -> None:
        match event:
            case journal.PreviewTaken():
                self._preview(event)
            case journal.Approved() if not self._by_directory:
                self._approvals[event.operation_id] = {approval_digest(one) for one in event.approvals}
            case _ if not self._by_directory:
                return  # only policy can write it, after it verified the claim
            case journal.ApprovalGiven():
                self._approval(event.operation_id, event.approval, "approve", event.approver, at)
            case journal.Approved():
                self._approved(event, at)
            case journal.Rejected():
                self._approval(event.operation_id, event.approval, "reject", event.approver, at)
                self._requests.pop(event.operation_id, None)

    def _approved(self, event: journal.Approved, at: float) -> None:
        approvals = [self._approval(event.operation_id, one, "approve", "", at) for one in event.approvals]
        if not approvals:
            raise Untrusted("it is approved by nobody")
        known = self._requests.get(event.operation_id)
        for demand in known.demands if known is not None else ():
            persons = {one.person for one in approvals if one.presence.meets(demand.presence)}
            if len(persons) < sum(step.quorum for step in demand.steps):
                raise Untrusted(f"'{demand.rule}' demands more persons, or the proof {demand.presence}")
        self._approvals[event.operation_id] = {approval_digest(one) for one in event.approvals}

    def _started(self, operation_id: str, named: Collection[str] = ()) -> None:
        """Raises Untrusted for a start without the approvals demanded by the decision, or with others than recorded."""
        if operation_id in self._requests and operation_id not in self._approvals:
            raise Untrusted("it started without the approvals that its decision demands")
        if not set(named) <= self._approvals.get(operation_id, set(named)):
            raise Untrusted("its grant names approvals that are not on record")

    def _ended(self, event: journal.Finished | journal.Unknown | journal.Resolved) -> None:
        known = self._grants.get(event.operation_id)
        if not isinstance(event, journal.Unknown):
            self._grants.pop(event.operation_id, None)
            self._requests.pop(event.operation_id, None)
            self._approvals.pop(event.operation_id, None)
            self._previews.pop(event.operation_id, None)
            self._control.ended(event.operation_id)
            if event.probe is not None and (problem := finding_problem(event, self._own(event.probe, ProbeFinding))):
                raise Untrusted(f"the finding of its probe {problem}")
        if event.receipt is None:
            return
        receipt = self._own(event.receipt, Receipt)
        if receipt.operation_id != event.operation_id:
            raise Untrusted("its receipt is of another operation")
        if problem := receipt_problem(event, receipt):
            raise Untrusted(f"its receipt {problem}")
        if not known:
            return
        named = {receipt.grant_digest, receipt.claim_digest} & known.keys()
        if not named:
            raise Untrusted("its receipt is for none of its grants")
        if (event.receipt.key, receipt.instance) not in [known[one] for one in named]:
            raise Untrusted("its receipt comes from another agent than claimed it")

    def _statement(self, statement: Signed | None, decision: Decision) -> None:
        if statement is None:
            if decision.authenticated == "signature":
                raise Untrusted("it was decided on a signature that is missing")
            return
        self._own(statement, RequestStatement)
        if decision.statement_digest != digest(statement):
            raise Untrusted("its decision is on another statement")

    def _presence(self, record: Record, event: journal.Requested, decision: Decision) -> None:
        """Check the requester's proof of presence, where the decision names one."""
        if decision.presence is None:
            return
        if event.presence is None or event.statement is None:
            raise Untrusted("it was decided on a proof of presence that is missing")
        if not self._by_directory:
            return
        if self._people is None:
            raise Untrusted("its requester proved a presence, and the directory of people's credentials is not here")
        entry = self._people.entries.get(event.presence.credential)
        counted = entry is not None and entry.counted_at(record.time - SKEW, record.time)
        known = [entry.credential] if entry is not None and counted else []
        if not check_presence(event.statement, event.presence, known).meets(decision.presence):
            raise Untrusted("its requester proved less than its decision says")
        self.signed += 1

    def _check_read_grant(self, look: Signed | None) -> None:
        if look is not None:
            self._of_policy(look, ReadGrant)

    @staticmethod
    def _is_of(event: journal.Requested | journal.Refused | journal.ControlEvent, decision: Decision) -> None:
        if (decision.operation_id, decision.principal) != (event.operation_id, event.principal):
            raise Untrusted("its decision is on another request")
        if not isinstance(event, journal.Requested):
            return
        decided = (decision.operation, decision.target, decision.acts_for)
        if decided != (event.operation, event.target, event.acts_for):
            raise Untrusted("its decision is on another operation, target or human")

    def _of_policy(self, signed: Signed, kind: type[T]) -> T:
        last = self._policy.get(signed.key)
        if last is not None and self._at > last:
            raise Untrusted(f"signed by {signed.key}, which counts until event {last} alone")
        return self._opened(signed, kind, self._policy)

    def _own(self, signed: Signed, kind: type[T]) -> T:
        """Open a statement by the key that it names. Another statement, which policy signed, names the owner of that
        key.
        """
        return self._opened(signed, kind, (signed.key,))

    def _opened(self, signed: Signed, kind: type[T], trusted: Collection[str]) -> T:
        opened = open_signed(signed, kind, trusted, None)
        self._same_installation(opened)
        self.signed += 1
        return opened

    def _same_installation(self, statement: Struct) -> None:
        """Raises Untrusted where a statement is for another installation than those before it."""
        if not isinstance(statement, Statement) or not statement.installation:
            return
        self._installation = self._installation or statement.installation
        if statement.installation != self._installation:
            raise Untrusted(f"it is for installation {statement.installation}, and others for {self._installation}")
