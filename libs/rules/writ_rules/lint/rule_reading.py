"""Rules in a form for comparison: their scopes as sets of bits, so that two rules are compared in one step.

If a rule does not name, say, roles, it covers all of them: all their bits are set.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, get_args

from msgspec import Struct

from writ_contracts.inventory import Kind, Role
from writ_documents.document import Keys
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.format import Constraint, PlacedRule, RuleEntry, present
from writ_rules.engine.policy_file.times import Window
from writ_rules.engine.verbs import Verb
from writ_rules.values.domains import domain, fits

Verbs = Mapping[str, Verb]
ROLES: tuple[str, ...] = get_args(Role)
KINDS: tuple[str, ...] = get_args(Kind)
ALL_ROLES = frozenset(ROLES)
CONDITIONS = ("maintenance_windows_only", "target_attributes", "scans", "evaluators")
"""Conditions besides windows and parameters: one rule implies another only if both have equal values for these."""


class RuleReading(Struct, frozen=True, eq=False, kw_only=True):
    """One enabled rule. `sure`: it never errs. `inherited`: it also binds targets behind gateways. `operation_bits`:
    those bits of `about` that are its operations.
    """

    placed_rule: PlacedRule
    at: int
    operations: tuple[str, ...]
    roles: frozenset[str]
    since: float
    until: float
    windows: tuple[Window, ...]
    constraints: Mapping[str, Constraint]
    sure: bool
    conditions: int
    about: int
    operation_bits: int

    @property
    def entry(self) -> RuleEntry:
        """Return the rule as it is in the file."""
        return self.placed_rule.entry

    @property
    def name(self) -> str:
        return self.placed_rule.entry.name

    @property
    def emergency(self) -> bool:
        """Return whether it counts in emergencies only."""
        return self.placed_rule.section == "emergency_policies"

    @property
    def inherited(self) -> bool:
        """Return whether it also binds the targets behind a gateway."""
        return self.placed_rule.role == "gateway" and self.placed_rule.entry.inherit


def place_of(rule: RuleReading, operation: str) -> Keys:
    """Return the place of an operation in the rule's list; that of the list where a group has it."""
    keys: Keys = (*rule.placed_rule.keys, "operations")
    written = rule.entry.operations
    return (*keys, written.index(operation)) if operation in written else keys


class _Bits:
    """A bit for each word of each key."""

    def __init__(self, entries: Iterable[RuleEntry], verbs: Verbs) -> None:
        listed = list(entries)
        self._at: dict[tuple[str, str], int] = {}
        self.whole: dict[str, int] = {}
        fixed: dict[str, Iterable[str]] = {"operations": verbs, "roles": ROLES, "principal_kinds": KINDS}
        for key in ("users", "user_roles", "target_tags"):
            fixed[key] = dict.fromkeys(word for entry in listed for word in present(getattr(entry, key)))
        for key, words in fixed.items():
            for word in words:
                self._at[key, word] = len(self._at)
            # One more bit, for the words that no rule names.
            self._at[key, ""] = len(self._at)
            self.whole[key] = sum(1 << at for (owner, _), at in self._at.items() if owner == key)

    def of(self, key: str, words: Iterable[str] | None) -> int:
        """Return the bits of these words; all of the key's for None."""
        return self.whole[key] if words is None else sum(1 << self._at[key, word] for word in set(words))


def readings(every: Sequence[PlacedRule], verbs: Verbs) -> list[RuleReading]:
    """Return the enabled rules. Rules with errors, which have findings of their own, are left out."""
    enabled = [(at, placed_rule) for at, placed_rule in enumerate(every) if placed_rule.entry.enabled]
    bits = _Bits([placed_rule.entry for _, placed_rule in enabled], verbs)
    result = []
    for at, placed_rule in enabled:
        try:
            result.append(_reading(at, placed_rule, verbs, bits))
        except ValueError:
            continue
    return result


def _reading(at: int, placed_rule: PlacedRule, verbs: Verbs, bits: _Bits) -> RuleReading:
    entry = placed_rule.entry
    operations = tuple(dict.fromkeys(name for name in present(entry.operations) if name in verbs))
    roles = _roles(placed_rule)
    constraints = {name: each or Constraint() for name, each in (entry.parameter_constraints or {}).items()}
    windows = tuple(times.window(each) for each in present(entry.time_restrictions))
    lists = {
        key: None if getattr(entry, key) is None else present(getattr(entry, key))
        for key in ("users", "user_roles", "target_tags", "principal_kinds")
    }
    operation_bits = bits.of("operations", operations)
    about = operation_bits | bits.of("roles", roles)
    for key, words in lists.items():
        about |= bits.of(key, words)
    return RuleReading(
        placed_rule=placed_rule,
        at=at,
        operations=operations,
        roles=roles,
        since=-inf if entry.effective_from is None else times.instant(entry.effective_from),
        until=inf if entry.expires_at is None else times.instant(entry.expires_at),
        windows=windows,
        constraints=constraints,
        sure=_sure(entry, operations, constraints, verbs),
        conditions=_condition_bits(entry, windows),
        about=about,
        operation_bits=operation_bits,
    )


def _roles(placed_rule: PlacedRule) -> frozenset[str]:
    if placed_rule.entry.target_roles is not None:
        return frozenset(present(placed_rule.entry.target_roles))
    return ALL_ROLES if placed_rule.role is None else frozenset({placed_rule.role})


def _condition_bits(entry: RuleEntry, windows: Sequence[Window]) -> int:
    """Return a bit for each kind of clause of the rule: a rule without such a clause can't imply it."""
    conditions: list[Any] = [entry.targets is not None, windows, *(getattr(entry, key, None) for key in CONDITIONS)]
    return sum(1 << at for at, has in enumerate(conditions) if has)


def _sure(entry: RuleEntry, operations: Sequence[str], constraints: Mapping[str, Constraint], verbs: Verbs) -> bool:
    if getattr(entry, "scans", None) or getattr(entry, "evaluators", None):
        return False
    if getattr(entry, "target_attributes", None) and not entry.allowed:
        return False
    return all(
        fits(domain(verbs[operation], name), each)
        for operation in operations
        for name, each in constraints.items()
        if name in verbs[operation].types
    )
