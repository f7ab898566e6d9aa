"""The approvals that the journal has of an operation, verified again each time that they count. Pure."""

from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct, structs

from writ_contracts.approvals import Approval, SignedApproval
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.persons import person_of
from writ_contracts.records import Record
from writ_contracts.subjects import parse_event
from writ_policy.starts import RecordedOperation
from writ_policy.state.snapshot import World
from writ_trust.approvals import BAD, read_approval, verify_approval
from writ_trust.statements import digest, read


class Exact(Struct, frozen=True, kw_only=True):
    """The exact request that approvals must name: the digests of its `requested` event, its first decision and its
    recorded preview.
    """

    operation_id: str
    principal: str
    requested: str
    decision_digest: str
    preview: str | None = None


class Approvals(Struct, frozen=True):
    """The people whose approvals count now, in order, and what they signed. `decided_at`: the instant of the first
    decision on an approved operation (Unix seconds).
    """

    approvers: tuple[str, ...] = ()
    signed: Sequence[SignedApproval] = ()
    decided_at: float | None = None


def approvals_of(recorded: RecordedOperation, records: Sequence[Record], world: World) -> Approvals:
    """The recorded approvals of an operation that hold now: of one that was approved and has not ended. Those of an
    operation that was rejected, cancelled or expired start nothing any more.
    """
    if recorded.life.approved is None or not recorded.life.open:
        return Approvals()
    found = counted(recorded.life.approvals, exact_of(recorded, records), world)
    return structs.replace(found, decided_at=first_decision(recorded).at)


def exact_of(recorded: RecordedOperation, records: Sequence[Record]) -> Exact:
    """The digests of an operation, from the bytes that the journal has."""
    data = next(one.data for one in records if (where := parse_event(one.subject)) and where.event == "requested")
    requested = recorded.requested
    return Exact(
        operation_id=requested.operation_id,
        principal=requested.principal,
        requested=sha256(data).hexdigest(),
        decision_digest=digest(requested.decision),
        preview=recorded.life.preview_digest or None,
    )


def first_decision(recorded: RecordedOperation) -> Decision:
    """The first decision, whose signature was checked before."""
    return read(recorded.requested.decision, Decision)


def counted(signed: Sequence[SignedApproval], exact: Exact, world: World) -> Approvals:
    """Those of this exact request, signed by the keys that their approvers have now. One person counts once, and never
    for their own request, by whatever principal.
    """
    found, persons = dict[str, SignedApproval](), {person_of(exact.principal, world.principals)}
    for one in signed:
        who = _approver(one, exact, world)
        if who and (person := person_of(who, world.principals)) not in persons:
            persons.add(person)
            found[who] = one
    return Approvals(tuple(found), list(found.values()))


def _approver(signed: SignedApproval, exact: Exact, world: World) -> str:
    try:
        approver = world.principals.get(read_approval(signed).approver)
        if approver is None or approver.kind != "human":
            return ""
        approval = verify_approval(signed, world.credentials(approver.id), installation=world.installation)
        check_exact(approval, exact)
    except Untrusted:
        return ""
    return approval.approver if approval.verdict == "approve" else ""


def check_exact(approval: Approval, exact: Exact) -> None:
    """Raises Untrusted (`bad_approval`) unless the approval is of this exact request."""
    unseen = approval.verdict == "reject" and approval.preview is None  # nobody has to see what they reject
    pairs = {
        "operation": (approval.operation_id, exact.operation_id),
        "digest of the request": (approval.requested, exact.requested),
        "digest of the decision": (approval.decision_digest, exact.decision_digest),
        "digest of the preview": (approval.preview, None if unseen else exact.preview),
    }
    if different := [name for name, (signed, known) in pairs.items() if signed != known]:
        raise Untrusted(f"what {approval.approver} signed differs in {', '.join(different)}", code=BAD)
