"""Mutants of a policy, each with one change. A good test suite detects every one.

Every mutant is a whole policy that still loads as a file. A suite detects it if a case gets another decision.
"""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct, structs

from writ_rules.engine.policy_file.format import PlacedRule, PolicyDocument, RuleEntry
from writ_rules.engine.policy_file.groups import placed

Change = Literal["dropped", "flipped", "approval_dropped", "widened"]
CHANGES: tuple[Change, ...] = ("dropped", "flipped", "approval_dropped", "widened")
NARROWING = (
    "targets",
    "target_tags",
    "target_attributes",
    "users",
    "user_roles",
    "principal_kinds",
    "time_restrictions",
    "maintenance_windows_only",
    "scans",
    "evaluators",
    "effective_from",
    "expires_at",
)
"""Keys that narrow a rule: without one of them it covers more."""


class Mutant(Struct, frozen=True, eq=False, kw_only=True):
    """One change to one rule. `key`: the removed key, for `widened`; `parameter_constraints.<name>` is one such."""

    rule: str
    change: Change
    key: str
    file: PolicyDocument

    def __str__(self) -> str:
        return f"'{self.rule}' {self.change.replace('_', ' ')}" + (f": without {self.key}" if self.key else "")


def mutants(file: PolicyDocument, changes: tuple[Change, ...] = CHANGES) -> Iterator[Mutant]:
    """Yield each enabled rule removed, inverted, without its approval, and without each narrowing key."""
    for placed_rule in placed(file.policies):
        if placed_rule.entry.enabled:
            for change, key, entry in _changed(placed_rule):
                if change in changes:
                    yield Mutant(
                        rule=placed_rule.entry.name, change=change, key=key, file=replaced(file, placed_rule, entry)
                    )


def replaced(file: PolicyDocument, placed_rule: PlacedRule, entry: RuleEntry | None) -> PolicyDocument:
    """Return the policy with another entry, or none, in place of a rule."""
    at = int(placed_rule.keys[-1])

    def within(rules: list[RuleEntry | None] | None) -> list[RuleEntry | None]:
        return [entry if index == at else rule for index, rule in enumerate(rules or ())]

    policy = file.policies
    if placed_rule.role is not None:
        sections = dict(policy.role_policies or {})
        sections[placed_rule.role] = within(sections[placed_rule.role])
        return PolicyDocument(policies=structs.replace(policy, role_policies=sections))
    if placed_rule.section == "emergency_policies":
        return PolicyDocument(policies=structs.replace(policy, emergency_policies=within(policy.emergency_policies)))
    return PolicyDocument(policies=structs.replace(policy, global_policies=within(policy.global_policies)))


def _changed(placed_rule: PlacedRule) -> Iterator[tuple[Change, str, RuleEntry | None]]:
    entry = placed_rule.entry
    yield "dropped", "", None
    yield "flipped", "", _flipped(entry)
    if entry.allowed and (entry.requires_approval or entry.approval is not None):
        yield "approval_dropped", "", structs.replace(entry, requires_approval=None, approval=None)
    for key, changes in _widened(placed_rule):
        yield "widened", key, structs.replace(entry, **changes)


def _flipped(entry: RuleEntry) -> RuleEntry:
    """Turn an allow rule into a deny or back, without the checks of lists, which a deny rule cannot have."""
    constraints = {
        name: constraint and structs.replace(constraint, allowed_items=None, required_items=None)
        for name, constraint in (entry.parameter_constraints or {}).items()
    }
    return structs.replace(
        entry,
        allowed=not entry.allowed,
        requires_approval=None,
        approval=None,
        parameter_constraints=constraints or None,
    )


def _widened(placed_rule: PlacedRule) -> Iterator[tuple[str, dict[str, Any]]]:
    plain = {field.name: field.default for field in structs.fields(RuleEntry)}
    for key in NARROWING:
        if getattr(placed_rule.entry, key, None):
            yield key, {key: plain[key]}
    if placed_rule.role is None and placed_rule.entry.target_roles is not None:
        yield "target_roles", {"target_roles": None}
    constraints = placed_rule.entry.parameter_constraints or {}
    for name in constraints:
        rest = {other: constraint for other, constraint in constraints.items() if other != name}
        yield f"parameter_constraints.{name}", {"parameter_constraints": rest or None}
