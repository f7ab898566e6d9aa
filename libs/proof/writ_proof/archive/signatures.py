"""Verification of the signatures in a range of events: decisions, grants and read grants by policy; statements,
approvals, claims and receipts by the key that the next link of the chain names.

Events come in order. An operation that began before the range is checked as far as it is in it.
"""

from collections.abc import Collection
from hashlib import sha256
from typing import TypeVar

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.agents import Claim, Receipt, SecurityReport
from writ_contracts.approvals import SignedApproval
from writ_contracts.decisions import Decision, Grant, ReadGrant
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.records import Record
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed, Statement
from writ_contracts.subjects import parse_event
from writ_contracts.wire import decode_event
from writ_trust.approvals import approval_digest, verify_own
from writ_trust.statements import digest, open_signed

MOST_TOLD = 1_000
T = TypeVar("T", bound=Struct)


class Problem(Struct, frozen=True):
    """A damaged event, with the reason."""

    sequence: int
    what: str


class Request(Struct, frozen=True):
    """What approvals of a request must name, and who must not be the approver."""

    requested: str
    decision: str
    principal: str
    acts_for: str | None


class Signatures:
    """Checks one event after the other. `signed` counts signatures that hold; `problems` has the first thousand."""

    def __init__(self, policy_keys: Collection[str]) -> None:
        """Policy's public keys, of all times the range covers."""
        self._policy = frozenset(policy_keys)
        self._grants: dict[str, dict[str | None, tuple[str, str]]] = {}
        """By operation: the claimant (key, instance) of each start by the digests of its grant and claim, until it has
        ended.
        """
        self._requests: dict[str, Request] = {}
        """By operation: the request whose decision demands approvals, until it has ended."""
        self._approvals: dict[str, set[str]] = {}
        """By operation: digests of its approvals."""
        self._installation = ""
        self.signed = 0
        self.problems: list[Problem] = []

    def take(self, record: Record) -> None:
        """Check the next event."""
        try:
            self.check(record)
        except (Invalid, Untrusted) as error:
            if len(self.problems) < MOST_TOLD:
                self.problems.append(Problem(record.sequence, str(error)))

    def check(self, record: Record) -> None:
        """Check the next event. Raises Untrusted for what does not hold, Invalid for what cannot be read."""
        event = decode_event(record.data)
        self._belongs(record, event)
        self._check(record, event)

    def _belongs(self, record: Record, event: journal.JournalEvent) -> None:
        where = parse_event(record.subject)
        tag = str(event.__struct_config__.tag)
        if where is not None and (where.operation_id, where.event) != (getattr(event, "operation_id", None), tag):
            raise Untrusted(f"it is a {tag} of another operation than its subject names")

    def _check(self, record: Record, event: journal.JournalEvent) -> None:  # noqa: C901 - a table by type
        match event:
            case journal.Requested():
                decision = self._of_policy(event.decision, Decision)
                self._is_of(event, decision)
                self._demanded(record, event, decision)
                self._statement(event.statement, decision)
                self._check_read_grant(event.look)
                self._check_read_grant(event.ahead)
            case journal.Refused():
                # A refused statement may be anybody's: that it does not hold is what the refusal says.
                if event.decision is not None:
                    self._is_of(event, self._of_policy(event.decision, Decision))
            case journal.Dispatched():
                self._check_read_grant(event.look)
                self._check_read_grant(event.ahead)
                if event.over is not None:
                    self._own(event.over, Receipt)
            case journal.ApprovalGiven() | journal.Approved() | journal.Rejected():
                self._verdict(event)
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
                if event.decision is not None:
                    decision = self._of_policy(event.decision, Decision)
                    self._is_of(event, decision)
                    self._statement(event.statement, decision)
            case journal.SecurityEvent():
                if event.report is not None:
                    self._own(event.report, SecurityReport)
            case _:
                return

    def _granted(self, event: journal.Granted) -> None:
        self._of_policy(event.decision, Decision)
        grant = self._of_policy(event.grant, Grant)
        self._own(event.claim, Claim)
        if grant.operation_id != event.operation_id or grant.claim_digest != digest(event.claim):
            raise Untrusted("its grant is not for its claim")
        if grant.decision_digest != digest(event.decision):
            raise Untrusted("its grant is not by its decision")
        self._started(event.operation_id, grant.approvals)
        known = self._grants.setdefault(event.operation_id, {})
        known |= dict.fromkeys((digest(event.grant), digest(event.claim)), (event.claim.key, event.instance))

    def _demanded(self, record: Record, event: journal.Requested, decision: Decision) -> None:
        """Remember what approvals of this request must name."""
        if decision.effect == "require_approval" and not event.dry_run:
            request = Request(sha256(record.data).hexdigest(), digest(event.decision), event.principal, event.acts_for)
            self._requests[event.operation_id] = request

    def _approval(self, operation_id: str, signed: SignedApproval, verdict: str, approver: str) -> str:
        """The digest of an approval that holds: by the key that it names, of the exact request, by somebody else than
        asked.
        """
        approval = verify_own(signed, None)
        self._same_installation(approval)
        self.signed += 1
        if (approval.operation_id, approval.verdict) != (operation_id, verdict):
            raise Untrusted("its approval is of another operation or verdict")
        if approver and approval.approver != approver:
            raise Untrusted("its approval is of another person")
        known = self._requests.get(operation_id)
        if known is not None:  # else it was requested before the range
            if (approval.requested, approval.decision_digest) != (known.requested, known.decision):
                raise Untrusted("its approval is of another request")
            if approval.approver in (known.principal, known.acts_for):
                raise Untrusted("its approver requested it")
        return approval_digest(signed)

    def _verdict(self, event: journal.ApprovalGiven | journal.Approved | journal.Rejected) -> None:
        match event:
            case journal.ApprovalGiven():
                self._approval(event.operation_id, event.approval, "approve", event.approver)
            case journal.Approved():
                self._approved(event)
            case journal.Rejected():
                self._approval(event.operation_id, event.approval, "reject", event.approver)
                self._requests.pop(event.operation_id, None)

    def _approved(self, event: journal.Approved) -> None:
        digests = {self._approval(event.operation_id, one, "approve", "") for one in event.approvals}
        if not digests:
            raise Untrusted("it is approved by nobody")
        self._approvals[event.operation_id] = digests

    def _started(self, operation_id: str, named: Collection[str] = ()) -> None:
        """Raises Untrusted for a start without the approvals that the decision demands, or by others than recorded."""
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
        if event.receipt is None:
            return
        receipt = self._own(event.receipt, Receipt)
        if receipt.operation_id != event.operation_id:
            raise Untrusted("its receipt is of another operation")
        if not known:
            return
        named = {receipt.grant_digest, receipt.claim_digest} & known.keys()
        if not named:
            raise Untrusted("its receipt is for none of its grants")
        if (event.receipt.key, receipt.instance) not in [known[one] for one in named]:
            raise Untrusted("its receipt is of another agent than claimed it")

    def _statement(self, statement: Signed | None, decision: Decision) -> None:
        if statement is None:
            if decision.authenticated == "signature":
                raise Untrusted("it was decided on a signature that is not there")
            return
        self._own(statement, RequestStatement)
        if decision.statement_digest != digest(statement):
            raise Untrusted("its decision is on another statement")

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
        return self._opened(signed, kind, self._policy)

    def _own(self, signed: Signed, kind: type[T]) -> T:
        """Open it by the key it names: another link of the chain, which policy signed, names the key's owner."""
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
