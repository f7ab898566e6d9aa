"""The policy file, key by key, as people write it. Every key that the format knows is here; any other is a mistake.

A list item that is null (`- # a comment`) is skipped, so lists keep their holes here and lose them in `present`.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, field

from writ_contracts.inventory import Kind, Role

Item = TypeVar("Item")
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Scalar = str | int | float | bool
Count = Annotated[int, Meta(ge=1)]
Length = Annotated[int, Meta(ge=0)]
Day = Annotated[int, Meta(ge=0, le=7)]


class Constraint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one parameter must be for the rule to match; limits are inclusive, `pattern` covers the whole string."""

    type: Literal["string", "int", "float", "bool", "list", "dict"] | None = None
    required: bool = False
    min: int | float | None = None
    max: int | float | None = None
    min_length: Length | None = None
    max_length: Length | None = None
    pattern: str | None = None
    allowed_values: list[Scalar | None] | None = None
    denied_values: list[Scalar | None] | None = None
    default: Any = None
    allowlist_source: str | None = None
    max_age: int | float | str | None = None
    description: str = ""


class WindowEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the rule holds: `end_time` is outside, one before `start_time` is on the next day, 1 is Monday."""

    start_time: str = "00:00"
    end_time: str = "24:00"
    days_of_week: list[Day | None] | None = None
    timezone: str = "UTC"
    from_: str | None = field(default=None, name="from")
    until: str | None = None
    description: str = ""


class MaintenanceWindow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named stretch of time, once or again and again."""

    name: str = ""
    description: str = ""
    start_time: str
    end_time: str
    recurrence: Literal["none", "weekly", "monthly"] | None = None
    days_of_week: list[Day | None] | None = None
    day_of_month: Annotated[int, Meta(ge=1, le=31)] | None = None
    timezone: str = "UTC"


class ApprovalEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who must say yes: `quorum` people of these roles, or `steps` of such, one after the other."""

    approvers: list[Name | None] | None = None
    quorum: Count = 1
    steps: list["ApprovalEntry | None"] | None = None
    timeout: str | None = None


class RuleEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: its scope (operations, targets, people), its conditions (parameters, time), and what it says."""

    name: Name
    allowed: bool
    operations: list[Name | None]
    description: str = ""
    enabled: bool = True
    target_roles: list[Role | None] | None = None
    targets: list[Name | None] | None = None
    target_tags: list[Name | None] | None = None
    users: list[Name | None] | None = None
    user_roles: list[Name | None] | None = None
    principal_kinds: list[Kind | None] | None = None
    parameter_constraints: dict[str, Constraint | None] | None = None
    time_restrictions: list[WindowEntry | None] | None = None
    maintenance_windows_only: bool = False
    requires_approval: bool | None = None
    approval: ApprovalEntry | None = None
    approval_timeout: Annotated[int, Meta(ge=1, description="minutes")] | None = None
    operation_timeout: Annotated[int, Meta(ge=1, description="seconds, an upper limit")] | None = None
    emergency_overridable: bool = False
    max_targets: Count | None = None
    max_concurrent: Count | None = None
    inherit: bool = True
    effective_from: str | None = None
    expires_at: str | None = None


class PolicyEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy."""

    version: Literal["v1", "v2"] = "v2"
    name: Name = "unnamed"
    description: str = ""
    deny_by_default: bool = True
    enable_dry_run: bool = True
    require_approval_for_admin: bool = True
    audit_all_operations: bool = True
    created_at: str = ""
    created_by: str = ""
    effective_from: str | None = None
    expires_at: str | None = None
    maintenance_windows: list[MaintenanceWindow | None] | dict[str, MaintenanceWindow | None] | None = None
    global_policies: list[RuleEntry | None] | None = None
    role_policies: dict[Role, list[RuleEntry | None] | None] | None = None
    emergency_policies: list[RuleEntry | None] | None = None


class PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: everything is under `policies`."""

    policies: PolicyEntry


class Placed(Struct, frozen=True):
    """A rule with its section (`global_policies`, `role_policies.<role>`, `emergency_policies`) and the way to it."""

    section: str
    role: Role | None
    keys: tuple[str | int, ...]
    entry: RuleEntry


def present(items: Iterable[Item | None] | None) -> list[Item]:
    """The items that are there."""
    return [item for item in items or () if item is not None]


def placed(policy: PolicyEntry) -> list[Placed]:
    """All rules of a policy, in the order of the file's sections."""
    found = _section("global_policies", None, ("policies", "global_policies"), policy.global_policies)
    for role, rules in (policy.role_policies or {}).items():
        found += _section(f"role_policies.{role}", role, ("policies", "role_policies", role), rules)
    found += _section("emergency_policies", None, ("policies", "emergency_policies"), policy.emergency_policies)
    return found


def _section(
    section: str, role: Role | None, keys: tuple[str, ...], rules: list[RuleEntry | None] | None
) -> list[Placed]:
    return [Placed(section, role, (*keys, at), rule) for at, rule in enumerate(rules or ()) if rule is not None]
