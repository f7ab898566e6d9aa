"""The recorded approvals of an operation, verified again each time they are used. The functions are pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType

from msgspec import Struct, structs

from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import Approval, SignedApproval
from writ_contracts.people.credentials import KEY, Presence
from writ_contracts.subjects import parse_event
from writ_policy.starts import RecordedOperation
from writ_policy.state.snapshot import PolicySnapshot
from writ_trust.approvals import BAD, ProvenApproval, prove_approval, read_approval
from writ_trust.statements import digest, read


class ExactRequest(Struct, frozen=True, kw_only=True):
    """The exact request that approvals must name: the digests of its `requested` event, of its first decision and of
    its recorded preview.
    """

    operation_id: str
    principal: str
    requested: str
    decision_digest: str
    requested_at: float
    preview: str | None = None


class CountedApprovals(Struct, frozen=True):
    """The people whose approvals count now, in order, with their signed approvals and proven presences.

    `decided_at` is the instant of the first decision on an approved operation, `requested_at` that of its record (Unix
    seconds).
    """

    approvers: tuple[str, ...] = ()
    signed: Sequence[SignedApproval] = ()
    proven: Mapping[str, Presence] = MappingProxyType({})
    requested_at: float = 0.0
    decided_at: float | None = None


def approvals_of(recorded: RecordedOperation, records: Sequence[Record], snapshot: PolicySnapshot) -> CountedApprovals:
    """Return the valid recorded approvals of an operation that was approved and has not ended.

    After a rejection, a cancel or an expiry there are none, since nothing may start any more.
    """
    if recorded.life.approved is None or not recorded.life.open:
        return CountedApprovals()
    approvals = counted(recorded.life.approvals, exact_of(recorded, records), snapshot)
    return structs.replace(approvals, decided_at=first_decision(recorded).at)


def exact_of(recorded: RecordedOperation, records: Sequence[Record]) -> ExactRequest:
    """Return the digests of an operation, from the bytes in the journal."""
    data = next(one.data for one in records if (where := parse_event(one.subject)) and where.event == "requested")
    requested = recorded.requested
    return ExactRequest(
        operation_id=requested.operation_id,
        principal=requested.principal,
        requested=sha256(data).hexdigest(),
        decision_digest=digest(requested.decision),
        requested_at=recorded.requested_at,
        preview=recorded.life.preview_digest or None,
    )


def first_decision(recorded: RecordedOperation) -> Decision:
    """Return the first decision. Its signature was checked before."""
    return read(recorded.requested.decision, Decision)


def counted(signed: Sequence[SignedApproval], exact: ExactRequest, snapshot: PolicySnapshot) -> CountedApprovals:
    """Return the approvals of this exact request that were signed by credentials which are valid now for their
    approvers.

    A person counts once, and never for a request of their own under any principal (but see `People.needed`).
    """
    by_person, proven, persons = dict[str, SignedApproval](), dict[str, Presence](), set[str]()
    for one in signed:
        known = _counted(one, exact, snapshot)
        if known is not None and (person := snapshot.people.person(known.approval.approver)) not in persons:
            persons.add(person)
            by_person[known.approval.approver], proven[known.approval.approver] = one, known.presence
    return CountedApprovals(tuple(by_person), list(by_person.values()), proven, exact.requested_at)


def _counted(signed: SignedApproval, exact: ExactRequest, snapshot: PolicySnapshot) -> ProvenApproval | None:
    try:
        who = read_approval(signed).approver
        credentials = snapshot.credentials(who, exact.requested_at)
        approval = prove_approval(signed, credentials, installation=snapshot.installation)
        check_exact(approval.approval, exact)
    except Untrusted:
        return None
    asker = snapshot.principals.get(exact.principal)
    needed = None if asker is None else snapshot.people.needed(who, asker, KEY)
    counts = needed is not None and approval.presence.meets(needed) and approval.approval.verdict == "approve"
    return approval if counts else None


def check_exact(approval: Approval, exact: ExactRequest) -> None:
    """Raise Untrusted (`bad_approval`) unless the approval names this exact request."""
    unseen = approval.verdict == "reject" and approval.preview is None  # a rejection is valid without a preview
    pairs = {
        "operation": (approval.operation_id, exact.operation_id),
        "digest of the request": (approval.requested, exact.requested),
        "digest of the decision": (approval.decision_digest, exact.decision_digest),
        "digest of the preview": (approval.preview, None if unseen else exact.preview),
    }
    if different := [name for name, (signed, known) in pairs.items() if signed != known]:
        raise Untrusted(f"what {approval.approver} signed differs in {', '.join(different)}", code=BAD)
