"""What the executor asks policy, and what policy signs: decisions, grants and looks.

A decision says what may be; a grant lets one claim start now; a look lets an agent read a host (baseline, probe,
preview). Only policy signs these three, and agents act on nothing else.
"""

from typing import Any, Literal

from msgspec import Struct, field

from writ_contracts.approvals import DecisionDemand, SignedApproval
from writ_contracts.facts import Fact, Gathered, Source
from writ_contracts.ids import Digest, Hex32, InstanceId, OperationId, OperationName, PoolId, PrincipalId, TargetId
from writ_contracts.inventory import Target
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed

KILL_GRACE = 5.0
"""Seconds after its timeout until nothing of an operation runs any more: hosts end what does not end by itself."""
MOST_TRACED = 40
"""Rules that a trace tells of, unless its asker wants more or less."""
Effect = Literal["allow", "deny", "require_approval"]


class PolicyVersion(Struct, frozen=True, kw_only=True):
    """Which policy decided: its number, name, label and the SHA-256 of its exact document, with those of the files."""

    name: str
    version: str
    digest: Digest
    inventory_digest: Digest
    principals_digest: Digest
    number: int = 0
    """Of the stored version (`writ_contracts.policies`), from 1."""


class TraceEntry(Struct, frozen=True, kw_only=True, gc=False):
    """One rule that was considered: whether it matched, and if not the first clause that failed, with both values.

    `erred`: nothing failed, and this clause could not be judged. `note`: by which facts, and whether an emergency set
    the rule aside. A value of a parameter that is not public shows as `<secret>`.
    """

    rule: str
    section: str
    effect: Effect
    matched: bool
    clause: str = ""
    wanted: str = ""
    got: str = ""
    erred: bool = False
    note: str = ""


class RuleLimit(Struct, frozen=True):
    """At most `most` operations that this rule allowed may be open at once, over all targets; or on so many targets.

    An obligation of whoever carries it out; what is beyond it waits its turn.
    """

    rule: str
    kind: Literal["max_concurrent", "max_targets"]
    most: int


class Decision(Struct, frozen=True, kw_only=True, tag="writ.decision.v1"):
    """Policy's word on one request at one instant (`at`, Unix seconds).

    `rules` made it, sorted; `trace` is bounded (`trace_omitted` counts the rest). `facts` are the listings and reports
    that it was made on, `limits` what has to be kept by whoever carries it out. `authenticated` says what stands for
    who asked: the principal's own `signature`, or the NATS `server`; `nobody` where it is only a simulation, so that it
    never passes for the decision that it shows. `nearest`: the rule that came nearest to allowing it, and `opens_at`
    (Unix seconds) when its window opens. `could_approve`: who could say the next yes, twenty of them at most.
    `emergency`: the id of the one in force for the target. `demands`: the approvals that it takes, or took; where
    there are any, `target_digest` is SHA-256 of the target's entry, so that a moved target is noticed at the start, and
    `public_digest` that of the public effective parameters as canonical JSON, which an approver's client checks.
    `approvals`: the people whose recorded approvals counted.
    """

    operation_id: OperationId
    principal: PrincipalId
    operation: OperationName
    target: TargetId
    effect: Effect
    code: str
    rules: list[str]
    reason: str
    parameters_digest: Digest
    policy: PolicyVersion
    control_sequence: int
    at: float
    authenticated: Literal["signature", "server", "nobody"]
    statement_digest: Digest | None = None
    """Of the principal's own signed statement, where there is one."""
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


def changed_since(first: Decision, now: Decision) -> str:
    """What of an approved operation changed between its first decision and its start; empty if nothing that matters."""
    if first.parameters_digest != now.parameters_digest:
        return "its effective parameters are others than those that were approved"
    if first.target_digest is not None and first.target_digest != now.target_digest:
        return f"target {first.target} changed in the inventory since the request"
    return ""


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.grant.v1"):
    """The writ: one claim may start now. Good for `lifetime` seconds of the agent's boot clock from its claim."""

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


ReadAction = Literal["baseline", "probe", "preview", "listing", "visit", "ahead"]


class ReadGrant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.look.v1"):
    """A read-only grant: these actions, for this operation on this target, until `expires_at` (the journal's clock)."""

    operation_id: OperationId
    operation: OperationName
    target: Target
    pool: PoolId
    actions: list[ReadAction]
    parameters_digest: Digest
    """Under the asker's `look_key`: of the public effective parameters, or of all of them where preview is allowed."""
    policy: PolicyVersion
    expires_at: float
    sources: list[Source] = field(default_factory=list)
    """What may be listed, where a listing is allowed; its parameters are none."""
    named: str = ""
    """What `list_other_names` is about: the value of the operation's parameter that names a thing."""
    issued_at: float = 0.0
    """By the journal's clock, in Unix seconds: what is listed under it is no older."""


class Subject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything about one request that policy needs; `parameters` are the caller's own, checked, without defaults.

    `key` is the one that the NATS server says sent it. `parameters_key` keys the digests of this operation.
    `owner` is whose record or operation a control operation is about.
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
    """It is in the journal, with the decision on its statement: policy looks there, and does not judge its age again.
    A grant always is for what is recorded."""
    salt: Hex32 | None = None
    owner: PrincipalId | None = None
    simulate: bool = False
    """Only to see what would be decided: no signature of the principal's own is asked for, no grant can follow."""


class Decide(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask for a decision (`writ.policy.decide`). `look` asks for a ReadGrant too, until `look_until`
    (Unix seconds), its digest under `look_key`; it comes unless the decision denies. For an operation that may be read
    ahead, `look_until` alone asks for the look to do so. `facts` are what an earlier answer's `needs` asked for.
    """

    subject: Subject
    control_sequence: int
    look: list[ReadAction] = field(default_factory=list)
    look_until: float | None = None
    look_key: Hex32 | None = None
    stored_policies: int = 0
    """The last stored version of the policy that the asker knows; a replica looks at it before it decides."""
    facts: Gathered | None = None
    traced: int = MOST_TRACED
    """How many rules the decision's trace shall tell of, at the most."""


class Decided(Struct, frozen=True, kw_only=True):
    """The answer: a signed Decision with the effective parameters, or an error (`invalid` kinds, `behind`).

    Where it hangs on facts, the decision denies (`facts_needed`), `needs` names the listings that are wanted, and
    `look` lets the target's agents make them: ask once more with what came.
    """

    decision: Signed | None = None
    effective: dict[str, Any] = field(default_factory=dict)
    look: Signed | None = None
    needs: list[Source] = field(default_factory=list)
    error: Failure | None = None


class AskGrant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask for a grant (`writ.policy.grant`): decide again, and if it is allowed bind it to this claim and record it.

    `values`: whether the journal may have the values of public parameters. `approvals` is not read: policy takes them
    from the journal.
    """

    subject: Subject
    claim: Signed
    control_sequence: int
    approvals: list[Signed] = field(default_factory=list)
    look_key: Hex32 | None = None
    facts: Gathered | None = None
    traced: int = MOST_TRACED
    values: bool = True


class GrantAnswer(Struct, frozen=True, kw_only=True):
    """The answer: grant and decision, which the journal has by now; or a decision alone, which denies; or an error.
    `needs` as in Decided. `approvals`: those that the grant names, for the agent.
    """

    grant: Signed | None = None
    decision: Signed | None = None
    effective: dict[str, Any] = field(default_factory=dict)
    look: Signed | None = None
    needs: list[Source] = field(default_factory=list)
    approvals: list[SignedApproval] = field(default_factory=list)
    error: Failure | None = None
