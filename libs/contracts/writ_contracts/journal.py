# long: one struct for each event, which are read as one list
"""The events of the journal: requests, decisions, grants and outcomes, one struct per event.

Events tolerate unknown fields, so an older reader reads a newer writer. They hold public parameters only. Each is
at most 64 KiB; the subject names principal, operation and kind (see `subjects`).
"""

from typing import Any, Literal, get_args

from msgspec import Struct, field

from writ_contracts.agents import SecurityKind
from writ_contracts.decisions import LimitKind, RuleLimit
from writ_contracts.extensible import Extensible
from writ_contracts.people.approvals import DecisionDemand, SignedApproval
from writ_contracts.people.credentials import PresenceEvidence
from writ_contracts.requests import ClientInfo, Verdict
from writ_contracts.signing import Signed

MAX_EVENT_BYTES = 65_535

Outcome = Literal[
    "succeeded",
    "failed",
    "denied",
    "rejected",
    "invalid",
    "previewed",
    "expired",
    "cancelled",
    "stale",
    "unknown",
]


class Event(Struct, frozen=True, kw_only=True):
    """Fields of every event: its own id, its time (Unix seconds on the journal's clock, as its writer measured it), and
    its correlation.

    Instants in events are for people; differences within one event are durations.
    """

    id: str
    at: float
    correlation_id: str
    causation_id: str = ""
    traceparent: str = ""


class DispatchedAtOnce(Struct, frozen=True, kw_only=True):
    """The fields of a first `dispatched` that its `requested` does not have."""

    start_by: float
    decision_digest: str


class Requested(Event, frozen=True, kw_only=True, tag="requested"):
    """An accepted request with its first decision. `fingerprint` distinguishes a repeated key from a conflicting
    one.
    """

    operation_id: str
    principal: str
    operation: str
    target: str
    pool: str
    risk: str
    idempotent: bool
    key: str
    """The NATS user that sent it, as the server names it."""
    parameters: dict[str, Any]
    """The caller's own, public fields only; `hidden` names the others."""
    effective: dict[str, Any]
    """With the rule's and the catalogue's defaults as of the first decision, public fields only."""
    hidden: list[str]
    hidden_bytes: int = 0
    """Size of all of the caller's parameters, where they are stored elsewhere until the outcome."""
    parameters_digest: str
    fingerprint: str
    verdict: Verdict
    decision: Signed
    timeout: int
    start_by: float
    """`start_by - at` is the longest wait: not started by then, it ends `expired`. With approvals the time runs from
    `approved`.
    """
    acts_for: str | None = None
    reason: str = ""
    dry_run: bool = False
    idempotency_key: str | None = None
    statement: Signed | None = None
    salt: str | None = None
    look: Signed | None = None
    look_key: str = ""
    """Keys the read grant's digest of the public parameters; opens nothing else."""
    ahead: Signed | None = None
    """The read grant for an early read, under the same key; there is never both."""
    presence: PresenceEvidence | None = None
    """What proves that the requester was there, as it was sent."""
    limits: list[RuleLimit] = field(default_factory=list)
    """Limits of the first decision on other operations under way at the time of dispatch."""
    client: ClientInfo | None = None
    """The program that sent it, as it names itself."""
    parameter_key: str = ""
    """The shared key of executors under which its digests are; empty where it is the first key of the installation."""
    dispatched: DispatchedAtOnce | None = None
    """The operation was dispatched with its request, since it waits for nothing. The subject then names pool and
    target.
    """
    search_digests: list[str] = field(default_factory=list)
    """Digests of values that are neither in `parameters` nor in `effective`, under a key of executors. A search finds
    the operation by them. Values of secret parameters have none.
    """

    @property
    def first_dispatch(self) -> "Dispatched | None":
        """The `dispatched` that this event is as well; None where the operation is dispatched later."""
        if self.dispatched is None:
            return None
        return Dispatched(
            id=self.id,
            at=self.at,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            traceparent=self.traceparent,
            operation_id=self.operation_id,
            principal=self.principal,
            operation=self.operation,
            target=self.target,
            pool=self.pool,
            attempt=1,
            parameters=self.effective,
            start_by=self.dispatched.start_by,
            timeout=self.timeout,
            decision_digest=self.dispatched.decision_digest,
            look=self.look,
            look_key=self.look_key,
            ahead=self.ahead,
        )


class Refused(Event, frozen=True, kw_only=True, tag="refused"):
    """A refused request: `denied` by policy, or `invalid`. Operation and target are as claimed, cut."""

    operation_id: str
    principal: str
    operation: str
    target: str
    outcome: Extensible[Literal["denied", "invalid"]]
    code: str
    message: str
    fingerprint: str = ""
    verdict: Verdict | None = None
    decision: Signed | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    acts_for: str | None = None
    reason: str = ""
    dry_run: bool = False
    statement: Signed | None = None
    client: ClientInfo | None = None
    search_digests: list[str] = field(default_factory=list)
    """As in `requested`."""


class AwaitingApproval(Event, frozen=True, kw_only=True, tag="awaiting_approval"):
    """The request waits for the approvals demanded by its decision, until `until` (Unix seconds).

    `until - requested_at` is the time to decide, which runs from the request. The signed decision in `requested` has
    the binding demands; these are for lists.
    """

    operation_id: str
    approvers: list[str]
    quorum: int
    until: float
    requested_at: float = 0.0
    principal: str = ""
    operation: str = ""
    target: str = ""
    acts_for: str | None = None
    demands: list[DecisionDemand] = field(default_factory=list)


class PreviewTaken(Event, frozen=True, kw_only=True, tag="preview_taken"):
    """The preview of a pending operation, signed by an agent of its target. The first one counts."""

    operation_id: str
    preview: Signed


class ApprovalGiven(Event, frozen=True, kw_only=True, tag="approval_given"):
    """One of several needed approvals; `remaining`: the number still missing. Written by policy alone."""

    operation_id: str
    approver: str
    approval: SignedApproval
    remaining: int


class Approved(Event, frozen=True, kw_only=True, tag="approved"):
    """All demanded approvals, signed, in the order of their arrival. Written by policy alone.

    The time to start runs from here.
    """

    operation_id: str
    approvals: list[SignedApproval]
    approver: str = ""


class Rejected(Event, frozen=True, kw_only=True, tag="rejected"):
    """The end of an operation rejected by an approver, with the signed rejection. Written by policy alone."""

    operation_id: str
    approver: str
    approval: SignedApproval
    reason: str = ""


class Dispatched(Event, frozen=True, kw_only=True, tag="dispatched"):
    """An agent of the pool may claim it now. `look` permits a read of the baseline and nothing else; `ahead` permits an
    early read, whose result needs the grant.
    """

    operation_id: str
    principal: str
    operation: str
    target: str
    pool: str
    attempt: int
    parameters: dict[str, Any]
    start_by: float
    timeout: int
    decision_digest: str | None = None
    """Digest of the decision in `requested`; the claim names it again."""
    look: Signed | None = None
    look_key: str = ""
    ahead: Signed | None = None
    noticed: bool = False
    """Its pool's agent got a BaselineNotice of it, and no other operation has taken its target since: the baseline that
    was read at the notice counts.
    """
    over: Signed | None = None
    """For a further attempt: the receipt of the earlier attempt's instance that no process of it runs any more. Without
    one, policy waits until that attempt's deadline has passed.
    """


class Granted(Event, frozen=True, kw_only=True, tag="granted"):
    """A claim got its grant: the effect may happen for `deadline - at` seconds from now on, and no longer.

    Written by policy alone, before it gives the grant to anybody; an agent starts nothing without it.
    """

    operation_id: str
    attempt: int
    instance: str
    deadline: float
    claim: Signed
    grant: Signed
    decision: Signed
    parameters: dict[str, Any] = field(default_factory=dict)
    """The effective ones, public fields only."""


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """An executor began a control operation. It carries it out itself, for `deadline - at` seconds at most."""

    operation_id: str
    attempt: int
    instance: str
    deadline: float
    parameters: dict[str, Any] = field(default_factory=dict)
    """The effective ones, public fields only."""
    decision: Signed | None = None


class CancelRequested(Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """A permitted cancel. Executors send it to the agent until the agent replies."""

    operation_id: str
    by: str
    cancel_id: str
    decision: Signed
    parameters: dict[str, Any]
    parameters_key: str


class Finished(Event, frozen=True, kw_only=True, tag="finished"):
    """The operation has ended, with its one outcome. `receipt` is the agent's where an agent ran it, `probe` an agent's
    signed ProbeFinding where a probe found the effect.
    """

    operation_id: str
    outcome: Extensible[Outcome]
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    output_digest: str = ""
    receipt: Signed | None = None
    probe: Signed | None = None
    decision: Signed | None = None


class Unknown(Event, frozen=True, kw_only=True, tag="unknown"):
    """The operation may have run. `Resolved` may settle the outcome later, once. `output`: what a control operation has
    done for certain, such as the id of a session that NATS has not confirmed.
    """

    operation_id: str
    code: str
    message: str
    output: dict[str, Any] = field(default_factory=dict)
    receipt: Signed | None = None


class Resolved(Event, frozen=True, kw_only=True, tag="resolved"):
    """The later known outcome: by a late receipt, or by a probe (`how`), whose signed ProbeFinding is `probe`. That of
    a cancel follows from the end of its operation, where the receipt or finding is.
    """

    operation_id: str
    outcome: Extensible[Literal["succeeded", "failed", "cancelled"]]
    how: Extensible[Literal["receipt", "probe"]]
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    output_digest: str = ""
    receipt: Signed | None = None
    probe: Signed | None = None


class Archived(Event, frozen=True, kw_only=True, tag="archived"):
    """The rest of an accepted operation whose events went into archive `generation`: enough to reply to its request
    again under the same idempotency key, and to prevent a second run. `at` is the time of archiving.
    """

    operation_id: str
    principal: str
    operation: str
    target: str
    requested_at: float
    outcome: Extensible[Outcome]
    fingerprint: str
    generation: int
    code: str = ""
    acts_for: str | None = None
    dry_run: bool = False


class Carried(Event, frozen=True, kw_only=True):
    """An event of a kind unknown to this version, written by a newer one. It is kept and passed on, and changes
    no state here. Never written.
    """

    operation_id: str = ""
    kind: str = ""


class SecurityEvent(Event, frozen=True, kw_only=True, tag="security"):
    """A sign of an attack or a defect, observed by a service or reported (and signed) by an agent."""

    kind: Extensible[SecurityKind]
    detail: str
    operation_id: str | None = None
    principal: str | None = None
    pool: str | None = None
    report: Signed | None = None


class RecordRead(Event, frozen=True, kw_only=True, tag="record_read"):
    """A principal read records of others, which policy allowed: the filters of the query, and the signed decision."""

    principal: str
    query: dict[str, Any]
    decision: Signed
    sought: list[str] = field(default_factory=list)
    """The parameters by whose values it searched; never the values."""


class RefusedSummary(Event, frozen=True, kw_only=True, tag="refused_summary"):
    """The number of one principal's requests refused without a record since `since`, because they were too many."""

    principal: str
    count: int
    since: float
    codes: dict[str, int]


class LockTaken(Event, frozen=True, kw_only=True, tag="lock_taken"):
    """One changing operation holds its target, until it has ended; written before its `dispatched`."""

    target: str
    operation_id: str
    principal: str


class LimitTaken(Event, frozen=True, kw_only=True, tag="limit_taken"):
    """One operation counts under a limit of its allow rule until it has ended; written together with its
    `dispatched`.
    """

    rule: str
    kind: Extensible[LimitKind]
    most: int
    target: str
    operation_id: str
    principal: str


class WindowUsed(Event, frozen=True, kw_only=True, tag="window_used"):
    """One operation is use number `use` of `most` of an approval window; written together with its `granted`."""

    window: str
    use: int
    most: int
    target: str
    operation_id: str
    principal: str


class LimitHolder(Struct, frozen=True, kw_only=True):
    """An operation which counts under a limit, until its agent's receipt or `until` (Unix seconds)."""

    operation_id: str
    principal: str
    target: str
    until: float


class LimitCounted(Event, frozen=True, kw_only=True, tag="limit_counted"):
    """The operations counted under a limit after the start stored with it, which is the last one. Written by policy
    alone; `limit_taken` is the order in which executors dispatch.
    """

    rule: str
    kind: Extensible[LimitKind]
    most: int
    holders: list[LimitHolder]


class ControlEvent(Event, frozen=True, kw_only=True, tag="control"):
    """An event which all later decisions must take into account. `kind`: stop_set, stop_lift, policy_publish,
    policy_rollback, policy_file, emergency_declare, emergency_confirm, emergency_closed, emergency_review,
    window_request, window_end, session_open, session_end, session_idle, principal_manage, journal_archive,
    agent_enrolled, people_version, keys_changed, journal_restored.

    None is ever lost: before a range of the journal goes into an archive, its control events are stored again after it,
    byte for byte, and the header `Writ-Carried-From` names the original sequence.

    `parameters_key` opens the decision's digest of the effective parameters. All of them are in `body`, except a
    published document: `body` has its version number.

    `salt` opens the statement's digest of the parameters as they were `given`; both are in a `session_open` alone.
    """

    kind: str
    principal: str
    operation_id: str
    body: dict[str, Any]
    decision: Signed | None = None
    statement: Signed | None = None
    parameters_key: str = ""
    salt: str = ""
    given: dict[str, Any] = {}


OperationEvent = (
    Requested
    | Refused
    | AwaitingApproval
    | PreviewTaken
    | ApprovalGiven
    | Approved
    | Rejected
    | Dispatched
    | Granted
    | Started
    | CancelRequested
    | Finished
    | Unknown
    | Resolved
    | Archived
)
OPERATION_KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(OperationEvent))
JournalEvent = (
    OperationEvent
    | SecurityEvent
    | RecordRead
    | RefusedSummary
    | LockTaken
    | LimitTaken
    | LimitCounted
    | WindowUsed
    | ControlEvent
)
KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(JournalEvent))
