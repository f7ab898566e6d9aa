"""Executors' requests to policy, and policy's signed statements: decisions, grants and read grants.

A decision says whether a request is allowed; a grant lets one claim start now; a read grant lets an agent read a host
(baseline, probe, preview). Only policy signs these three, and agents act on nothing else.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest, Hex32, InstanceId, OperationId, OperationName, PoolId, PrincipalId, TargetId
from writ_contracts.inventory import Target
from writ_contracts.people.approvals import DecisionDemand, SignedApproval
from writ_contracts.people.credentials import Presence, PresenceEvidence
from writ_contracts.people.directory import NamedDirectory
from writ_contracts.plugins import AcceptedBuilds, PluginDigests
from writ_contracts.policy.facts import Fact, GatheredListings, Source
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

KILL_GRACE = 5.0
"""Seconds from an operation's timeout until no process of it runs any more: hosts kill those that do not end by
themselves.
"""
MOST_TRACED = 40
"""Default number of rules in a trace."""
OMIT_HEADER, OMIT_UNCHANGED = "Writ-Omit", "unchanged"
"""With this header on a request to policy, the reply's `effective` may leave out texts equal to the requested ones.
"""
LARGE_REQUEST = 65_536
"""Bytes of a request from which on executors send the header."""
Effect = Literal["allow", "deny", "require_approval"]
Authenticated = Literal["signature", "server", "gateway", "nobody"]
LimitKind = Literal["max_concurrent", "max_targets"]


class PolicyVersion(Struct, frozen=True, kw_only=True):
    """The deciding policy: its number, name, label and the SHA-256 of its exact document, with those of the files."""

    name: str
    version: str
    digest: Digest
    inventory_digest: Digest
    principals_digest: Digest
    number: int = 0
    """Number of the stored version (`writ_contracts.policy.versions`), from 1."""


class TraceEntry(Struct, frozen=True, kw_only=True, gc=False):
    """One considered rule: it matched, or the first failed clause, with both values.

    `erred`: no clause failed, and this one could not be judged. `note`: the facts used, and a cancellation by an
    emergency. The value of a parameter of another class than public shows as `<secret>`.
    """

    rule: str
    section: str
    effect: Extensible[Effect]
    matched: bool
    clause: str = ""
    expected: str = field(default="", name="wanted")
    got: str = ""
    erred: bool = False
    note: str = ""


class RuleLimit(Struct, frozen=True):
    """At most `most` operations this rule allowed may be open at once, over all targets; or on so many targets.

    An obligation of the executor; further operations wait.
    """

    rule: str
    kind: Extensible[LimitKind]
    most: int


class TextsByDigest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The large texts that policy decided without. The digests of the parameters are over a JSON list of the other
    values and the keyed digest of each text (`writ_trust.digests.digest_by_texts`). `own`: as
    `Decision.own_parameters_digest`, in this form.
    """

    names: list[str]
    own: Digest | None = None


class Decision(Statement, frozen=True, kw_only=True, tag="writ.decision.v1"):
    """Policy's decision on one request at one instant (`at`, Unix seconds).

    `rules` made it, sorted; `trace` is bounded (`trace_omitted` counts the rest). `facts` are the listings and reports
    used, `limits` the obligations of the executor. `authenticated` says how the principal was authenticated: by its own
    `signature`, the NATS `server`, or a `gateway`; `nobody` in a simulation, which never passes for a real decision.
    `nearest`: the rule nearest to allowing it, and `opens_at` (Unix seconds) the opening of its window.
    `could_approve`: the possible next approvers, at most twenty. `emergency`: the id of the one in force for the
    target. `window`: the approval window whose approvals counted. `demands`: the approvals it needs or needed. With
    demands, `target_digest` is the SHA-256 of the target's entry, to notice a moved target at the start.
    `public_digest` is the SHA-256 of the public effective parameters as canonical JSON, which an approver's client
    checks. `approvals`: the people whose recorded approvals counted. `plugins`: those installed where it was decided.
    """

    operation_id: OperationId
    principal: PrincipalId
    operation: OperationName
    target: TargetId
    effect: Extensible[Effect]
    code: str
    rules: list[str]
    reason: str
    parameters_digest: Digest
    policy: PolicyVersion
    control_sequence: int
    at: float
    authenticated: Extensible[Authenticated]
    statement_digest: Digest | None = None
    """Digest of the principal's own signed statement, where there is one."""
    acts_for: PrincipalId | None = None
    dry_run: bool = False
    timeout: int | None = None
    trace: list[TraceEntry] = field(default_factory=list)
    trace_omitted: int = 0
    facts: list[Fact] = field(default_factory=list)
    limits: list[RuleLimit] = field(default_factory=list)
    nearest: TraceEntry | None = None
    opens_at: float | None = None
    could_approve: list[PrincipalId] = field(default_factory=list)
    emergency: str = ""
    demands: list[DecisionDemand] = field(default_factory=list)
    target_digest: Digest | None = None
    public_digest: Digest | None = None
    approvals: list[PrincipalId] = field(default_factory=list)
    plugins: PluginDigests = field(default_factory=dict)
    people: NamedDirectory | None = None
    """The directory of people's credentials in force, where there is one."""
    presence: Presence | None = None
    """What the requester proved besides their signature, where anything."""
    window: str = ""
    session: str = ""
    """The session by whose key the principal requested, if by one."""
    passed_over: list[PrincipalId] = field(default_factory=list)
    """The people who could have approved it, had no emergency been declared; at most twenty."""
    own_parameters_digest: Digest | None = None
    """Of the requester's own parameters, without what rules and the catalogue filled in, under the key of
    `parameters_digest`. Only the first decision on an unsigned request has it: a statement names these parameters.
    """
    by_texts: TextsByDigest | None = None
    """Where policy decided without the large texts, by their digests."""

    @property
    def left_out(self) -> list[str]:
        """Return the names of the texts that policy decided without."""
        return self.by_texts.names if self.by_texts is not None else []


def changed_since(first: Decision, now: Decision) -> str:
    """Return the relevant changes of an approved operation between its first decision and its start; empty without
    one.
    """
    if first.parameters_digest != now.parameters_digest:
        return "its effective parameters differ from the approved ones"
    if first.target_digest is not None and first.target_digest != now.target_digest:
        return f"target {first.target} changed in the inventory since the request"
    return ""


class Grant(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.grant.v1"):
    """The writ: one claim may start now. Valid for `lifetime` seconds of the agent's boot clock from its claim."""

    operation_id: OperationId
    operation: OperationName
    target: Target
    principal: PrincipalId
    parameters_digest: Digest
    decision_digest: Digest
    claim_digest: Digest
    policy: PolicyVersion
    control_sequence: int
    pool: PoolId
    instance: InstanceId
    nonce: Hex32
    lifetime: float
    timeout: int
    granted_at: float
    acts_for: PrincipalId | None = None
    approvals: list[Digest] = field(default_factory=list)
    """SHA-256 of the payloads of the approvals on which it was decided, in the order of the record."""
    proven: list[Presence] = field(default_factory=list)
    """What each of these approvals proved, in the same order; the agent verifies it again."""
    person: PrincipalId | None = None
    """The person behind the requester, where there are approvals: none of them is by this person but in `solo`."""
    people: NamedDirectory | None = None
    """The directory of people's credentials by which it was decided, where there are approvals."""
    requested_at: float | None = None
    """When it was requested, where there are approvals: their credentials were enrolled before."""


ReadAction = Literal["baseline", "probe", "preview", "diff", "listing", "visit", "ahead"]
"""`diff`: a preview may quote the present content, which the principal may read itself."""


class ReadGrant(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.look.v1"
):
    """A read-only grant: these actions, for this operation on this target, until `expires_at` (the journal's clock)."""

    operation_id: OperationId
    operation: OperationName
    target: Target
    pool: PoolId
    actions: list[ReadAction]
    parameters_digest: Digest
    """Under the executor's `look_key`: of the public effective parameters, or of all of them where preview is
    allowed.
    """
    policy: PolicyVersion
    expires_at: float
    sources: list[Source] = field(default_factory=list)
    """The sources that may be listed, where a listing is allowed; the parameters are empty then."""
    named: str = ""
    """The subject of `list_other_names`: the value of the operation's parameter that names a thing."""
    issued_at: float = 0.0
    """Unix seconds of the journal's clock: a listing under it is no older."""
    plugins: AcceptedBuilds = field(default_factory=dict)
    """The accepted digests of each plugin that defines the operation or carries it out; for a test, of all plugins."""
    previewed: Digest | None = None
    """Where preview is allowed: the digest of the effective parameters as policy's decision on the operation has it."""


class Subject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parts of a request needed by policy; `parameters` are the caller's own, checked, without defaults.

    `key` is the sender's key, as the NATS server names it. `parameters_key` keys the digests of this operation.
    `owner`: the principal whose record or operation a control operation is about.
    """

    operation_id: OperationId
    principal: PrincipalId
    key: str
    operation: str
    target: str
    parameters: dict[str, Any]
    parameters_key: Hex32
    dry_run: bool = False
    idempotency_key: str | None = None
    statement: Signed | None = None
    recorded: bool = False
    """It is in the journal, with the decision on its statement: policy reads it there, and does not judge its age
    again. A grant is always for a recorded request.
    """
    salt: Hex32 | None = None
    owner: PrincipalId | None = None
    presence: PresenceEvidence | None = None
    reason: Annotated[str, Meta(max_length=1000)] = ""
    simulate: bool = False
    """A simulation: needs no signature of the principal's own, and no grant can follow."""
    texts: dict[str, Digest] = field(default_factory=dict)
    """Large texts that `parameters` leaves out: the keyed digest of each. Policy answers `texts_needed` where it must
    read one.
    """


class DecideRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for a decision (`writ.policy.decide`).

    `look` requests a ReadGrant too, until `look_until` (Unix seconds), its digest under `look_key`; it comes unless the
    decision denies. For an operation with early reads, `look_until` alone requests the read grant.
    `facts` are those named by `needs` of an earlier reply.
    """

    subject: Subject
    control_sequence: int
    look: list[ReadAction] = field(default_factory=list)
    look_until: float | None = None
    look_key: Hex32 | None = None
    stored_policies: int = 0
    """The last stored version of the policy the sender knows; a replica reads it before it decides."""
    facts: GatheredListings | None = None
    traced: int = MOST_TRACED
    """Upper limit of the rules in the decision's trace."""


class RecordReadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Audit's request for a decision on `audit_read` (`writ.policy.record_read`). It has no field for an operation or a
    target, so audit's key obtains no other decision.

    `principal` and `key` are the reader's, `owner` the principal whose record it is, None for everybody's.
    """

    operation_id: OperationId
    principal: PrincipalId
    key: str
    parameters: dict[str, Any]
    parameters_key: Hex32
    control_sequence: int
    owner: PrincipalId | None = None


class DecideReply(Struct, frozen=True, kw_only=True):
    """The reply: a signed Decision with the effective parameters, or an error (`invalid` kinds, `behind`).

    Where it depends on facts, the decision denies (`facts_needed`), `needs` names the missing listings, and `look` lets
    the target's agents make them: send the request again with the facts.
    """

    decision: Signed | None = None
    effective: dict[str, Any] = field(default_factory=dict)
    look: Signed | None = None
    needs: list[Source] = field(default_factory=list)
    error: Failure | None = None
    level: int = 0
    """`writ_contracts.version.LEVEL` of the release that decided."""


class GrantRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for a grant (`writ.policy.grant`): decide again, and if it is allowed bind it to this claim and record
    it.

    `values`: the journal may have the values of public parameters. `approvals` is ignored: policy takes them from the
    journal.
    """

    subject: Subject
    claim: Signed
    control_sequence: int
    approvals: list[Signed] = field(default_factory=list)
    look_key: Hex32 | None = None
    facts: GatheredListings | None = None
    traced: int = MOST_TRACED
    values: bool = True
    kept: Digest | None = None
    """The parameters' digest of policy's first decision, where the question leaves out their large texts. A replica
    without them answers `texts_needed`.
    """


class GrantReply(Struct, frozen=True, kw_only=True):
    """The reply: grant and decision, already in the journal; or a decision alone, which denies; or an error.
    `needs` as in DecideReply. `approvals`: those named by the grant, for the agent.
    """

    grant: Signed | None = None
    decision: Signed | None = None
    effective: dict[str, Any] = field(default_factory=dict)
    look: Signed | None = None
    needs: list[Source] = field(default_factory=list)
    approvals: list[SignedApproval] = field(default_factory=list)
    error: Failure | None = None
