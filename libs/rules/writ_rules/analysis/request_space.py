"""The requests that policies can distinguish: one of each class.

A decision depends only on whether each clause of the rules holds, fails or cannot be judged. For one operation, target
and principal it is therefore enough to try one value, one instant and one state for each combination of these results.
All other requests are decided like one of these.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from math import prod
from typing import Any

from msgspec import UNSET, Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.operations import Operation
from writ_contracts.parameters import defaults
from writ_documents.readers import NOBODYS_KEY
from writ_rules.analysis import analysis_limits
from writ_rules.analysis.assumed_facts import NOTHING, AssumedFacts, scans, suppositions
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, holds, timeless
from writ_rules.engine.clauses.case import Case, DecisionRequest
from writ_rules.engine.clauses.conditions import ParameterCondition, ScanCondition, TimeCondition
from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.compile import Policy, is_behind_gateway
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.policy_file.times import Occasion
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb
from writ_rules.values.combinations import spread
from writ_rules.values.domains import domain
from writ_rules.values.instants import MOST_DATED, distinct
from writ_rules.values.repairs import Repairs
from writ_rules.values.samples import candidates, optional

MOST_OPTIONS, MOST_KEPT = 1_000, 32
"""The most requests tried for one operation, target and principal. The result says if there are more classes."""
MOST_TEXTS = 500
"""The most texts of one parameter whose results are kept."""
ANYBODY = Principal(id="anybody", kind="human", key=NOBODYS_KEY)
ANY_TARGET = WRIT


class RelevantRules(Struct, frozen=True, eq=False, kw_only=True):
    """The rules of one policy whose scope covers a target and a principal, for any parameters and time."""

    own: tuple[Rule, ...]
    inherited: tuple[Rule, ...]
    emergency: tuple[Rule, ...]

    def all(self) -> tuple[Rule, ...]:
        return (*self.own, *self.inherited, *self.emergency)

    def names(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(rule.name for rule in each) for each in (self.own, self.inherited, self.emergency))

    def among(self, rules: Set[Rule]) -> "RelevantRules":
        """Return those that are among these rules."""
        own, inherited, emergency = (
            tuple(rule for rule in each if rule in rules) for each in (self.own, self.inherited, self.emergency)
        )
        return RelevantRules(own=own, inherited=inherited, emergency=emergency)


class RequestVariant(Struct, frozen=True, eq=False, kw_only=True):
    """The rest of a request besides operation, target and principal."""

    parameters: Mapping[str, Any]
    at: float
    emergency: bool = False
    assumed: AssumedFacts = NOTHING


class TriedRequests(Struct, frozen=True, eq=False, kw_only=True):
    """Kinds of requests, `every` of them or as many as may be tried. `notes`: limits of the result."""

    options: list[RequestVariant]
    every: int
    notes: list[str]


def request(
    operation: Operation, target: Target, principal: Principal, option: RequestVariant
) -> DecisionRequest | None:
    """Return the request; None if the operation's own schema refuses it."""
    try:
        effective = operation.check(option.parameters)
    except Invalid:
        return None
    return DecisionRequest(
        operation=operation,
        target=target,
        principal=principal,
        parameters={name: effective[name] for name in option.parameters if name in effective},
        effective=effective,
        at=option.at,
        emergency=option.emergency,
    )


def rules_at(policy: Policy, operation: str, target: Target) -> RelevantRules:
    """Return the rules for the target's role and its gateway."""
    return RelevantRules(
        own=policy.own(operation, target),
        inherited=policy.inherited.get(operation, ()) if is_behind_gateway(target) else (),
        emergency=policy.urgent.get((operation, target.role), ()),
    )


def relevant(policy: Policy, operation: str, target: Target, principal: Principal) -> RelevantRules:
    """Return the rules which could apply."""
    case = case_of(policy.verbs[operation], target, principal)
    rules = rules_at(policy, operation, target)
    return rules.among({rule for rule in rules.all() if _is_about(rule, case)})


def options(
    verb: Verb,
    policies: Sequence[Policy],
    relevant_rules: Sequence[RelevantRules],
    at: float,
    *,
    at_only: bool = False,
    exactly: Mapping[str, Any] | None = None,
    about: Sequence[Rule] | None = None,
) -> TriedRequests:
    """Return one request of each kind.

    `at_only`: at this instant and no other; `exactly`: with these parameters; `about`: only requests one of these rules
    may match, or can't judge.
    """
    rules = [rule for each in relevant_rules for rule in each.all()]
    names = list(dict.fromkeys(clause.name for clause in _parameters(rules, verb))) if exactly is None else []
    notes = dict.fromkeys((*analysis_limits.of_evaluators(verb, rules), *analysis_limits.of_scans(verb, rules)))
    values = {name: _values(verb, name, rules, notes, about) for name in verb.types if name in names}
    moments = [at] if at_only else _moments(verb, policies, rules, at, notes, about)
    # One exact request at one instant has the facts of a usual day.
    states = (False, True) if any(each.emergency for each in relevant_rules) and not (at_only and exactly) else (False,)
    assumed = _suppositions(verb, rules, at, notes)
    rest = _required(verb, names) if exactly is None else {}
    axes: list[Sequence[Any]] = [*values.values(), moments, states, assumed]
    repairs = Repairs(verb, names)
    made = []
    for picked in spread(axes, MOST_OPTIONS):
        picked_values = dict(zip(values, picked, strict=False))
        parameters = exactly
        if parameters is None:
            parameters = repairs.whole(
                {**rest, **{name: value for name, value in picked_values.items() if value is not UNSET}}
            )
        made.append(RequestVariant(parameters=parameters, at=picked[-3], emergency=picked[-2], assumed=picked[-1]))
    return TriedRequests(options=made, every=prod(len(axis) for axis in axes), notes=list(notes))


class OptionsByRules:
    """The requests of each kind, found once for all targets and principals with the same rules.

    For one analysis: always the same policies, instants and parameters.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], TriedRequests] = {}

    def options(
        self,
        verb: Verb,
        policies: Sequence[Policy],
        relevant_rules: Sequence[RelevantRules],
        at: float,
        *,
        at_only: bool = False,
        exactly: Mapping[str, Any] | None = None,
        about: Sequence[Rule] | None = None,
    ) -> TriedRequests:
        """Return one request of each kind, as the function `options` does."""
        rules = tuple((one.own, one.inherited, one.emergency) for one in relevant_rules)
        key = (verb.operation.name, rules, None if about is None else tuple(about))
        if key not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = options(
                verb, policies, relevant_rules, at, at_only=at_only, exactly=exactly, about=about
            )
        return self._known[key]


def signature(clauses: Iterable[Any], case: Case) -> tuple[object, ...]:
    """Return the result of each clause: two cases of one signature are the same to all of them."""
    return tuple(holds(clause, case) for clause in clauses)


def case_of(
    verb: Verb,
    target: Target,
    principal: Principal,
    parameters: Mapping[str, Any] | None = None,
    at: float = 0.0,
    known: Facts = NO_FACTS,
) -> Case:
    """Return a case with only these parameters, for single clauses; missing ones have the catalogue's default."""
    effective = {**defaults(verb.operation.parameters), **(parameters or {})}
    request = DecisionRequest(
        operation=verb.operation,
        target=target,
        principal=principal,
        parameters=parameters or {},
        effective=effective,
        at=at,
    )
    return Case(request, verb.public, known)


def _is_about(rule: Rule, case: Case) -> bool:
    return all(clause.miss(case) is None for clause in (*rule.people, *timeless(rule)))


def _parameters(rules: Iterable[Rule], verb: Verb) -> list[ParameterCondition]:
    """Return the rules' constraints on parameters. A flag named by none of them keeps its default."""
    conditions = (clause for rule in rules for clause in rule.conditions[verb.operation.name])
    return [clause for clause in conditions if isinstance(clause, ParameterCondition) and not clause.implied]


def _values(
    verb: Verb, name: str, rules: Sequence[Rule], notes: dict[str, None], about: Sequence[Rule] | None
) -> list[Any]:
    """Return one value for each combination of results. Left out (UNSET) and null are kinds of their own: defaults
    differ.
    """
    first = list(about or ())
    conditions = list(dict.fromkeys(one for one in _parameters([*first, *rules], verb) if one.name == name))
    checks = [check for clause in conditions for check in clause.checks]
    by_results: dict[frozenset[object], Any] = {}
    known = _tried_values(verb, name)
    known.repairs = Repairs(verb, [name])
    possible = [value for value in candidates(verb, name, checks) if known.is_possible(value)]
    telling = checks
    if about is not None:
        telling = [check for one in _parameters(about, verb) if one.name == name for check in one.checks]
    notes |= dict.fromkeys(analysis_limits.of_values(verb, name, telling, possible))
    found = ClauseResults(conditions)
    results = [(value, found.of(known.case(value))) for value in possible]
    if about is not None:  # values on which all of these rules are certain to fail tell nothing
        may_match = CoveringRules(about, lambda rule: [one for one in _parameters([rule], verb) if one.name == name])
        results = [(value, held) for value, held in results if may_match.any_among(dict.fromkeys(held, True))]
    notes |= dict.fromkeys(analysis_limits.of_pairs(verb, name, telling, checks, [value for value, _ in results]))
    for value, held in results:
        by_results.setdefault(frozenset(held.items()), value)
    absent: list[Any] = [UNSET] if optional(verb, name) else []
    absent += [None] if domain(verb, name).nullable else []
    return absent + list(by_results.values())


class _TriedValues:
    """The values of one parameter that are tried, each with a case. Many rules have most of them in common, so the
    results for texts are kept.
    """

    def __init__(self, verb: Verb, name: str) -> None:
        self.repairs = Repairs(verb, [name])
        self._verb, self._name = verb, name
        self._rest = _required(verb, [name])
        self._possible: dict[str, bool] = {}
        self._cases: dict[str, Case] = {}

    def is_possible(self, value: Any) -> bool:
        """Return whether some valid request has this value."""
        if not isinstance(value, str):
            return self.repairs.are_possible({**self._rest, self._name: value})
        known = self._possible.get(value)
        if known is None:
            known = self.repairs.are_possible({**self._rest, self._name: value})
            if len(self._possible) < MOST_TEXTS:
                self._possible[value] = known
        return known

    def case(self, value: Any) -> Case:
        """Return a case for conditions on this parameter alone."""
        known = self._cases.get(value) if isinstance(value, str) else None
        if known is None:
            known = case_of(self._verb, ANY_TARGET, ANYBODY, {self._name: value})
            if isinstance(value, str) and len(self._cases) < MOST_TEXTS:
                self._cases[value] = known
        return known


_tried_values = lru_cache(maxsize=8)(_TriedValues)


def _suppositions(verb: Verb, rules: Sequence[Rule], at: float, notes: dict[str, None]) -> list[AssumedFacts]:
    name = verb.operation.name
    sources = list(
        dict.fromkeys(one for rule in rules for one in rule.conditions[name] if isinstance(one, ScanCondition))
    )

    def answers(assumed: AssumedFacts) -> object:
        case = case_of(verb, ANY_TARGET, ANYBODY, at=at, known=Facts({}, scans(assumed, ANY_TARGET.id, at)))
        return signature(sources, case)

    assumptions, every = suppositions(rules, name, answers)
    if len(assumptions) < every:
        notes[f"of {every} states of lists and scans {len(assumptions)} were assumed"] = None
    return assumptions


def _moments(
    verb: Verb,
    policies: Iterable[Policy],
    rules: Iterable[Rule],
    at: float,
    notes: dict[str, None],
    about: Sequence[Rule] | None,
) -> list[float]:
    effects = dict.fromkeys(policy.in_effect for policy in policies)
    windows: dict[tuple[Occasion, ...], None] = {}
    for rule in rules:
        effects |= dict.fromkeys(clause for clause in rule.scope if isinstance(clause, EffectClause))
        conditions = rule.conditions[verb.operation.name]
        windows |= dict.fromkeys(one.windows for one in conditions if isinstance(one, TimeCondition))
    moments, many = distinct(tuple(effects), tuple(windows), at)
    if many > MOST_DATED:
        notes[f"of {many} first and last moments the weeks around {MOST_DATED} were tried"] = None
    if about is None:
        return list(moments)
    timed = [_timed(rule, verb) for rule in about]
    cases = ((moment, case_of(verb, ANY_TARGET, ANYBODY, at=moment)) for moment in moments)
    return [moment for moment, case in cases if any(all(holds(one, case) for one in clauses) for clauses in timed)]


def _timed(rule: Rule, verb: Verb) -> list[Any]:
    """Return the clauses of a rule about the time alone."""
    clauses = (*rule.scope, *rule.conditions[verb.operation.name])
    return [one for one in clauses if isinstance(one, EffectClause | TimeCondition)]


def _required(verb: Verb, named: Sequence[str]) -> dict[str, Any]:
    """Return values for required parameters without a constraint; different ones for two of one type."""
    required: dict[str, Any] = {}
    for name in verb.types:
        if name not in named and not optional(verb, name):
            values = candidates(verb, name, ())
            required[name] = next(
                (value for value in values if value not in required.values()), values[0] if values else None
            )
    return required
