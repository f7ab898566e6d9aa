"""Judgement of one rule on one request: it matches, or its first failing clause."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, structs

from writ_contracts.decisions import TraceEntry
from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.conditions import ParameterCondition, ScanCondition
from writ_rules.engine.clauses.scopes import Clause, ClauseMiss
from writ_rules.engine.rules.rule import Rule

UNASKED = object()
INHERITED = "role_policies.gateway, inherited"
"""The section of a gateway's rules where they bind a target behind it."""
RESTRICTS = "restricts what other rules allow"


class JudgedRule(Struct, frozen=True, eq=False, gc=False):
    """A judged rule. `miss` None: it matches. `covers`: its scope does. `depth`: the number of clauses which held
    before. `needs`: the missing lists behind an error.
    """

    rule: Rule
    miss: ClauseMiss | None = None
    covers: bool = True
    depth: int = 0
    needs: tuple[str, ...] = ()

    @property
    def errs(self) -> bool:
        """Return whether no clause fails and one can't be judged."""
        return self.miss is not None and self.miss.erred

    @property
    def denies(self) -> bool:
        return self.rule.effect == "deny"

    @property
    def nearness(self) -> tuple[bool, int, str]:
        """Return a sort key: the least of several is the nearest."""
        return not self.covers, -self.depth, self.rule.name


def cached_miss(clause: Clause, case: Case) -> ClauseMiss | None:
    """Return the result of a condition, which many rules share: it is judged once for each request."""
    known: Any = case.answers.get(clause, UNASKED)
    if known is UNASKED:
        known = case.answers[clause] = clause.miss(case)
    miss: ClauseMiss | None = known
    return miss


def judge(rule: Rule, operation: str, case: Case) -> JudgedRule:
    """Judge a rule. A clause certain to fail outweighs one which can't be judged."""
    for clause in rule.people:
        if (miss := clause.miss(case)) is not None:
            return JudgedRule(rule, miss, covers=False, depth=0)
    depth = 1
    for clause in rule.scope:
        if (miss := clause.miss(case)) is not None:
            return JudgedRule(rule, miss, covers=False, depth=depth)
        depth += 1
    erred: tuple[ClauseMiss, ...] = ()
    for condition in rule.conditions[operation]:
        miss = cached_miss(condition, case)
        if miss is None:
            depth += 1
        elif miss.erred:
            erred = (*erred, miss)
        else:
            return JudgedRule(rule, miss, depth=depth)
    return erring(rule, erred, depth) if erred else JudgedRule(rule, depth=depth)


def judge_of_all(rule: Rule, operation: str, case: Case) -> JudgedRule:
    """Judge whether a rule about some names brings its demand and limits to a request that names none, and so is about
    all things.
    """
    judged = judge(structs.replace(rule, conditions=rule.of_all), operation, case)
    return structs.replace(judged, rule=rule)


def erring(rule: Rule, misses: tuple[ClauseMiss, ...], depth: int = 0) -> JudgedRule:
    """Return a rule of which no clause fails, and some can't be judged."""
    needs = tuple(sorted({miss.need for miss in misses if miss.need}))
    return JudgedRule(rule, misses[0], depth=depth, needs=needs)


def overridden_by_emergency(judged: JudgedRule) -> bool:
    """Return whether a matching allow of an emergency cancels this rule's deny, or its error."""
    rule = judged.rule
    if rule.emergency:
        return False
    return rule.overridable if judged.denies else judged.errs


def sources(rule: Rule, operation: str, case: Case) -> Iterator[str]:
    """Yield the facts the rule used, with the age of each."""
    for condition in rule.conditions[operation]:
        if isinstance(condition, ScanCondition) and (report := case.facts.scans.get(condition.scanner)):
            yield f"{condition.scanner}'s report, {case.at - report.at:.0f} s old"
        elif isinstance(condition, ParameterCondition) and condition.listed is not None:
            listing = case.facts.listings.get(condition.listed.source)
            if listing is not None:
                yield f"{listing.source}, {case.at - listing.at:.0f} s old"


def trace_step(judged: JudgedRule, section: str = "", note: str = "") -> TraceEntry:
    """Return the rule's entry of the trace."""
    rule, miss = judged.rule, judged.miss
    if section == INHERITED and rule.effect != "deny":
        note = f"{RESTRICTS}; {note}"[:120] if note else RESTRICTS
    section = section or rule.section
    if miss is None:
        return TraceEntry(rule=rule.name, section=section, effect=rule.effect, matched=True, note=note)
    return TraceEntry(
        rule=rule.name,
        section=section,
        effect=rule.effect,
        matched=False,
        clause=miss.clause,
        expected=miss.expected,
        got=miss.got,
        erred=miss.erred,
        note=note,
    )
