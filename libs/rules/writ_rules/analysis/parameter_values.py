"""The values of one parameter that rules can distinguish: one for each combination of results of their conditions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import UNSET, json

from writ_contracts.parameters import defaults
from writ_rules.analysis import analysis_limits
from writ_rules.analysis.clause_cases import ANY_TARGET, ANYBODY, case_of
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules
from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.checks import Check, PatternCheck
from writ_rules.engine.clauses.conditions import ParameterCondition
from writ_rules.engine.matching.index import FEW
from writ_rules.engine.matching.literals import edges
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb
from writ_rules.values.domains import domain
from writ_rules.values.repairs import Repairs
from writ_rules.values.samples import candidates, optional

MOST_KEPT = 256
"""The most sets of conditions whose values are kept."""
Conditions = tuple[ParameterCondition, ...]


class ValuesByConditions:
    """The values that are tried, kept by the content of conditions: many rules have the same limit of a timeout."""

    def __init__(self) -> None:
        self._alike: dict[object, ParameterCondition] = {}
        self._known: dict[object, tuple[list[Any], list[str]]] = {}

    def values(
        self, verb: Verb, name: str, rules: Sequence[Rule], notes: dict[str, None], about: Sequence[Rule] | None
    ) -> list[Any]:
        """Return one value for each combination of results. Left out (UNSET) and null are kinds of their own: defaults
        differ.

        `about`: only values on which one of these rules may match; `notes` on what is not tried are added.
        """
        telling = None if about is None else tuple(dict.fromkeys(self._on(verb, name, [rule]) for rule in about))
        conditions = self._on(verb, name, [*(about or ()), *rules])
        key = (verb, name, conditions, telling)
        if key not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = _distinct(verb, name, conditions, telling)
        found, limits = self._known[key]
        notes |= dict.fromkeys(limits)
        absent: list[Any] = [UNSET] if optional(verb, name) else []
        absent += [None] if domain(verb, name).nullable else []
        return absent + found

    def _on(self, verb: Verb, name: str, rules: Iterable[Rule]) -> Conditions:
        """Return the conditions on the parameter, one of each content."""
        every = (one for one in constraints(rules, verb) if one.name == name)
        return tuple(dict.fromkeys(self._alike.setdefault(_content(one), one) for one in every))


def constraints(rules: Iterable[Rule], verb: Verb) -> list[ParameterCondition]:
    """Return the rules' constraints on parameters. A flag named by none of them keeps its default."""
    conditions = (clause for rule in rules for clause in rule.conditions[verb.operation.name])
    return [clause for clause in conditions if isinstance(clause, ParameterCondition) and not clause.implied]


def required(verb: Verb, named: Sequence[str]) -> dict[str, Any]:
    """Return values for required parameters without a constraint; different ones for two of one type."""
    required: dict[str, Any] = {}
    for name in verb.types:
        if name not in named and not optional(verb, name):
            values = candidates(verb, name, ())
            required[name] = next(
                (value for value in values if value not in required.values()), values[0] if values else None
            )
    return required


def _content(one: ParameterCondition) -> object:
    checks = tuple(map(_content_of, one.checks))
    return one.name, json.encode(one.default), one.required, checks, one.listed


def _content_of(check: Check) -> object:
    """Return the content of a check. Without a dot it makes no difference that the rule of a pattern denies."""
    return check.pattern.text if isinstance(check, PatternCheck) and "." not in check.pattern.text else check


def _distinct(
    verb: Verb, name: str, conditions: Conditions, about: tuple[Conditions, ...] | None
) -> tuple[list[Any], list[str]]:
    """Return the values and the notes on them; `about`: the conditions of each rule, one of which may match."""
    checks = [check for one in conditions for check in one.checks]
    telling = checks if about is None else [check for some in about for one in some for check in one.checks]
    every, is_possible = candidates(verb, name, checks), _possibility(verb, name)
    notes = dict.fromkeys(analysis_limits.of_values(verb, name, telling, every, is_possible))
    may_match = CoveringRules(about or ((),), lambda some: some)
    by_results: dict[frozenset[object], Any] = {}
    tried = list[Any]()
    for value, held in _results(verb, name, conditions, _fitting(every, about)):
        if not may_match.any_among(dict.fromkeys(held, True)):
            continue  # all rules of `about` are certain to fail
        tried.append(value)
        key = frozenset(held.items())
        if key not in by_results and is_possible(value):
            by_results[key] = value
    notes |= dict.fromkeys(analysis_limits.of_pairs(verb, name, telling, checks, filter(is_possible, tried)))
    return list(by_results.values()), list(notes)


def _fitting(values: list[Any], about: tuple[Conditions, ...] | None) -> Iterable[Any]:
    """Return the values without texts that begin, or end, as none of the rules with few patterns requires."""
    patterns = [
        [check for one in some for check in one.checks if isinstance(check, PatternCheck)] for some in about or ()
    ]
    if not patterns or len(patterns) > FEW or not all(patterns):
        return values
    known = [edges(some[0].pattern.text) for some in patterns]
    return (value for value in values if not isinstance(value, str) or any(one.fit(value) for one in known))


def _results(
    verb: Verb, name: str, conditions: Conditions, values: Iterable[Any]
) -> Iterator[tuple[Any, dict[ParameterCondition, bool | None]]]:
    """Yield each value with the results of the conditions that are not certain to fail on it."""
    found, usual = ClauseResults(conditions), defaults(verb.operation.parameters)
    request = case_of(verb, ANY_TARGET, ANYBODY).request
    for value in values:
        case = Case(request, verb.public)
        case.parameters, case.effective = {name: value}, {**usual, name: value}
        yield value, found.of(case)


def _possibility(verb: Verb, name: str) -> Callable[[Any], bool]:
    """Return a function that says whether some valid request has a value; each text is tried once."""
    repairs, rest = Repairs(verb, [name]), required(verb, [name])
    known: dict[str, bool] = {}

    def is_possible(value: Any) -> bool:
        if not isinstance(value, str):
            return repairs.are_possible({**rest, name: value})
        if value not in known:
            known[value] = repairs.are_possible({**rest, name: value})
        return known[value]

    return is_possible
