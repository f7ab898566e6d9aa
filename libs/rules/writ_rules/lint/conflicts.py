"""Find rules that fill in different defaults for one parameter and can both match: such a request is denied."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import combinations, product

from writ_rules.engine.clauses.checks import UnanswerableCheck, checks
from writ_rules.engine.clauses.conditions import SEVERITIES, TimeCondition
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import ScanEntry, present
from writ_rules.engine.policy_file.times import Occasion
from writ_rules.engine.verbs import Verb
from writ_rules.lint.implication import canonical
from writ_rules.lint.rule_reading import RuleReading, Verbs
from writ_rules.values.domains import domain
from writ_rules.values.instants import instants
from writ_rules.values.samples import candidates, optional

MOST_COMPARED = 20_000


def conflicts(rules: Sequence[RuleReading], verbs: Verbs, most: int = MOST_COMPARED) -> Iterator[LintFinding]:
    """Yield a finding for each rule whose default contradicts an earlier rule's, where both can match one request.

    One more finding says when there are more pairs than are compared.
    """
    reported: set[int] = set()
    compared = 0
    for (operation, name), group in _by_parameter(rules, verbs).items():
        for one, other in combinations(group, 2):
            if (
                canonical(one.constraints[name].default) == canonical(other.constraints[name].default)
                or other.at in reported
            ):
                continue
            compared += 1
            if compared > most:
                text = f"from '{one.name}' on, defaults were not compared with each other: there are too many"
                yield LintFinding(Severity.WARNING, (*one.placed_rule.keys, "parameter_constraints", name), text)
                return
            if _both_match(one, other, verbs[operation], name):
                reported.add(other.at)
                keys = (*other.placed_rule.keys, "parameter_constraints", name, "default")
                text = f"'{one.name}' has another default for {operation}.{name}: what both allow is denied"
                yield LintFinding(Severity.LINT, keys, text)


def _by_parameter(rules: Sequence[RuleReading], verbs: Verbs) -> dict[tuple[str, str], list[RuleReading]]:
    by_parameter: dict[tuple[str, str], list[RuleReading]] = {}
    for rule in rules:
        for name, constraint in rule.constraints.items() if rule.entry.allowed else ():
            for operation in rule.operations if constraint.default is not None else ():
                if name in verbs[operation].types and domain(verbs[operation], name).optional:
                    by_parameter.setdefault((operation, name), []).append(rule)
    return by_parameter


def _both_match(one: RuleReading, other: RuleReading, verb: Verb, name: str) -> bool:
    """Return whether one request can match both rules, as far as is known: without an example the answer is no."""
    return (
        same_people_and_targets(one, other)
        and _same_time(one, other)
        and _same_facts(one, other)
        and all(
            _same_value(one, other, verb, parameter)
            for parameter in {*one.constraints, *other.constraints} & set(verb.types) - {name}
        )
    )


def same_people_and_targets(one: RuleReading, other: RuleReading) -> bool:
    """Return whether one request can be in both scopes, as far as is known."""
    if one.roles.isdisjoint(other.roles) and not (one.inherited or other.inherited):
        return False
    for key in ("users", "principal_kinds"):
        lists = [getattr(rule.entry, key) for rule in (one, other)]
        if None not in lists and set(present(lists[0])).isdisjoint(present(lists[1])):
            return False
    attributes = [getattr(rule.entry, "target_attributes", None) or {} for rule in (one, other)]
    if any(
        canonical(attributes[0][name]) != canonical(attributes[1][name])
        for name in set(attributes[0]) & set(attributes[1])
    ):
        return False
    ids = present(one.entry.targets), present(other.entry.targets)
    either = one.entry.targets is None or other.entry.targets is None
    return either or any(_meet(each, every) for each in ids[0] for every in ids[1])


@lru_cache(maxsize=65_536)
def _meet(one: str, other: str) -> bool:
    """Return whether both globs cover a common id."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _meet(one[1:], other) or _meet(one, other[1:])
    if other[0] == "*":
        return _meet(other, one)
    return (one[0] == other[0] or "?" in (one[0], other[0])) and _meet(one[1:], other[1:])


def _same_facts(one: RuleReading, other: RuleReading) -> bool:
    """Return whether both rules' facts can hold together. One report cannot hold a finding and none; of two different
    evaluators it is unknown whether both ever agree, so they count as exclusive.
    """
    evaluators = [rule.entry.evaluators for rule in (one, other)]
    if all(evaluators) and canonical(evaluators[0]) != canonical(evaluators[1]):
        return False
    scans = present(one.entry.scans), present(other.entry.scans)
    return not any(_exclude(each, every) for each, every in product(*scans))


def _exclude(one: ScanEntry, other: ScanEntry) -> bool:
    present, none = (one, other) if one.present else (other, one)
    if one.scanner != other.scanner or present.present is none.present:
        return False
    return SEVERITIES.index(present.severity) >= SEVERITIES.index(none.severity)


def _same_time(one: RuleReading, other: RuleReading) -> bool:
    since, until = max(one.since, other.since), min(one.until, other.until)
    if since >= until:
        return False
    if not one.windows or not other.windows:
        return True
    both = [TimeCondition(rule.windows, "") for rule in (one, other)]
    around = since if since > float("-inf") else min(until, 0.0)
    return any(
        all(any(window.holds(_local(window, moment)) for window in times.windows) for times in both)
        for moment in instants(both, around)
        if since <= moment < until
    )


def _local(window: Occasion, moment: float) -> datetime:
    return datetime.fromtimestamp(moment, window.zone)


def _same_value(one: RuleReading, other: RuleReading, verb: Verb, name: str) -> bool:
    constraints = [rule.constraints[name] for rule in (one, other) if name in rule.constraints]
    may_miss = optional(verb, name) and domain(verb, name).default is None
    if may_miss and not any(each.needs_value or each.default is not None for each in constraints):
        return True
    listed = [check for each in constraints for check in checks(each, deny=False)]
    for value in candidates(verb, name, listed):
        try:
            if all(check.holds(value) for check in listed):
                return True
        except UnanswerableCheck:
            continue
    return False
