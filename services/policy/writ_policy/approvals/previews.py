"""The recorded preview of a pending operation, and the facts for its approver, signed by policy."""

from collections.abc import Collection, Mapping, Sequence

from writ_bus.port import Journal
from writ_contracts.decisions import Decision, Grant
from writ_contracts.errors import Denied, Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.journal import Granted, LockTaken, PreviewTaken
from writ_contracts.operations import Operation
from writ_contracts.people.previews import ApprovalFacts, LastChange, Preview
from writ_contracts.signing import Signed
from writ_contracts.subjects import operation_event, parse_event, target_lock
from writ_contracts.wire import event_of
from writ_policy.approvals.verdicts import PendingOperation
from writ_policy.state.snapshot import PolicySnapshot
from writ_trust.statements import digest, open_signed

MOST_BEHIND = 20
INCOMPLETE = "preview_incomplete"
MISSING = "preview_missing"


def recorded_preview(records: Sequence[Record]) -> Signed | None:
    """Return the first preview of an operation: the one that counts. It is not verified here."""
    for record in records:
        where = parse_event(record.subject)
        if where is not None and where.event == "preview_taken":
            event = event_of(record.subject, record.data)
            return event.preview if isinstance(event, PreviewTaken) else None
    return None


def opened_preview(signed: Signed, decision: Decision, snapshot: PolicySnapshot) -> Preview:
    """Return the preview, if an agent of the target's pool signed it for this operation with the decided parameters.
    Raises Untrusted.
    """
    preview = open_signed(signed, Preview, agents_of(decision.target, snapshot), snapshot.installation)
    about = (preview.operation_id, preview.operation, preview.target, preview.parameters_digest)
    if about != (decision.operation_id, decision.operation, decision.target, decision.parameters_digest):
        raise Untrusted("the recorded preview is of another operation")
    return preview


def agents_of(target: str, snapshot: PolicySnapshot) -> Collection[str]:
    """Return the keys of the agents that serve the target, or none if the target was removed."""
    entry = snapshot.targets.get(target)
    return snapshot.agents.get(entry.pool, frozenset()) if entry is not None else frozenset()


def check_preview(signed: Signed | None, decision: Decision, operation: Operation, snapshot: PolicySnapshot) -> None:
    """Raise Denied for an approval of an operation that nobody could inspect.

    `preview_missing`: the operation has previews, and none is recorded. `preview_incomplete`: the preview does not show
    everything, or no agent of the target signed it. A backend without a preview of an operation signs that there is
    none.
    """
    if signed is None:
        if operation.preview:
            raise Denied(
                f"no agent of {decision.target} has signed a preview of it yet: wait for one, or reject it",
                code=MISSING,
            )
        return
    try:
        preview = opened_preview(signed, decision, snapshot)
    except Untrusted as error:
        raise Denied(f"its preview is not valid ({error}): it can only be rejected", code=INCOMPLETE) from error
    if not preview.complete:
        raise Denied(f"its preview is incomplete ({preview.note}): it can only be rejected", code=INCOMPLETE)


def moved_since(signed: Signed | None, operation: Operation, baseline: Mapping[str, object]) -> str:
    """Return how the target differs from its state in the approved preview, as far as it matters; "" without a preview.

    The signer of the preview was checked with its approvals.
    """
    if signed is None or not operation.settled:
        return ""
    state = open_signed(signed, Preview, (signed.key,), None).state
    moved = [name for name in operation.settled if name in state and state[name] != baseline.get(name)]
    if not moved:
        return ""
    lost = "" if all(name in baseline for name in moved) else " (not known now)"
    return f"the target changed since the preview that was approved: {', '.join(moved)}{lost}"


def approval_facts(
    standing: PendingOperation,
    signed: Signed | None,
    operation: Operation,
    reader: str,
    snapshot: PolicySnapshot,
    last_change: LastChange | None,
    now: float,
) -> ApprovalFacts:
    """Return the facts for one reader, which policy then signs."""
    target = snapshot.targets.get(standing.decision.target)
    behind = sorted(one.id for one in snapshot.targets.values() if one.gateway == standing.decision.target)
    valid = signed is not None and _is_valid(signed, standing.decision, snapshot)
    return ApprovalFacts(
        operation_id=standing.exact.operation_id,
        reader=reader,
        requested=standing.exact.requested,
        issued_at=now,
        previews=operation.preview,
        preview=digest(signed) if signed is not None and valid else None,
        preview_key=signed.key if signed is not None and valid else "",
        details=valid,
        role=target.role if target else "",
        tags=list(target.tags) if target else [],
        behind=behind[:MOST_BEHIND],
        behind_count=len(behind),
        last_change=last_change,
    )


def _is_valid(signed: Signed, decision: Decision, snapshot: PolicySnapshot) -> bool:
    try:
        opened_preview(signed, decision, snapshot)
    except Untrusted:
        return False
    return True


async def last_change_of(journal: Journal, target: str, keys: Collection[str], installation: str) -> LastChange | None:
    """Return the latest start of a change on the target by policy's grant. The target's lock names that grant."""
    lock = await journal.last(target_lock(target))
    try:
        taken = event_of(lock.subject, lock.data) if lock is not None else None
        if not isinstance(taken, LockTaken):
            return None
        record = await journal.last(operation_event(taken.principal, taken.operation_id, "granted"))
        granted = event_of(record.subject, record.data) if record is not None else None
        if not isinstance(granted, Granted):
            return None
        grant = open_signed(granted.grant, Grant, keys, installation)
    except (Invalid, Untrusted):
        return None
    if grant.target.id != target:
        return None
    return LastChange(
        operation_id=grant.operation_id, operation=grant.operation, principal=grant.principal, at=grant.granted_at
    )
