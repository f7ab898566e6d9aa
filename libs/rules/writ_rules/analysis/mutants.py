"""A policy with one thing changed, over and over: a suite of cases that is any good notices each of these.

Every mutant is a whole policy that still loads as a file; whether its decisions differ is for the suite to say.
"""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct, structs

from writ_rules.engine.format import PlacedRule, PolicyFile, RuleEntry, placed

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
"""Keys without which a rule is about more."""


class Mutant(Struct, frozen=True, eq=False, kw_only=True):
    """One change to one rule. `key`: what was taken away, for `widened`; `parameter_constraints.<name>` is one such."""

    rule: str
    change: Change
    key: str
    file: PolicyFile

    def __str__(self) -> str:
        return f"'{self.rule}' {self.change.replace('_', ' ')}" + (f": without {self.key}" if self.key else "")


def mutants(file: PolicyFile, changes: tuple[Change, ...] = CHANGES) -> Iterator[Mutant]:
    """Each enabled rule dropped, turned round, without its approval, and without each key that narrows it."""
    for place in placed(file.policies):
        if place.entry.enabled:
            for change, key, entry in _changed(place):
                if change in changes:
                    yield Mutant(rule=place.entry.name, change=change, key=key, file=replaced(file, place, entry))


def replaced(file: PolicyFile, place: PlacedRule, entry: RuleEntry | None) -> PolicyFile:
    """The same policy with another entry, or none, at a place."""
    at = int(place.keys[-1])

    def within(rules: list[RuleEntry | None] | None) -> list[RuleEntry | None]:
        return [entry if index == at else rule for index, rule in enumerate(rules or ())]

    policy = file.policies
    if place.role is not None:
        sections = dict(policy.role_policies or {})
        sections[place.role] = within(sections[place.role])
        return PolicyFile(policies=structs.replace(policy, role_policies=sections))
    if place.section == "emergency_policies":
        return PolicyFile(policies=structs.replace(policy, emergency_policies=within(policy.emergency_policies)))
    return PolicyFile(policies=structs.replace(policy, global_policies=within(policy.global_policies)))


def _changed(place: PlacedRule) -> Iterator[tuple[Change, str, RuleEntry | None]]:
    entry = place.entry
    yield "dropped", "", None
    yield "flipped", "", structs.replace(entry, allowed=not entry.allowed, requires_approval=None, approval=None)
    if entry.allowed and (entry.requires_approval or entry.approval is not None):
        yield "approval_dropped", "", structs.replace(entry, requires_approval=None, approval=None)
    for key, changes in _widened(place):
        yield "widened", key, structs.replace(entry, **changes)


def _widened(place: PlacedRule) -> Iterator[tuple[str, dict[str, Any]]]:
    plain = {field.name: field.default for field in structs.fields(RuleEntry)}
    for key in NARROWING:
        if getattr(place.entry, key, None):
            yield key, {key: plain[key]}
    if place.role is None and place.entry.target_roles is not None:
        yield "target_roles", {"target_roles": None}
    constraints = place.entry.parameter_constraints or {}
    for name in constraints:
        rest = {other: constraint for other, constraint in constraints.items() if other != name}
        yield f"parameter_constraints.{name}", {"parameter_constraints": rest or None}
