"""The requests that policies can distinguish: one of each class.

A decision depends only on whether each clause of the rules holds, fails or cannot be judged. For one operation, target
and principal it is therefore enough to try one value, one instant and one state for each combination of these results.
All other requests are decided like one of these.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from math import prod
from typing import Any

from msgspec import UNSET, Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Operation
from writ_rules.analysis import analysis_limits
from writ_rules.analysis.assumed_facts import NOTHING, AssumedFacts, scans, suppositions
from writ_rules.analysis.clause_cases import ANY_TARGET, ANYBODY, case_of, signature
from writ_rules.analysis.parameter_values import ValuesByConditions, constraints, required
from writ_rules.analysis.scope_index import holds, timeless
from writ_rules.engine.clauses.case import Case, DecisionRequest
from writ_rules.engine.clauses.conditions import ScanCondition, TimeCondition
from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.compile import Policy, is_behind_gateway
from writ_rules.engine.facts import Facts
from writ_rules.engine.policy_file.times import Occasion
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb
from writ_rules.values.combinations import spread
from writ_rules.values.instants import MOST_DATED, distinct
from writ_rules.values.repairs import Repairs

MOST_OPTIONS, MOST_KEPT = 1_000, 32
"""The most requests tried for one operation, target and principal. The result says if there are more classes."""


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
    known: ValuesByConditions | None = None,
) -> TriedRequests:
    """Return one request of each kind.

    `at_only`: at this instant and no other; `exactly`: with these parameters; `about`: only requests one of these rules
    may match, or can't judge; `known`: the values found so far.
    """
    rules = [rule for each in relevant_rules for rule in each.all()]
    names = list(dict.fromkeys(clause.name for clause in constraints(rules, verb))) if exactly is None else []
    notes = dict.fromkeys((*analysis_limits.of_evaluators(verb, rules), *analysis_limits.of_scans(verb, rules)))
    by_conditions = known or ValuesByConditions()
    values = {name: by_conditions.values(verb, name, rules, notes, about) for name in verb.types if name in names}
    moments = [at] if at_only else _moments(verb, policies, rules, at, notes, about)
    # One exact request at one instant has the facts of a usual day.
    states = (False, True) if any(each.emergency for each in relevant_rules) and not (at_only and exactly) else (False,)
    assumed = _suppositions(verb, rules, at, notes)
    rest = required(verb, names) if exactly is None else {}
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
        self._values = ValuesByConditions()

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
                verb,
                policies,
                relevant_rules,
                at,
                at_only=at_only,
                exactly=exactly,
                about=about,
                known=self._values,
            )
        return self._known[key]


def _is_about(rule: Rule, case: Case) -> bool:
    return all(clause.miss(case) is None for clause in (*rule.people, *timeless(rule)))


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
