"""Queries to the policy service about its policy, and the JSON output of the commands of `writ policy`.

Everyone may query their own (`policy_can_i`, `policy_explain`, `policy_allowed`); all other queries are decided as
`audit_read` with `query: policy`. Nothing is recorded or done.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.bounds import LEAST_WHOLE, Label, Text, Values
from writ_contracts.decisions import PolicyVersion, RuleLimit, TraceEntry
from writ_contracts.extensible import Extensible
from writ_contracts.ids import PrincipalId, TargetId
from writ_contracts.people.credentials import Proof
from writ_contracts.policy.facts import MOST_FINDINGS, MOST_NAMES, ListedName
from writ_contracts.requests import ExpectedFailure, Failure, WaitingReason

MAX_DOCUMENT = 1024 * 1024
MAX_REQUESTS = 1000
Document = Annotated[str, Meta(min_length=1, max_length=MAX_DOCUMENT, description="YAML or JSON")]
Instant = Annotated[float, Meta(ge=0, le=253_402_300_799, description="Unix seconds")]
Whole = Annotated[int, Meta(ge=LEAST_WHOLE, le=(1 << 63) - 1)]
Version = Annotated[int, Meta(ge=1, le=(1 << 53))]
Moment = Annotated[str, Meta(max_length=64, description="ISO 8601")]
Period = Annotated[str, Meta(max_length=32, description="such as 5m")]
Approvers = Annotated[list[Label], Meta(max_length=100)]
Parameters = Values


Names = Annotated[list[ListedName], Meta(max_length=MOST_NAMES)]


class SuppliedListing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A supplied listing of a target, `age` (`5m`) before the instant of the question; `failure`: it could not list."""

    names: Names = field(default_factory=list)
    age: Period | None = None
    failure: Text = ""


class SuppliedFinding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A supplied finding of a scanner."""

    id: Label
    severity: Literal["low", "medium", "high", "critical"]
    title: Text = ""


Findings = Annotated[list[SuppliedFinding], Meta(max_length=MOST_FINDINGS)]


class SuppliedReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A scanner's latest report of the target, `age` before the instant of the question."""

    findings: Findings = field(default_factory=list)
    age: Period | None = None


class SuppliedFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Supplied facts of the target: listings by source, reports by scanner. A bare list is fresh."""

    listings: Annotated[dict[Label, Names | SuppliedListing], Meta(max_length=64)] = field(default_factory=dict)
    scans: Annotated[dict[Label, Findings | SuppliedReport], Meta(max_length=64)] = field(default_factory=dict)


class EvalRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of `writ policy eval`. `at` is an ISO 8601 instant with its offset; without it, now.

    `emergency`: one is in force whose scope covers the request. `approvals`: the approvers, in order.
    """

    principal: Label
    operation: Label
    target: Label
    id: Label | Whole | None = None
    parameters: Parameters = field(default_factory=dict)
    at: Moment | None = None
    dry_run: bool = False
    emergency: bool = False
    approvals: Approvers = field(default_factory=list)
    facts: SuppliedFacts | None = None


class EvalResult(Struct, frozen=True, kw_only=True):
    """The reply to a line. `decision` is `allow`, `deny`, `require_approval`, or `invalid` for a request which cannot
    be judged.
    """

    id: str | int | None
    decision: str
    rules: list[str]
    reason: str
    effective_parameters: Parameters
    trace: list[TraceEntry]


class PolicyEvalQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the decisions of the policy in force on requests of any principal (`….policy_eval`)."""

    requests: Annotated[list[EvalRequest], Meta(max_length=MAX_REQUESTS)]


class PolicyEvalReply(Struct, frozen=True, kw_only=True):
    """The results, in the order of the requests; each trace has the matching rules and then the first of the rest."""

    results: list[EvalResult] = field(default_factory=list)
    policy: PolicyVersion | None = None
    error: Failure | None = None


class PolicyExplainQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the reason of a decision (`….policy_explain`). `principal`: by default the sender. `at`: by default
    now.

    `emergency`: assume an emergency, or none; None: as it is.
    """

    operation: Label
    target: TargetId
    parameters: Parameters = field(default_factory=dict)
    principal: PrincipalId | None = None
    at: Instant | None = None
    dry_run: bool = False
    emergency: bool | None = None
    approvals: Annotated[list[PrincipalId], Meta(max_length=100)] = field(default_factory=list)


class ApprovalStep(Struct, frozen=True, kw_only=True):
    """`quorum` different people, each with one of these roles; `able` of them could."""

    approvers: list[str]
    quorum: int
    able: list[PrincipalId] = field(default_factory=list)


class ApprovalDemand(Struct, frozen=True, kw_only=True):
    """The required approvals, one step after the other, within `seconds`, each with this proof. `rule` demands them."""

    rule: str
    steps: list[ApprovalStep]
    seconds: int
    proof: Extensible[Proof] = "key"
    attested: bool = False


class NearMiss(Struct, frozen=True, kw_only=True):
    """The rule nearest to allowing it, and the failed clause; `opens_at`: the opening of its window."""

    rule: str
    clause: str
    expected: str = field(name="wanted")
    got: str
    opens_at: float | None = None


class EmergencyDecision(Struct, frozen=True, kw_only=True):
    """The decision if an emergency were in force for the target, where none is."""

    decision: str
    code: str
    reason: str
    rules: list[str]


class Explanation(Struct, frozen=True, kw_only=True):
    """A decision with its basis.

    `parameters` are the effective ones, public fields only; `hidden` names the others. `trace` has each considered
    rule, with its first failed clause and both values. `needs`: listings of the target on which it depends.
    """

    principal: str
    operation: str
    target: str
    at: float
    decision: str
    code: str
    reason: str
    rules: list[str]
    policy: str
    dry_run: bool = False
    parameters: Parameters = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    trace: list[TraceEntry] = field(default_factory=list)
    trace_omitted: int = 0
    nearest: NearMiss | None = None
    approvals: list[ApprovalDemand] = field(default_factory=list)
    could_approve: list[PrincipalId] = field(default_factory=list)
    """The possible next approvers."""
    emergency: str = ""
    """The one in force for the target."""
    limits: list[RuleLimit] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    timeout: int | None = None
    ends_at: float | None = None
    """The time at which a deny ends by the windows of its rules."""
    in_emergency: EmergencyDecision | None = None


class PolicyExplainReply(Struct, frozen=True, kw_only=True):
    """The explanation, or an error (`invalid` kinds: no rule judges it)."""

    explanation: Explanation | None = None
    error: Failure | None = None


class PolicyCanIQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the decision on one's own request (`….policy_can_i`), now."""

    operation: Label
    target: TargetId
    parameters: Parameters = field(default_factory=dict)
    dry_run: bool = False


class PolicyCanIReply(Struct, frozen=True, kw_only=True):
    """`allow`, `deny` or `require_approval`, with the reason."""

    decision: str = "deny"
    code: str = ""
    reason: str = ""
    rules: list[str] = field(default_factory=list)
    waiting: WaitingReason | None = None
    """The agent that the operation would wait for; only where an executor replied."""
    fails: ExpectedFailure | None = None
    """The failure with which the accepted operation would end; only where an executor replied."""
    error: Failure | None = None


class PolicyValidateQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the problems of a document before it is published (`….policy_validate`). `mode`: by default the
    service's own.
    """

    document: Document
    mode: Literal["strict", "permissive"] | None = None


class PolicyProblem(Struct, frozen=True, kw_only=True):
    """One problem of a document: `error` (it can't be used), `lint` (a rule has no effect; mode `strict` refuses it) or
    `warning`. Line and column are from 1; the excerpt is the line with a caret below.
    """

    severity: str
    line: int
    column: int
    message: str
    excerpt: str = ""
    file: str = ""


class PolicyValidateReply(Struct, frozen=True, kw_only=True):
    """The validity of a document, and all its problems, in the order of its lines."""

    valid: bool = False
    name: str = ""
    rules: int = 0
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None


class PolicyTestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request to run a suite of cases (`….policy_test`) on a document, or on the policy in force, with the
    installation's targets and principals; the files the suite names are not read.
    """

    suite: Document
    document: Document | None = None


class FailedCase(Struct, frozen=True, kw_only=True):
    """One combination with another decision than its case expects; `wrong` lists the differences."""

    case: str
    title: str
    line: int
    decision: str
    code: str
    rules: list[str]
    reason: str
    wrong: list[str]
    file: str = ""


class CoveredRule(Struct, frozen=True, kw_only=True):
    """The number of cases a rule decided, and of those in which it was considered and did not match; `lacks`: the
    gap.
    """

    rule: str
    section: str
    line: int
    decided: int
    not_matched: int
    covered: bool
    lacks: str = ""


class PolicyTestReply(Struct, frozen=True, kw_only=True):
    """The number of combinations, the failed ones (the first thousand), and the coverage of the rules.

    `problems`: the suite, or the document, can't be used.
    """

    cases: int = 0
    failed: int = 0
    failures: list[FailedCase] = field(default_factory=list)
    coverage: list[CoveredRule] = field(default_factory=list)
    percent: float = 0.0
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None
