"""What one may ask the policy service about who may do what, and about what another policy would change.

Each answer is shown by a request of which it holds. `bounded` says where there are more kinds of request than were
tried, or may be others than are known.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.ids import OperationName, PrincipalId, TargetId
from writ_contracts.inventory import Name, Role
from writ_contracts.policy_questions import Document, Instant, Parameters, PolicyProblem
from writ_contracts.requests import Failure

Extent = Literal["always", "sometimes", "never"]


class ExampleRequest(Struct, frozen=True, kw_only=True):
    """One concrete request, in the form of a line of `writ policy eval`. `facts`: what is supposed of the target."""

    principal: str
    operation: str
    target: str
    parameters: dict[str, Any]
    at: str
    emergency: bool = False
    approvals: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class PolicyGrant(Struct, frozen=True, kw_only=True):
    """A rule that allows, and what it asks: parameters and other conditions in words, its windows, its approvals."""

    rule: str
    parameters: list[str] = field(default_factory=list)
    windows: str = ""
    other: list[str] = field(default_factory=list)
    approval: str = ""


class PolicyAccess(Struct, frozen=True, kw_only=True):
    """What principals that the policy can't tell apart may do to targets that it can't tell apart.

    `allowed`: with no approval or with one; `approval`: how often it needs one; `emergency`: only in an emergency.
    """

    operation: str
    role: str
    targets: list[str]
    principals: list[str]
    allowed: Extent
    approval: Extent
    emergency: bool
    grants: list[PolicyGrant]
    denies: list[str]
    reason: str
    example_allowed: ExampleRequest | None = None
    example_denied: ExampleRequest | None = None


class PolicyAllowedQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask what is allowed (`….policy_allowed`): to a principal or to a role of principals, on a target or on a role of
    targets, by operation; what is left out is not asked. `at`: at that instant; else at any time.
    """

    operations: Annotated[list[OperationName], Meta(min_length=1, max_length=256)] | None = None
    role: Role | None = None
    target: TargetId | None = None
    principal: PrincipalId | None = None
    principal_role: Name | None = None
    at: Instant | None = None


class PolicyAllowedAnswer(Struct, frozen=True, kw_only=True):
    """By operation, targets and principals. `since`: from when on times were looked at (Unix seconds); null: at one."""

    accesses: list[PolicyAccess] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    since: float | None = None
    error: Failure | None = None


class PolicyWhoCanQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask who may do an operation (`….policy_who_can`); with `parameters` (and so a target) exactly this request."""

    operation: OperationName
    target: TargetId | None = None
    role: Role | None = None
    parameters: Parameters | None = None
    at: Instant | None = None


class PolicyWhoCanAnswer(Struct, frozen=True, kw_only=True):
    """Those who may, by targets and principals. `since`: from when on times were looked at (Unix seconds); null: at one
    instant.
    """

    accesses: list[PolicyAccess] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    since: float | None = None
    error: Failure | None = None


class PolicyDiffQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask what would be decided differently (`….policy_diff`): each side is a published version's number or a whole
    document; without `old`, the policy in force.
    """

    new: Annotated[int, Meta(ge=1)] | Document
    old: Annotated[int, Meta(ge=1)] | Document | None = None


class PolicyChange(Struct, frozen=True, kw_only=True):
    """One kind of change, of one operation on targets of one role for principals of the same roles. `example` is
    decided as `before` by the old policy and as `after` by the new one, by these rules and for these reasons. `changed`
    are the rules that differ and bring it about. `terms`: what else an allow comes with, before and after.
    """

    kind: str
    """`newly_allowed`, `newly_allowed_with_approval`, `newly_denied`, `newly_needs_approval`,
    `no_longer_needs_approval`, or `other_terms`: decided alike, with other limits, timeouts, approvals or defaults."""
    operation: str
    role: str
    principal_kinds: list[str]
    principal_roles: list[str]
    targets: list[str]
    principals: list[str]
    before: str
    after: str
    before_rules: list[str]
    after_rules: list[str]
    before_reason: str
    after_reason: str
    example: ExampleRequest
    changed: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)


class PolicyDiffAnswer(Struct, frozen=True, kw_only=True):
    """All changes, by operation and role; `notes`: what else is different; `asked`: how many requests were compared.

    `since`: from when on times were looked at (Unix seconds). `problems`: a document that can't be used, and why.
    """

    changes: list[PolicyChange] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    asked: int = 0
    since: float | None = None
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None
