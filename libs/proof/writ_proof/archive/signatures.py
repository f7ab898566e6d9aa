"""Verification of the signatures in a range of events: decisions, grants and read grants by policy; statements, claims
and receipts by the key the next link of the chain names.

Events come in order. An operation that began before the range is checked as far as it is in it.
"""

from collections.abc import Collection
from typing import TypeVar

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.agents import Claim, Receipt, SecurityReport
from writ_contracts.decisions import Decision, Grant, ReadGrant
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.records import Record
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.subjects import parse_event
from writ_contracts.wire import decode_event
from writ_trust.statements import digest, open_signed

MOST_TOLD = 1_000
T = TypeVar("T", bound=Struct)


class Problem(Struct, frozen=True):
    """A damaged event, with the reason."""

    sequence: int
    what: str


class Signatures:
    """Checks one event after the other. `signed` counts signatures that hold; `problems` has the first thousand."""

    def __init__(self, policy_keys: Collection[str]) -> None:
        """Policy's public keys, of all times the range covers."""
        self._policy = frozenset(policy_keys)
        self._grants: dict[str, set[str | None]] = {}
        """By operation: digests of the grants and claims of its starts, until it has ended."""
        self.signed = 0
        self.problems: list[Problem] = []

    def take(self, record: Record) -> None:
        """Check the next event."""
        try:
            event = decode_event(record.data)
            self._belongs(record, event)
            self._check(event)
        except (Invalid, Untrusted) as error:
            if len(self.problems) < MOST_TOLD:
                self.problems.append(Problem(record.sequence, str(error)))

    def _belongs(self, record: Record, event: journal.JournalEvent) -> None:
        where = parse_event(record.subject)
        tag = str(event.__struct_config__.tag)
        if where is not None and (where.operation_id, where.event) != (getattr(event, "operation_id", None), tag):
            raise Untrusted(f"it is a {tag} of another operation than its subject names")

    def _check(self, event: journal.JournalEvent) -> None:  # noqa: C901 - a table by type
        match event:
            case journal.Requested():
                decision = self._of_policy(event.decision, Decision)
                self._is_of(event, decision)
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
            case journal.Granted():
                self._granted(event)
            case journal.Started():
                if event.decision is not None:
                    self._of_policy(event.decision, Decision)
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
        known = self._grants.setdefault(event.operation_id, set())
        known |= {digest(event.grant), digest(event.claim)}

    def _ended(self, event: journal.Finished | journal.Unknown | journal.Resolved) -> None:
        known = self._grants.get(event.operation_id)
        if not isinstance(event, journal.Unknown):
            self._grants.pop(event.operation_id, None)
        if event.receipt is None:
            return
        receipt = self._own(event.receipt, Receipt)
        if receipt.operation_id != event.operation_id:
            raise Untrusted("its receipt is of another operation")
        if known and not {receipt.grant_digest, receipt.claim_digest} & known:
            raise Untrusted("its receipt is for none of its grants")

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

    def _of_policy(self, signed: Signed, kind: type[T]) -> T:
        return self._opened(signed, kind, self._policy)

    def _own(self, signed: Signed, kind: type[T]) -> T:
        """Open it by the key it names: another link of the chain, which policy signed, names the key's owner."""
        return self._opened(signed, kind, (signed.key,))

    def _opened(self, signed: Signed, kind: type[T], trusted: Collection[str]) -> T:
        opened = open_signed(signed, kind, trusted)
        self.signed += 1
        return opened
