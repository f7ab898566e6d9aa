"""Check in the journal that an operation may start: its request has a first decision by policy, and the start is the
next event.

An executor's word is not enough for either. Pure: the records of the operation are passed in.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import Any, Final

from msgspec import Struct, structs

from writ_contracts.agents import Claim, Receipt
from writ_contracts.decisions import KILL_GRACE, Decision, Grant, Subject
from writ_contracts.errors import Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.journal import Dispatched, Granted, Requested
from writ_contracts.life import MOST_ATTEMPTS, AcceptedLife, DispatchedLife, GrantedLife, State, fold
from writ_contracts.operations import Operation
from writ_contracts.signing import Signed
from writ_contracts.subjects import parse_event
from writ_contracts.wire import canonical, event_of
from writ_policy.decisions.left_out_texts import Digested, digest_of, has_own_parameters
from writ_trust.statements import digest, open_signed

FORGED: Final = "forged_start"
OpenDecision = Callable[[Signed, Collection[str]], Decision]
"""Opens a signed decision if one of these keys signed it for this installation. Raises Untrusted."""
SetForward = Callable[[float, float], float]
"""Returns the seconds by which the NATS server's clock was set forward between two of its instants; infinite is now."""
RECORDED_WITHIN = 600.0
"""The most seconds between a first decision and its record, by the NATS server's clock.

So neither a decision that was held back, nor one of an operation whose events were archived and deleted, can begin an
operation.
"""
STARTED_WITHIN = 7 * 86_400.0
"""Seconds after its record in which an operation may start, whatever durations executors wrote."""
MOVED_ON = "moved_on"


class ForgedStart(Untrusted):
    """The journal contradicts the request. An honest executor never sends it."""

    default_code = FORGED


class RecordedOperation(Struct, frozen=True, kw_only=True):
    """An operation in the journal. Times are the NATS server's, in Unix seconds."""

    life: AcceptedLife
    requested_at: float = 0.0
    dispatched_at: float = 0.0
    granted_at: float = 0.0
    approved_at: float = 0.0

    @property
    def requested(self) -> Requested:
        return self.life.requested


def recorded_of(records: Sequence[Record], subject: Subject) -> RecordedOperation:
    """Return the operation of the subject. Raises ForgedStart as `read_recorded`."""
    return read_recorded(records, subject.principal, subject.operation_id)


def requested_pool(records: Sequence[Record], subject: Subject) -> str:
    """Return the pool that the target had at the request; empty without a request."""
    try:
        return recorded_of(records, subject).requested.pool
    except ForgedStart:
        return ""


def read_recorded(records: Sequence[Record], principal: str, operation_id: str) -> RecordedOperation:
    """Return the operation of this principal with this id. Raises ForgedStart if the journal has no such request, or an
    impossible history.
    """
    try:
        life = fold((record.sequence, event_of(record.subject, record.data)) for record in records)  # type: ignore[misc]
    except (Conflict, Invalid) as error:
        raise ForgedStart(f"the events of {operation_id} are contradictory: {error}") from error
    if not isinstance(life, AcceptedLife):
        raise ForgedStart(f"{principal} has not requested {operation_id}")
    latest = _latest_times(records)
    return RecordedOperation(
        life=life,
        requested_at=latest.get("requested", 0.0),
        dispatched_at=latest.get("dispatched", 0.0),
        granted_at=latest.get("granted", 0.0),
        approved_at=latest.get("approved", 0.0),
    )


def _latest_times(records: Sequence[Record]) -> dict[str, float]:
    """Return the time of the last event of each kind."""
    latest: dict[str, float] = {}
    for record in records:
        if where := parse_event(record.subject):
            latest[where.event] = max(record.time, latest.get(where.event, 0.0))
    return latest


def check_decided(recorded: RecordedOperation, keys: Mapping[str, int], opened: OpenDecision) -> Decision:
    """Return the first decision on the operation. Raises ForgedStart unless policy signed it."""
    trusted = [key for key, until in keys.items() if recorded.life.first_sequence <= until]
    try:
        return opened(recorded.requested.decision, trusted)
    except Untrusted as error:
        raise ForgedStart(f"policy did not decide on {recorded.requested.operation_id}: {error}") from error


def check_first_decision(
    recorded: RecordedOperation,
    subject: Subject,
    keys: Mapping[str, int],
    opened: OpenDecision,
    now: float,
    set_forward: SetForward,
) -> Decision:
    """Return the first decision.

    Raises ForgedStart unless policy allowed exactly this request when it was decided, or demanded approvals for it.
    `keys`: policy's keys, each with the last event that it may have signed. `now`: the NATS server's time, as policy
    measured it last.
    """
    requested, decision = recorded.requested, check_decided(recorded, keys, opened)
    stated = digest(subject.statement) if subject.statement else None
    pairs = {
        "operation id": (decision.operation_id, subject.operation_id),
        "principal": (decision.principal, subject.principal),
        "operation": (decision.operation, subject.operation),
        "target": (decision.target, subject.target),
        "key": (requested.key, subject.key),
        "idempotency key": (requested.idempotency_key, subject.idempotency_key),
        "statement": (decision.statement_digest, stated),
        "dry run": (requested.dry_run, subject.dry_run),
    }
    different = [name for name, (recorded_value, value) in pairs.items() if recorded_value != value]
    if decision.effect not in ("allow", "require_approval"):
        different.append("effect")
    if decision.authenticated not in ("signature", "server", "gateway"):
        different.append("simulation")
    if different:
        raise ForgedStart(f"the decision in the record of {subject.operation_id} differs in {', '.join(different)}")
    # A record before its decision, or later than now, is from a clock of NATS that was set and not measured since.
    held_back = min(recorded.requested_at, now) - decision.at
    if held_back > RECORDED_WITHIN:
        held_back -= set_forward(decision.at, recorded.requested_at)
    if held_back > RECORDED_WITHIN:
        raise ForgedStart(f"{subject.operation_id} was recorded {held_back:.0f} s after its decision")
    return decision


def check_recorded_parameters(recorded: RecordedOperation, subject: Subject) -> None:
    """Raise ForgedStart unless the record has the requester's own parameters: the values of those that it shows, and
    the names of the others.

    The digest in a decision has a key of executors, so nobody else could see that another value was carried out.
    """
    requested, own = recorded.requested, subject.parameters
    others = [name for name, value in requested.parameters.items() if name not in own or not _equal(value, own[name])]
    unnamed = own.keys() - requested.parameters.keys() - set(requested.hidden)
    if others or unnamed:
        names = ", ".join(sorted({*others, *unnamed}))[:200]
        raise ForgedStart(f"the record shows other parameters of {subject.operation_id} than its start has: {names}")


def changed_record(recorded: RecordedOperation, subject: Subject, effective: Mapping[str, Any]) -> str:
    """Return which effective values in the record differ from those of the start; empty if none does.

    Values that a rule or the catalogue filled in may differ, and `granted` has them. A newer release may write the
    requester's own in another way than the one that recorded them, so a difference is no proof of a forgery.
    """
    life = recorded.life
    events = [life.requested.effective, *([life.dispatched.parameters] if isinstance(life, DispatchedLife) else [])]
    shown = ((name, value) for event in events for name, value in event.items() if name in subject.parameters)
    different = {name for name, value in shown if name not in effective or not _equal(value, effective[name])}
    return f"the record shows other values of {', '.join(sorted(different))[:200]}" if different else ""


def _equal(recorded: Any, requested: Any) -> bool:
    """Compare as JSON, where 1, 1.0 and true differ."""
    return canonical(recorded) == canonical(requested)


def with_own_parameters(subject: Subject, decision: Decision, digested: Digested) -> Decision:
    """Return the decision with what a start needs to recognize the requester's own parameters. `digested`:
    `keyed_digest`, or one that computes it once.
    """
    if decision.effect == "deny" or subject.statement is not None or subject.recorded or subject.simulate:
        return decision
    own = digest_of(subject, subject.parameters, digested)
    if decision.by_texts is not None:
        return structs.replace(decision, by_texts=structs.replace(decision.by_texts, own=own))
    return structs.replace(decision, own_parameters_digest=own)


def changed_parameters(subject: Subject, first: Decision, present: Decision) -> str:
    """Return why the start may have other parameters than the request had; empty if the requester's own are the same.

    Raises ForgedStart if they are others. Values that a rule or the catalogue fills in may change between the two
    decisions. `first`: the checked first decision. `present`: the decision for the start, whose statement was checked.
    """
    if present.parameters_digest == first.parameters_digest or first.statement_digest is not None:
        return ""
    if first.own_parameters_digest is None and first.by_texts is None:
        return "its effective parameters differ from those at its request, on which an earlier release decided"
    if not has_own_parameters(subject, first):
        raise ForgedStart(f"the start of {subject.operation_id} has other parameters than policy decided on")
    return ""


def check_start(
    recorded: RecordedOperation,
    first: Decision,
    claim: Claim,
    operation: Operation,
    agents: Collection[str],
    keys: Collection[str],
    now: float,
    set_forward: SetForward,
) -> None:
    """Check that this claim is for the next start.

    Raises Conflict (`moved_on`) if the operation does not wait for it, ForgedStart if it never may start, and
    Unreachable (`too_soon`) if the earlier attempt may still run. `first`: the operation's checked first decision.
    `keys`: policy's keys, including former ones. `now`: the NATS server's time in Unix seconds.
    """
    life = recorded.life
    dispatched = life.dispatched if isinstance(life, DispatchedLife) else None
    if life.state is not State.DISPATCHED or dispatched is None or dispatched.attempt != claim.attempt:
        raise Conflict(f"{claim.operation_id} is {life.state}", code=MOVED_ON)
    requested = life.requested
    earlier = life.started if isinstance(life, GrantedLife) else None
    places = (dispatched.pool, dispatched.target, dispatched.operation)
    if places != (requested.pool, requested.target, requested.operation) or claim.pool != requested.pool:
        raise ForgedStart(f"{claim.operation_id} was dispatched to another pool or target than requested")
    if claim.attempt != (earlier.attempt if earlier else 0) + 1:
        raise ForgedStart(f"attempt {claim.attempt} of {claim.operation_id} does not follow on the one before")
    if claim.attempt > (MOST_ATTEMPTS if operation.idempotent else 1):
        raise ForgedStart(f"{operation.name} is not started {claim.attempt} times")
    if first.effect == "require_approval" and life.approved is None:
        raise ForgedStart(f"{claim.operation_id} was dispatched without the approvals that its decision demands")
    waiting_since = max(recorded.requested_at, recorded.approved_at)
    waited = now - waiting_since - set_forward(waiting_since, inf)
    if waited > STARTED_WITHIN:
        raise ForgedStart(f"{claim.operation_id} was requested or approved {waited / 86_400:.0f} days ago")
    if earlier is not None and not _is_over(recorded, earlier, dispatched, agents, keys, claim.installation):
        raise Unreachable(f"attempt {earlier.attempt} of {claim.operation_id} may still run", code="too_soon")


def _is_over(
    recorded: RecordedOperation,
    earlier: Granted,
    dispatched: Dispatched,
    agents: Collection[str],
    keys: Collection[str],
    installation: str,
) -> bool:
    """Return true if the earlier attempt has ended: its instance reported it, or its time had passed at the next
    dispatch.
    """
    try:
        grant = open_signed(earlier.grant, Grant, keys, installation)
    except Untrusted as error:
        raise ForgedStart(f"the start before, of {earlier.operation_id}, was not granted: {error}") from error
    passed = recorded.dispatched_at - recorded.granted_at
    if passed >= grant.lifetime + grant.timeout + KILL_GRACE:
        return True
    if dispatched.over is None:
        return False
    try:
        receipt = open_signed(
            dispatched.over, Receipt, [key for key in agents if key == earlier.claim.key], installation
        )
    except Untrusted:
        return False
    named = (receipt.operation_id, receipt.attempt, receipt.instance, receipt.grant_digest)
    return receipt.over and named == (earlier.operation_id, earlier.attempt, earlier.instance, digest(earlier.grant))
