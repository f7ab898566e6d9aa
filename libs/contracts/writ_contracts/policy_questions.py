"""What one may ask the policy service about its policy, and what the commands of `writ policy` answer as JSON.

Questions about oneself are everybody's (`policy_can_i`, `policy_explain`, `policy_allowed` of one's own); all others
are decided as `audit_read` with `query: policy`. Nothing is recorded or done.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.decisions import PolicyVersion, RuleLimit, TraceEntry
from writ_contracts.ids import PrincipalId, TargetId
from writ_contracts.requests import Failure

MAX_DOCUMENT = 1024 * 1024
MAX_REQUESTS = 1000
Document = Annotated[str, Meta(min_length=1, max_length=MAX_DOCUMENT, description="YAML or JSON")]
Instant = Annotated[float, Meta(ge=0, le=253_402_300_799, description="Unix seconds")]
Parameters = dict[str, Any]


class SuppliedListing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a target is told to list, `age` (`5m`) before the instant of the question; `failure`: it could not."""

    names: list[str] = field(default_factory=list)
    age: str | None = None
    failure: str = ""


class SuppliedFinding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that a scanner is told to have found."""

    id: str
    severity: Literal["low", "medium", "high", "critical"]
    title: str = ""


class SuppliedReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A scanner's latest report of the target, `age` before the instant of the question."""

    findings: list[SuppliedFinding] = field(default_factory=list)
    age: str | None = None


class SuppliedFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of the target of a question: listings by source, reports by scanner. A bare list is fresh."""

    listings: dict[str, list[str] | SuppliedListing] = field(default_factory=dict)
    scans: dict[str, list[SuppliedFinding] | SuppliedReport] = field(default_factory=dict)


class EvalRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of `writ policy eval`. `at` is an ISO 8601 instant with its offset; without it, now.

    `emergency`: one is in force whose scope covers the request. `approvals`: who said yes, in order.
    """

    principal: str
    operation: str
    target: str
    id: str | int | None = None
    parameters: Parameters = field(default_factory=dict)
    at: str | None = None
    dry_run: bool = False
    emergency: bool = False
    approvals: list[str] = field(default_factory=list)
    facts: SuppliedFacts | None = None


class EvalResult(Struct, frozen=True, kw_only=True):
    """Its answer. `decision` is `allow`, `deny`, `require_approval`, or `invalid` for what is no question for rules."""

    id: str | int | None
    decision: str
    rules: list[str]
    reason: str
    effective_parameters: Parameters
    trace: list[TraceEntry]


class PolicyEvalQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask what the policy in force says of requests of anybody (`….policy_eval`)."""

    requests: Annotated[list[EvalRequest], Meta(max_length=MAX_REQUESTS)]


class PolicyEvalAnswer(Struct, frozen=True, kw_only=True):
    """The answers, in the order of the requests; of each trace what matched and then the first of the rest."""

    results: list[EvalResult] = field(default_factory=list)
    policy: PolicyVersion | None = None
    error: Failure | None = None


class PolicyExplainQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask why (`….policy_explain`). `principal`: oneself, if none is named. `at`: now, if none is given.

    `emergency`: as if one were, or were not, in force; None: as it is.
    """

    operation: str
    target: TargetId
    parameters: Parameters = field(default_factory=dict)
    principal: PrincipalId | None = None
    at: Instant | None = None
    dry_run: bool = False
    emergency: bool | None = None
    approvals: list[PrincipalId] = field(default_factory=list)


class ApprovalStep(Struct, frozen=True, kw_only=True):
    """`quorum` different people, each with one of these roles; `able` of them could."""

    approvers: list[str]
    quorum: int
    able: list[PrincipalId] = field(default_factory=list)


class ApprovalDemand(Struct, frozen=True, kw_only=True):
    """Who must say yes, one step after the other, within `seconds`. `rule` asks for it."""

    rule: str
    steps: list[ApprovalStep]
    seconds: int


class NearMiss(Struct, frozen=True, kw_only=True):
    """The rule that came nearest to allowing it, and the clause that failed; `opens_at`: when its window does."""

    rule: str
    clause: str
    wanted: str
    got: str
    opens_at: float | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """A decision with all that stands behind it.

    `parameters` are the effective ones, public fields only; `hidden` names the others. `trace` has each rule that was
    considered, with the first clause that failed and both values. `needs`: listings of the target that it turns on.
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
    """Who could give the next yes."""
    emergency: str = ""
    """The one in force for the target."""
    limits: list[RuleLimit] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    timeout: int | None = None


class PolicyExplainAnswer(Struct, frozen=True, kw_only=True):
    """The explanation, or why there is none (`invalid` kinds: it is no question for the rules)."""

    explanation: Explanation | None = None
    error: Failure | None = None


class PolicyCanIQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask whether one may (`….policy_can_i`), now."""

    operation: str
    target: TargetId
    parameters: Parameters = field(default_factory=dict)
    dry_run: bool = False


class PolicyCanIAnswer(Struct, frozen=True, kw_only=True):
    """`allow`, `deny` or `require_approval`, and why."""

    decision: str = "deny"
    code: str = ""
    reason: str = ""
    rules: list[str] = field(default_factory=list)
    error: Failure | None = None


class PolicyValidateQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask whether a document could be published here (`….policy_validate`). `mode`: the service's own, if none."""

    document: Document
    mode: Literal["strict", "permissive"] | None = None


class PolicyProblem(Struct, frozen=True, kw_only=True):
    """One thing to say of a document: `error` (it can't be used), `lint` (a rule can't do what it says; mode `strict`
    refuses it) or `warning`. Line and column are from 1; the excerpt is the line with a caret below.
    """

    severity: str
    line: int
    column: int
    message: str
    excerpt: str = ""
    file: str = ""


class PolicyValidateAnswer(Struct, frozen=True, kw_only=True):
    """Whether it is valid, and all that there is to say of it, in the order of its lines."""

    valid: bool = False
    name: str = ""
    rules: int = 0
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None


class PolicyTestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Run a suite of cases (`….policy_test`) on a document, or on the policy in force, among the targets and principals
    that are here; the files that the suite names are not looked at.
    """

    suite: Document
    document: Document | None = None


class FailedCase(Struct, frozen=True, kw_only=True):
    """One combination that was not decided as its case says; `wrong` tells in what."""

    case: str
    title: str
    line: int
    decision: str
    code: str
    rules: list[str]
    reason: str
    wrong: list[str]
    file: str = ""


class RuleCovered(Struct, frozen=True, kw_only=True):
    """How often a rule decided, and was considered and did not match; `lacks`: what no case shows of it."""

    rule: str
    section: str
    line: int
    decided: int
    not_matched: int
    covered: bool
    lacks: str = ""


class PolicyTestAnswer(Struct, frozen=True, kw_only=True):
    """How many combinations there were, those that failed (the first thousand), and which rules were shown.

    `problems`: the suite, or the document, can't be used.
    """

    cases: int = 0
    failed: int = 0
    failures: list[FailedCase] = field(default_factory=list)
    coverage: list[RuleCovered] = field(default_factory=list)
    percent: float = 0.0
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None
