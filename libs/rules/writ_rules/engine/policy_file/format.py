"""The policy file, key by key. Every key the format knows is here; any other is a mistake.

A null list item (`- # a comment`) is skipped: lists keep their nulls here and lose them in `present`.
docs/policy.md explains the keys; docs/policy-keys.md is generated from their descriptions here.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from msgspec import Meta, Struct, field

from writ_contracts.inventory import Kind, Role
from writ_contracts.people.credentials import Proof
from writ_documents.shapes import DURATION, EXPECTED
from writ_rules.engine.facts import Severity
from writ_rules.engine.policy_file.other_keys import CONSTRAINTS, LEAVE_OUT, LIMITS, Instead

Item = TypeVar("Item")
_SHOWN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$(?!\n)"
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=_SHOWN)]
"""A name appears in logs and on terminals as it is, so it must not contain characters that move a cursor, end a line or
reverse the text.
"""
GroupName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$")]
Scalar = str | int | float | bool
Length = Annotated[int, Meta(ge=0)]
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS = "1 to 7, or mon to sun; 0 is Sunday too"
Day = Annotated[Annotated[int, Meta(ge=0, le=7)] | DayName, Meta(extra={EXPECTED: f"days_of_week takes {DAYS}"})]
Type = Literal["string", "int", "float", "bool", "list", "dict"]
Values = list[Scalar | None]
Age = int | float | str
Duration = Annotated[str, Meta(extra=DURATION)]
SWITCH = {EXPECTED: "expected true or false; write approvers, quorum and the like below 'approval'"}
Text = Annotated[str, Meta(description="for people")]
Zone = Annotated[str, Meta(description="IANA name of the time zone")]
Days = Annotated[list[Day | None] | None, Meta(description=DAYS)]


class Constraint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requirements on one parameter for the rule to match."""

    OTHER_KEYS: ClassVar[Instead] = CONSTRAINTS

    type: Annotated[Type | None, Meta(description="strict: `true` is no `int`, an `int` is a `float`")] = None
    required: Annotated[bool, Meta(description="does not match if the parameter has no value")] = False
    min: Annotated[int | float | None, Meta(description="numbers, inclusive")] = None
    max: Annotated[int | float | None, Meta(description="numbers, inclusive")] = None
    min_length: Annotated[Length | None, Meta(description="characters or items, inclusive")] = None
    max_length: Annotated[Length | None, Meta(description="characters or items, inclusive")] = None
    pattern: Annotated[str | None, Meta(description="RE2, covers the whole string")] = None
    allowed_values: Annotated[Values | None, Meta(description="one of these single values")] = None
    denied_values: Annotated[Values | None, Meta(description="none of these single values")] = None
    allowed_items: Annotated[Values | None, Meta(description="allow: a list whose items are all among these")] = None
    required_items: Annotated[Values | None, Meta(description="allow: a list that has all of these items")] = None
    default: Annotated[Any, Meta(description="the value if the request has none")] = None
    allowlist_source: Annotated[
        str | None, Meta(description="allowed values: the target's own list of this name, read for this decision")
    ] = None
    max_age: Annotated[
        Age | None, Meta(description="greatest age of that list: seconds, or as `5m`; 60 s by default")
    ] = None
    description: Text = ""

    @property
    def needs_value(self) -> bool:
        """Return true if the constraint is false for a parameter without a value: an absent list restricts nothing."""
        return self.required or (self.allowed_items, self.required_items) != (None, None)


class AttributeConstraint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requirements on an attribute of the target, where a value or a list of values is not enough."""

    OTHER_KEYS: ClassVar[Instead] = LIMITS

    type: Annotated[Literal["string", "int", "float", "bool"] | None, Meta(description="strict")] = None
    min: Annotated[int | float | None, Meta(description="numbers, inclusive")] = None
    max: Annotated[int | float | None, Meta(description="numbers, inclusive")] = None
    min_length: Annotated[Length | None, Meta(description="characters, inclusive")] = None
    max_length: Annotated[Length | None, Meta(description="characters, inclusive")] = None
    pattern: Annotated[str | None, Meta(description="RE2, covers the whole string")] = None
    allowed_values: Annotated[Values | None, Meta(description="one of these")] = None
    denied_values: Annotated[Values | None, Meta(description="none of these")] = None
    description: Text = ""


class WindowEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A window in which the rule holds, by the wall clock of a zone; several windows are alternatives."""

    start_time: Annotated[str, Meta(description="`08:30` or `08:30:15`")] = "00:00"
    end_time: Annotated[
        str, Meta(description="end, exclusive; up to `24:00`; if it is not after the start, on the next day")
    ] = "24:00"
    days_of_week: Days = None
    timezone: Zone = "UTC"
    from_: Annotated[str | None, Meta(description="first day on which it starts")] = field(default=None, name="from")
    until: Annotated[str | None, Meta(description="last day on which it starts")] = None
    description: Text = ""


class MaintenanceWindow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named period, once or repeated."""

    name: Annotated[str, Meta(description="name of the window, if the windows are a list")] = ""
    description: Text = ""
    start_time: Annotated[str, Meta(description="instant; without an offset by the clock of `timezone`")]
    end_time: Annotated[str, Meta(description="instant, outside")]
    recurrence: Annotated[Literal["none", "daily", "weekly", "monthly"] | None, Meta(description="null is `none`")] = (
        None
    )
    days_of_week: Days = None
    day_of_month: (
        Annotated[
            int, Meta(ge=1, le=31, description="with `recurrence: monthly`: the day; by default that of the start")
        ]
        | None
    ) = None
    timezone: Zone = "UTC"


class StepEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of an approval."""

    approvers: Annotated[list[Name | None] | None, Meta(description="roles; none: `approver`")] = None
    quorum: Annotated[int, Meta(ge=1, description="number of different people who must approve")] = 1


class ApprovalEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The approvers of a request."""

    approvers: Annotated[list[Name | None] | None, Meta(description="roles; none: `approver`")] = None
    quorum: Annotated[int, Meta(ge=1, description="number of different people who must approve")] = 1
    steps: Annotated[list[StepEntry | None] | None, Meta(description="one after the other")] = None
    timeout: Annotated[Duration | None, Meta(description="as `30m`; wins over `approval_timeout`")] = None
    proof: Annotated[
        Proof, Meta(description="proof of presence by each approver: a key, a touch, or PIN or biometrics")
    ] = "key"
    attested: Annotated[bool, Meta(description="true: only by credentials whose maker vouches for the device")] = False
    windows: Annotated[
        bool | None, Meta(description="whether an approval window counts; none: for all but risk admin")
    ] = None


class ScanEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requirement on a scanner's latest report of the target."""

    scanner: Annotated[str, Meta(min_length=1, max_length=64, description="as it publishes its reports")]
    severity: Annotated[Severity, Meta(description="counts findings of this severity or worse")] = "low"
    present: Annotated[bool, Meta(description="true: there is such a finding; false: there is none")] = True
    max_age: Annotated[Age, Meta(description="greatest age of the report: seconds, or as `24h`")] = "24h"


class EvaluatorEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition judged by a plugin's evaluator."""

    name: Annotated[Name, Meta(description="of the entry point in `writ.evaluators`")]
    with_: Annotated[dict[str, Any], Meta(description="its options")] = field(default_factory=dict, name="with")


Attributes = dict[str, Scalar | Values | AttributeConstraint]


class RuleEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: its scope (operations, targets, principals, time), its conditions, and its effect."""

    OTHER_KEYS: ClassVar[Instead] = {
        **dict.fromkeys(("target_patterns", "target_pattern", "hosts"), "write 'targets', ids with `*` and `?`"),
        "max_concurrent_operations": "write 'max_concurrent'",
        **dict.fromkeys(("action", "effect"), "write 'allowed: true' or 'allowed: false'"),
        **dict.fromkeys(("roles", "principals"), "write 'users' or 'user_roles', or 'target_roles' for targets"),
        **dict.fromkeys(("id", "version", "created_at", "created_by", "updated_at"), LEAVE_OUT),
    }

    name: Annotated[Name, Meta(description="unique in the file; decisions name it")]
    allowed: Annotated[bool, Meta(description="whether it allows or denies")]
    operations: Annotated[list[Name | None], Meta(description="names of the catalogue, or `group:NAME`")]
    description: Text = ""
    enabled: Annotated[bool, Meta(description="false: the rule has no effect")] = True
    target_roles: Annotated[list[Role | None] | None, Meta(description="scope: roles of targets")] = None
    targets: Annotated[list[Name | None] | None, Meta(description="scope: ids, with `*` and `?`, or `group:NAME`")] = (
        None
    )
    target_tags: Annotated[list[Name | None] | None, Meta(description="scope: any of these tags")] = None
    users: Annotated[list[Name | None] | None, Meta(description="scope: ids of principals")] = None
    user_roles: Annotated[list[Name | None] | None, Meta(description="scope: any of these roles")] = None
    principal_kinds: Annotated[list[Kind | None] | None, Meta(description="scope: kinds of principals")] = None
    effective_from: Annotated[
        str | None, Meta(description="scope: date or instant; before it the rule has no effect")
    ] = None
    expires_at: Annotated[str | None, Meta(description="scope: date or instant; from it on the rule has no effect")] = (
        None
    )
    parameter_constraints: Annotated[
        dict[str, Constraint | None] | None, Meta(description="condition: constraints, by parameter")
    ] = None
    time_restrictions: Annotated[
        list[WindowEntry | None] | None, Meta(description="condition: one of the windows is open")
    ] = None
    maintenance_windows_only: Annotated[
        bool, Meta(description="condition: one of the policy's `maintenance_windows` is open")
    ] = False
    target_attributes: Annotated[
        Attributes | None, Meta(description="condition: a value, a list of values, or a constraint for each")
    ] = None
    scans: Annotated[list[ScanEntry | None] | None, Meta(description="condition: all of them hold")] = None
    evaluators: Annotated[
        list[Name | EvaluatorEntry | None] | None, Meta(description="condition: all of them hold")
    ] = None
    requires_approval: Annotated[bool | None, Meta(description="allow: needs an approval first", extra=SWITCH)] = None
    approval: Annotated[
        ApprovalEntry | None, Meta(description="allow: approvals that are needed, and by which roles")
    ] = None
    approval_timeout: Annotated[int, Meta(ge=1, description="minutes; 60 by default")] | None = None
    operation_timeout: Annotated[int, Meta(ge=1, description="allow: seconds, an upper limit")] | None = None
    max_targets: (
        Annotated[int, Meta(ge=1, description="allow: number of targets on which it may run at once")] | None
    ) = None
    max_concurrent: Annotated[int, Meta(ge=1, description="allow: number of operations at once")] | None = None
    emergency_overridable: Annotated[bool, Meta(description="deny: an allow rule of an emergency overrides it")] = False
    inherit: Annotated[
        bool, Meta(description="under `role_policies.gateway`: binds the targets behind a gateway too")
    ] = True


class EmergenciesEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bounds of every emergency."""

    longest: Annotated[Duration, Meta(description="longest duration from its declaration, as `4h`")] = "8h"
    confirm_within: Annotated[
        Duration, Meta(description="time to confirm it; unless another person does, it lapses")
    ] = "30m"
    proof: Annotated[
        Proof, Meta(description="proof of presence to declare or confirm: a key, a touch, or PIN or biometrics")
    ] = "key"


class ApprovalWindowsEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bounds of every approval window."""

    longest: Annotated[Duration, Meta(description="longest duration from its approval, as `4h`; 7 days at most")] = "8h"
    most_uses: Annotated[int, Meta(ge=1, le=1000, description="most uses of one window")] = 50


class SessionsEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bounds of every session (`writ login`)."""

    longest: Annotated[Duration, Meta(description="longest duration of a session, as `8h`; 7 days at most")] = "12h"
    idle: Annotated[Duration, Meta(description="a session ends after so long without a message, as `30m`")] = "1h"
    most: Annotated[int, Meta(ge=1, le=1000, description="most open sessions of one principal")] = 10


GroupMembers = Annotated[
    dict[GroupName, list[Name | None] | None] | None,
    Meta(description="by name; a rule names one as `group:NAME`, and so may a group"),
]


class GroupsEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names for lists that several rules share."""

    operations: GroupMembers = None
    targets: GroupMembers = None


class PolicyEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy, under the key `policies`."""

    OTHER_KEYS: ClassVar[Instead] = {
        "enabled": "a policy is in force once it is published; set rules apart by their own 'enabled'",
        "rules": "write 'global_policies', or 'role_policies' by role of target",
        "enable_policy_inheritance": "policies don't inherit from one another; leave it out",
        "parent_policies": "policies don't inherit from one another; write their rules here",
        **dict.fromkeys(("id", "updated_at", "validation_errors", "validation_warnings"), LEAVE_OUT),
    }

    version: Annotated[Literal["v1", "v2"], Meta(description="label of the format")] = "v2"
    name: Annotated[Name, Meta(description="decisions name it")] = "unnamed"
    description: Text = ""
    deny_by_default: Annotated[
        bool,
        Meta(description="false: everybody may do what no rule covers, control operations aside"),
    ] = True
    enable_dry_run: Annotated[bool, Meta(description="false: dry runs are refused")] = True
    require_approval_for_admin: Annotated[bool, Meta(description="risk admin needs an approval")] = True
    list_by_rules: Annotated[
        list[Kind | None] | None,
        Meta(description="kinds of principals that list only what their rules cover; by default `agent`"),
    ] = None
    audit_all_operations: Annotated[bool, Meta(description="it has no effect: everything is recorded")] = True
    created_at: Text = ""
    created_by: Text = ""
    effective_from: Annotated[str | None, Meta(description="instant; before it everything is denied")] = None
    expires_at: Annotated[str | None, Meta(description="instant; from it on everything is denied")] = None
    maintenance_windows: Annotated[
        list[MaintenanceWindow | None] | dict[str, MaintenanceWindow | None] | None,
        Meta(description="for `maintenance_windows_only`"),
    ] = None
    groups: Annotated[GroupsEntry | None, Meta(description="lists of operations and targets, for several rules")] = None
    global_policies: Annotated[list[RuleEntry | None] | None, Meta(description="rules for targets of any role")] = None
    role_policies: Annotated[
        dict[Role, list[RuleEntry | None] | None] | None, Meta(description="rules by role of target")
    ] = None
    emergency_policies: Annotated[
        list[RuleEntry | None] | None, Meta(description="rules that apply only during an emergency")
    ] = None
    emergencies: Annotated[EmergenciesEntry | None, Meta(description="bounds of emergencies")] = None
    approval_windows: Annotated[ApprovalWindowsEntry | None, Meta(description="bounds of approval windows")] = None
    sessions: Annotated[SessionsEntry | None, Meta(description="bounds of sessions")] = None


class PolicyDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: everything is under `policies`."""

    OTHER_KEYS: ClassVar[Instead] = {
        "rules": "this is an older format: `writ policy convert FILE` converts it to 'policies:' with "
        "'global_policies' and 'role_policies'"
    }

    policies: PolicyEntry


class PlacedRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule with its section (`global_policies`, `role_policies.<role>`, `emergency_policies`) and its keys in the
    file.
    """

    section: str
    role: Role | None
    keys: tuple[str | int, ...]
    entry: RuleEntry


def present(items: Iterable[Item | None] | None) -> list[Item]:
    """Return the items without nulls."""
    return [item for item in items or () if item is not None]


def written(policy: PolicyEntry) -> list[PlacedRule]:
    """Return all rules of a policy as the file has them, in the order of its sections."""
    placed_rules = _section("global_policies", None, ("policies", "global_policies"), policy.global_policies)
    for role, rules in (policy.role_policies or {}).items():
        placed_rules += _section(f"role_policies.{role}", role, ("policies", "role_policies", role), rules)
    placed_rules += _section("emergency_policies", None, ("policies", "emergency_policies"), policy.emergency_policies)
    return placed_rules


def _section(
    section: str, role: Role | None, keys: tuple[str, ...], rules: list[RuleEntry | None] | None
) -> list[PlacedRule]:
    return [PlacedRule(section, role, (*keys, at), rule) for at, rule in enumerate(rules or ()) if rule is not None]
