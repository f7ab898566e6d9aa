"""Check a person's signed verdict: whether it counts for an operation now, and what follows from it. The functions are
pure.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

from msgspec import Struct

from writ_contracts.decisions import Decision
from writ_contracts.errors import Conflict, Denied
from writ_contracts.inventory import Principal
from writ_contracts.journal import Rejected
from writ_contracts.life import AcceptedLife, State
from writ_contracts.people.approvals import Approval, DecisionDemand, SignedApproval, seconds_of
from writ_contracts.people.credentials import KEY, Presence
from writ_policy.decisions.demands import OpenDemands, progress_of
from writ_policy.decisions.recorded_approvals import ExactRequest, check_exact
from writ_policy.decisions.statements import check_age
from writ_policy.state.snapshot import PolicySnapshot
from writ_trust.approvals import ProvenApproval, read_approval

NOT_APPROVER = "not_approver"


class PendingOperation(Struct, frozen=True, kw_only=True):
    """A pending operation in the journal: its first decision, its approvals so far, and the time of its request by the
    NATS server's clock.
    """

    life: AcceptedLife
    exact: ExactRequest
    decision: Decision
    asker: Principal
    approvers: tuple[str, ...]
    signed: Sequence[SignedApproval]
    proven: Mapping[str, Presence]
    requested_at: float
    frozen: float = 0.0
    """Seconds since the request in which a stop prevented its start."""

    @property
    def demands(self) -> list[DecisionDemand]:
        return self.decision.demands

    @property
    def until(self) -> float:
        """Return when the time to decide ends (Unix seconds), as known now: it moves on while a stop is in force."""
        return self.requested_at + seconds_of(self.demands) + self.frozen

    def open(self, snapshot: PolicySnapshot, more: ProvenApproval | None = None) -> OpenDemands:
        """Return its progress, with the `more` approvals added to the recorded ones."""
        added = {} if more is None else {more.approval.approver: more.presence}
        return progress_of(
            self.demands, (*self.approvers, *added), self.asker, snapshot.people, {**self.proven, **added}
        )

    def presence_of(self, step: str, who: str, snapshot: PolicySnapshot) -> Presence:
        """Return the presence that this human has to prove to approve the open step, and the further steps for which
        the approval then counts.
        """
        rules = {label.rpartition("#")[0] for label, able in self.open(snapshot).steps.items() if who in able}
        demanded = (one.presence for one in self.demands if one.rule in {*rules, step.rpartition("#")[0]})
        strongest = reduce(Presence.at_least, demanded, KEY)
        return snapshot.people.needed(who, self.asker, strongest) or strongest


def check_pending(standing: PendingOperation, approval: Approval, now: float) -> None:
    """Raise Conflict (`decided`) if the operation accepts no more verdicts, and Untrusted if this one names another
    operation or was signed at another time.
    """
    check_exact(approval, standing.exact)
    life = standing.life
    if life.state is not State.AWAITING_APPROVAL:
        raise Conflict(f"{approval.operation_id} {_how_decided(life)}", code="decided")
    if now > standing.until:
        raise Conflict(f"{approval.operation_id} expired {now - standing.until:.0f} s ago", code="decided")
    check_age(approval.issued_at, now, "approver")


def check_entitled(standing: PendingOperation, approval: Approval, snapshot: PolicySnapshot) -> OpenDemands:
    """Return the progress before the verdict. Raises Denied (`not_approver`) if this person may not give it, and
    Conflict (`decided`) if its step is not open.
    """
    who, before = approval.approver, standing.open(snapshot)
    if snapshot.people.needed(who, standing.asker, KEY) is None:
        raise Denied(
            f"{who} requested it, or it was requested for {who}: another person must decide", code=NOT_APPROVER
        )
    if any(snapshot.people.person(who) == snapshot.people.person(other) for other in standing.approvers):
        raise Conflict(f"{who} has approved it already", code="decided")
    if approval.verdict == "reject" and who in before.later:
        return before
    if who not in before.able:
        raise Denied(f"it waits for {before.waits_for}, which does not include {who}", code=NOT_APPROVER)
    if who not in before.steps.get(approval.step, ()):
        # It was open on the card, and another approver was first.
        raise Conflict(f"step {approval.step!r} is not open; open is {', '.join(before.steps)}", code="decided")
    return before


def repeated(standing: PendingOperation, signed: SignedApproval) -> bool:
    """Return true if this verdict is recorded already: the approver repeats it after a lost reply."""
    end = standing.life.end
    known = [*standing.signed, *([end.approval] if isinstance(end, Rejected) else ())]
    return any(one == signed for one in known)


def _how_decided(life: AcceptedLife) -> str:
    if isinstance(life.end, Rejected):
        return f"was rejected by {life.end.approver}"
    if life.outcome is not None:
        return f"has ended: {life.outcome}"
    if life.approved is not None:
        last = life.approved.approver or read_approval(life.approvals[-1]).approver
        return f"was approved, last by {last}"
    return f"is {life.state}"
