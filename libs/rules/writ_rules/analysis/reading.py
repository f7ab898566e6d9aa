"""A rule as it is compared with others: who and what it is about as sets of bits, so that two are compared in one step.

A rule that says nothing of, say, roles is about all of them: its bits are all set.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, get_args

from msgspec import Struct

from writ_contracts.inventory import Kind, Role
from writ_rules.analysis.domains import domain, fits
from writ_rules.engine import times
from writ_rules.engine.format import Constraint, PlacedRule, RuleEntry, present
from writ_rules.engine.times import Window
from writ_rules.engine.verbs import Verb

Verbs = Mapping[str, Verb]
ROLES: tuple[str, ...] = get_args(Role)
KINDS: tuple[str, ...] = get_args(Kind)
ALL_ROLES = frozenset(ROLES)
CONDITIONS = ("maintenance_windows_only", "target_attributes", "scans", "evaluators")
"""Conditions besides windows and parameters: for these one rule implies another if it says the same."""


class Reading(Struct, frozen=True, eq=False, kw_only=True):
    """One enabled rule. `sure`: it never errs. `inherited`: it binds targets behind gateways, too."""

    place: PlacedRule
    at: int
    operations: tuple[str, ...]
    roles: frozenset[str]
    since: float
    until: float
    windows: tuple[Window, ...]
    constraints: Mapping[str, Constraint]
    sure: bool
    asks: int
    about: int

    @property
    def entry(self) -> RuleEntry:
        """What the file says."""
        return self.place.entry

    @property
    def name(self) -> str:
        """Its name."""
        return self.place.entry.name

    @property
    def emergency(self) -> bool:
        """Whether it counts in emergencies only."""
        return self.place.section == "emergency_policies"

    @property
    def inherited(self) -> bool:
        """Whether it binds the targets behind a gateway, too."""
        return self.place.role == "gateway" and self.place.entry.inherit


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
        """The bits of these words; all of the key's for None."""
        return self.whole[key] if words is None else sum(1 << self._at[key, word] for word in set(words))


def readings(every: Sequence[PlacedRule], verbs: Verbs) -> list[Reading]:
    """The enabled rules; those that can't be read, since something in them is an error of its own, are left out."""
    enabled = [(at, place) for at, place in enumerate(every) if place.entry.enabled]
    bits = _Bits([place.entry for _, place in enabled], verbs)
    found = []
    for at, place in enabled:
        try:
            found.append(_reading(at, place, verbs, bits))
        except ValueError:
            continue
    return found


def _reading(at: int, place: PlacedRule, verbs: Verbs, bits: _Bits) -> Reading:
    entry = place.entry
    operations = tuple(dict.fromkeys(name for name in present(entry.operations) if name in verbs))
    roles = _roles(place)
    constraints = {name: each or Constraint() for name, each in (entry.parameter_constraints or {}).items()}
    windows = tuple(times.window(each) for each in present(entry.time_restrictions))
    lists = {
        key: None if getattr(entry, key) is None else present(getattr(entry, key))
        for key in ("users", "user_roles", "target_tags", "principal_kinds")
    }
    about = bits.of("operations", operations) | bits.of("roles", roles)
    for key, words in lists.items():
        about |= bits.of(key, words)
    return Reading(
        place=place,
        at=at,
        operations=operations,
        roles=roles,
        since=-inf if entry.effective_from is None else times.instant(entry.effective_from),
        until=inf if entry.expires_at is None else times.instant(entry.expires_at),
        windows=windows,
        constraints=constraints,
        sure=_sure(entry, operations, constraints, verbs),
        asks=_asks(entry, windows),
        about=about,
    )


def _roles(place: PlacedRule) -> frozenset[str]:
    if place.entry.target_roles is not None:
        return frozenset(present(place.entry.target_roles))
    return ALL_ROLES if place.role is None else frozenset({place.role})


def _asks(entry: RuleEntry, windows: Sequence[Window]) -> int:
    """A bit for each kind of clause that the rule has and that only a rule with such a clause can imply."""
    asked: list[Any] = [entry.targets is not None, windows, *(getattr(entry, key, None) for key in CONDITIONS)]
    return sum(1 << at for at, has in enumerate(asked) if has)


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
