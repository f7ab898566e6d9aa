"""Queries to the policy service for access lists, and for the changes by another policy.

Each result comes with a request as an example. `bounded` names the places with more kinds of request than were tried,
or with unknown ones.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.extensible import Extensible
from writ_contracts.ids import OperationName, PrincipalId, TargetId
from writ_contracts.inventory import Name, Role
from writ_contracts.policy.questions import Document, Instant, Parameters, PolicyProblem, Version
from writ_contracts.requests import Failure

Extent = Literal["always", "sometimes", "never"]


class ExampleRequest(Struct, frozen=True, kw_only=True):
    """One concrete request, in the form of a line of `writ policy eval`. `facts`: assumed facts of the target."""

    principal: str
    operation: str
    target: str
    parameters: dict[str, Any]
    at: str
    emergency: bool = False
    approvals: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class PolicyGrant(Struct, frozen=True, kw_only=True):
    """An allowing rule with its requirements: parameters and other conditions in words, its windows, its approvals.

    `section`: of the file, as in a trace; `emergency_policies` counts in an emergency alone, and
    `role_policies.gateway, inherited` only restricts what other rules allow.
    """

    rule: str
    section: str = ""
    parameters: list[str] = field(default_factory=list)
    windows: str = ""
    other: list[str] = field(default_factory=list)
    approval: str = ""


class PolicyAccess(Struct, frozen=True, kw_only=True):
    """The access of one class of principals to one class of targets. The policy cannot distinguish the members of a
    class.

    `allowed`: with or without an approval; `approval`: how often it needs one; `emergency`: only in an emergency.
    """

    operation: str
    role: str
    targets: list[str]
    principals: list[str]
    allowed: Extensible[Extent]
    approval: Extensible[Extent]
    emergency: bool
    grants: list[PolicyGrant]
    denies: list[str]
    reason: str
    example_allowed: ExampleRequest | None = None
    example_denied: ExampleRequest | None = None


class PolicyAllowedQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for access (`….policy_allowed`) of a principal or a role of principals, to a target or a role of targets,
    by operation; omitted fields do not narrow it. `at`: at this instant; else at any time.
    """

    operations: Annotated[list[OperationName], Meta(min_length=1, max_length=256)] | None = None
    role: Role | None = None
    target: TargetId | None = None
    principal: PrincipalId | None = None
    principal_role: Name | None = None
    at: Instant | None = None


class PolicyAllowedReply(Struct, frozen=True, kw_only=True):
    """Access by operation, targets and principals. `since`: the start of the tried times (Unix seconds); null: one
    instant.
    """

    accesses: list[PolicyAccess] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    since: float | None = None
    error: Failure | None = None


class PolicyWhoCanQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the principals which may do an operation, or with `parameters` exactly this request
    (`….policy_who_can`).
    """

    operation: OperationName
    target: TargetId | None = None
    role: Role | None = None
    parameters: Parameters | None = None
    at: Instant | None = None


class PolicyWhoCanReply(Struct, frozen=True, kw_only=True):
    """Permitted principals, by targets and principals. `since`: the start of the tried times (Unix seconds); null: one
    instant.
    """

    accesses: list[PolicyAccess] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    since: float | None = None
    error: Failure | None = None


class PolicyDiffQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for differing decisions (`….policy_diff`): each side is a published version's number or a whole document;
    without `old`, the policy in force.
    """

    new: Version | Document
    old: Version | Document | None = None


class PolicyChange(Struct, frozen=True, kw_only=True):
    """One kind of change, of one operation on targets of one role for principals of the same roles.

    `example` is decided as `before` by the old policy and as `after` by the new one, by these rules and for these
    reasons. `changed` are the differing rules behind it. `terms`: the terms of an allow, before and after.
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


class PolicyTextChange(Struct, frozen=True, kw_only=True):
    """The changed text of one rule, or of the policy's own keys where `rule` is empty.

    `diff`: a unified diff of YAML with the keys in the order of the format, without its default values.
    """

    rule: str
    diff: str


class PolicyDiffReply(Struct, frozen=True, kw_only=True):
    """All changes, by operation and role; `notes`: other differences; `compared`: the number of
    compared requests, `asked` in messages.

    `since`: the start of the tried times (Unix seconds). `unreached`: differing rules that no compared request is in
    the scope of. `texts`: what the documents say differently; `more_texts`: the number of further ones. `problems`:
    mistakes in an unusable document.
    """

    changes: list[PolicyChange] = field(default_factory=list)
    bounded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = field(default=0, name="asked")
    since: float | None = None
    unreached: list[str] = field(default_factory=list)
    texts: list[PolicyTextChange] = field(default_factory=list)
    more_texts: int = 0
    problems: list[PolicyProblem] = field(default_factory=list)
    error: Failure | None = None
