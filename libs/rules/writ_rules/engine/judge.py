"""The rules of one place of the index against one request: which match, and of the others the first clause that fails.

Which rules are about a principal at all does not change from request to request, so that is kept: a shortlist. In it
the rules that ask the same of a request are a group, which is judged once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from writ_contracts.decisions import TraceEntry
from writ_rules.engine.case import Case
from writ_rules.engine.clauses import Clause, Miss
from writ_rules.engine.conditions import Condition, Parameter, Scan
from writ_rules.engine.obligations import Demand, Limit
from writ_rules.engine.rules import Rule

MOST_SHORTLISTS = 4096
UNASKED = object()
INHERITED = "role_policies.gateway, inherited"
"""The section of a gateway's rules where they bind a target behind it."""
RESTRICTS = "restricts what other rules allow"


class Group(Struct, frozen=True, eq=False, kw_only=True):
    """Rules, sorted by name, that ask the same, and what they say together: they match together or not at all."""

    rules: tuple[Rule, ...]
    section: str
    denies: bool
    emergency: bool
    overridable: bool
    scope: tuple[Clause, ...]
    conditions: tuple[Condition, ...]
    asks_facts: bool
    names: tuple[str, ...]
    demands: frozenset[Demand]
    limits: frozenset[Limit]
    timeout: int | None
    defaults: Mapping[str, Any]
    told: tuple[TraceEntry, ...]
    """What the trace says of them when they match."""


class Judged(Struct, frozen=True, eq=False, gc=False):
    """`miss` None: the rules match. `covers`: their scope does. `depth`: how many clauses held before.

    `needs`: the lists for lack of which they err.
    """

    group: Group
    miss: Miss | None
    covers: bool
    depth: int
    needs: tuple[str, ...] = ()

    @property
    def errs(self) -> bool:
        """None of the clauses fails, and one can't be judged."""
        return self.miss is not None and self.miss.erred

    def entries(self, note: str = "") -> Iterable[TraceEntry]:
        """What the trace says of each rule."""
        if self.miss is None and not note:
            return self.group.told
        section, miss = self.group.section, self.miss
        return [told(rule, section, miss, note) for rule in self.group.rules]

    def sources(self, case: Case) -> Iterator[str]:
        """The facts that they ask for and that were there, with the age of each."""
        for condition in self.group.conditions:
            if isinstance(condition, Scan) and (report := case.facts.scans.get(condition.scanner)):
                yield f"{condition.scanner}'s report, {case.at - report.at:.0f} s old"
            elif isinstance(condition, Parameter) and condition.listed is not None:
                listing = case.facts.listings.get(condition.listed.source)
                if listing is not None:
                    yield f"{listing.source}, {case.at - listing.at:.0f} s old"


class Shortlist(Struct, frozen=True, eq=False):
    """Of some rules, those that are about a principal; of the others what is told, and the nearest that allows."""

    groups: tuple[Group, ...]
    told: tuple[TraceEntry, ...]
    near: Judged | None


class Place(Struct, frozen=True, eq=False):
    """The rules of one place, judged, and those that are not about the principal, as in its shortlist."""

    judged: list[Judged]
    told: tuple[TraceEntry, ...]
    near: Judged | None


NOWHERE = Place([], (), None)


class Shortlists:
    """Of one policy, as they are wanted; a memory, never a decision: they say nothing of parameters or time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Shortlist] = {}

    def of(self, place: tuple[str, str], rules: Sequence[Rule], section: str, case: Case) -> Shortlist:
        """The shortlist of the rules at a place of the index, for the principal of this case."""
        principal = case.request.principal
        key = (place, case.who, principal.kind, *principal.roles)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_SHORTLISTS:
                self._kept.clear()
            found = self._kept[key] = _shortlist(rules, place[0], section, case)
        return found


def _shortlist(rules: Sequence[Rule], operation: str, section: str, case: Case) -> Shortlist:
    about: dict[tuple[object, ...], list[Rule]] = {}
    others = list[Judged]()
    for rule in rules:
        miss = _first_miss(rule.people, case)
        if miss is None:
            about.setdefault(_asks(rule, operation), []).append(rule)
        else:
            others.append(Judged(_group([rule], operation, section), miss, False, 0))
    groups = tuple(_group(alike, operation, section) for alike in about.values())
    return Shortlist(groups, tuple(entry for each in others for entry in each.entries()), nearest(others))


def _asks(rule: Rule, operation: str) -> tuple[object, ...]:
    """What two rules have in common that match together and mean the same kind of thing."""
    return rule.section, rule.effect == "deny", rule.overridable, rule.scope, rule.conditions[operation]


def _group(alike: list[Rule], operation: str, section: str) -> Group:
    rules = tuple(sorted(alike, key=lambda rule: rule.name))
    first, timeouts = rules[0], [rule.timeout for rule in rules if rule.timeout is not None]
    section = section or first.section
    return Group(
        rules=rules,
        section=section,
        denies=first.effect == "deny",
        emergency=first.emergency,
        overridable=first.overridable,
        scope=first.scope,
        conditions=first.conditions[operation],
        asks_facts=first.asks_facts,
        names=tuple(rule.name for rule in rules),
        demands=frozenset(rule.demand for rule in rules if rule.demand is not None),
        limits=frozenset(limit for rule in rules for limit in rule.limits),
        timeout=min(timeouts) if timeouts else None,
        defaults=first.defaults[operation],
        told=tuple(told(rule, section, None) for rule in rules),
    )


def _first_miss(clauses: Sequence[Clause], case: Case) -> Miss | None:
    return next((miss for clause in clauses if (miss := clause.miss(case)) is not None), None)


def judge(group: Group, case: Case) -> Judged:
    """Rules that are about the principal. What fails for certain outweighs what can't be judged."""
    depth = 1
    for clause in group.scope:
        miss = clause.miss(case)
        if miss is not None:
            return Judged(group, miss, False, depth)
        depth += 1
    answers, erred = case.answers, None
    for condition in group.conditions:
        # Groups that ask the same thing share the condition, and its answer for this request.
        miss = answers.get(condition, UNASKED)
        if miss is UNASKED:
            miss = answers[condition] = condition.miss(case)
        if miss is None:
            depth += 1
        elif miss.erred:
            erred = [*(erred or ()), miss]
        else:
            return Judged(group, miss, True, depth)
    if erred is None:
        return Judged(group, None, True, depth)
    return Judged(group, erred[0], True, depth, tuple(sorted({miss.need for miss in erred if miss.need})))


def nearest(judged: Iterable[Judged]) -> Judged | None:
    """Of rules that allow and don't match, those that got furthest."""
    allows = [each for each in judged if not each.group.denies]
    return min(allows, key=lambda each: (not each.covers, -each.depth, each.group.names[0])) if allows else None


def told(rule: Rule, section: str, miss: Miss | None, note: str = "") -> TraceEntry:
    """What the trace says of a rule."""
    if section == INHERITED and rule.effect != "deny":
        note = f"{RESTRICTS}; {note}"[:120] if note else RESTRICTS
    if miss is None:
        return TraceEntry(rule=rule.name, section=section, effect=rule.effect, matched=True, note=note)
    return TraceEntry(
        rule=rule.name,
        section=section,
        effect=rule.effect,
        matched=False,
        clause=miss.clause,
        wanted=miss.wanted,
        got=miss.got,
        erred=miss.erred,
        note=note,
    )
