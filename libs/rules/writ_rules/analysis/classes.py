"""Equivalence classes of targets and principals: policies cannot distinguish the members, so one stands for all."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from msgspec import Struct, structs

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis import synthetic
from writ_rules.analysis.clause_cases import ANY_TARGET, ANYBODY, case_of
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, timeless
from writ_rules.engine.clauses.conditions import AttributeCondition, EvaluatorCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.rules.obligations import ADMIN_DEMAND
from writ_rules.engine.rules.rule import NONE, Rule
from writ_rules.engine.verbs import Verb, offered

Member = TypeVar("Member")


def rules_of(policies: Iterable[Policy], operation: str) -> list[Rule]:
    """Return all rules of these policies about an operation, each once."""
    distinct: dict[Rule, None] = {}
    for policy in policies:
        for (name, _), rules in policy.index.items():
            if name == operation:
                distinct |= dict.fromkeys(rules)
        distinct |= dict.fromkeys(policy.inherited.get(operation, ()))
        distinct |= dict.fromkeys(rule for rule in policy.emergency if operation in rule.operations)
    return list(distinct)


def defaults_of(policies: Iterable[Policy], operation: str) -> list[Any]:
    """Return the values rules may fill in for parameters of an operation."""
    return [value for rule in rules_of(policies, operation) for value in rule.defaults.get(operation, NONE).values()]


def target_classes(
    question_space: QuestionSpace, verb: Verb, rules: Sequence[Rule], about: Sequence[Rule] | None = None
) -> list[list[Target]]:
    """Return the classes of the targets with this operation; `about`: only of targets in the scope of one of these
    rules.
    """
    every = question_space.targets
    if every is None:
        every = tuple(synthetic.targets(verb.operation, _from(about, rules)))
    name = verb.operation.name
    attributes = (one for rule in rules for one in rule.conditions[name] if isinstance(one, AttributeCondition))
    distinguishing = ClauseResults([*(clause for rule in rules for clause in timeless(rule)), *attributes])
    covering = None if about is None else CoveringRules(about, timeless)
    opaque = judged_elsewhere(verb, rules)
    judged = (
        (target, distinguishing.of(case_of(verb, target, ANYBODY)))
        for target in every
        if offered(target, verb.operation)
    )
    return _grouped(
        (
            target,
            (target.id if opaque else "", target.role, target.gateway is not None, frozenset(results.items())),
        )
        for target, results in judged
        if covering is None or covering.any_among(results)
    )


def principal_classes(
    question_space: QuestionSpace, verb: Verb, rules: Sequence[Rule], about: Sequence[Rule] | None = None
) -> list[list[Principal]]:
    """Return the classes of all principals; `about`: only of principals in the scope of one of these rules."""
    every = question_space.principals
    if every is None:
        every = tuple(synthetic.principals(_from(about, rules), len(about or ())))
    distinguishing = ClauseResults(clause for rule in rules for clause in rule.people)
    covering = None if about is None else CoveringRules(about, lambda rule: rule.people)
    opaque = judged_elsewhere(verb, rules)
    judged = ((principal, distinguishing.of(case_of(verb, ANY_TARGET, principal))) for principal in every)
    return _grouped(
        (principal, (principal.id if opaque else "", frozenset(results.items())))
        for principal, results in judged
        if covering is None or covering.any_among(results)
    )


def _from(about: Sequence[Rule] | None, rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules, those of `about` first: the number of synthetic targets and principals is limited."""
    return list(dict.fromkeys([*(about or ()), *rules]))


def synthesis_notes(question_space: QuestionSpace, verb: Verb, rules: Sequence[Rule]) -> list[str]:
    """Return notes on the kinds of targets or principals left out of the synthesis."""
    no_files = question_space.targets is None, question_space.principals is None
    notes = synthetic.too_many(verb.operation, rules, of_targets=no_files[0], of_principals=no_files[1])
    return [f"{verb.operation.name}: {note}" for note in notes]


class PrincipalGroup(Struct, frozen=True, eq=False, kw_only=True):
    """Principals with the same roles, of some kinds; `first` is one of them. `approving`: the roles of the person
    behind them, who may not approve their requests; empty if that person approves nothing.
    """

    kinds: frozenset[str]
    roles: tuple[str, ...]
    approving: tuple[tuple[str, ...], ...]
    first: Principal
    ids: frozenset[str]


def of_the_same_roles(
    members: Iterable[Principal], approving: Callable[[Principal], tuple[tuple[str, ...], ...]]
) -> list[PrincipalGroup]:
    """Group principals by their roles, and by those of the person behind them."""
    groups: dict[Any, list[Principal]] = {}
    for member in members:
        groups.setdefault((approving(member), tuple(sorted(member.roles))), []).append(member)
    return [
        PrincipalGroup(
            kinds=frozenset(one.kind for one in some),
            roles=roles,
            approving=behind,
            first=some[0],
            ids=frozenset(one.id for one in some),
        )
        for (behind, roles), some in groups.items()
    ]


def judged_elsewhere(verb: Verb, rules: Iterable[Rule]) -> bool:
    """Return whether an evaluator of a plugin is involved. Its distinctions are unknown, so no two members share a
    class.
    """
    return any(isinstance(one, EvaluatorCondition) for rule in rules for one in rule.conditions[verb.operation.name])


def populated(question_space: QuestionSpace, policies: Iterable[Policy]) -> QuestionSpace:
    """Return the question space, with synthetic approvers where no file lists principals."""
    if question_space.principals is not None:
        return question_space
    demands = {ADMIN_DEMAND, *(rule.demand for policy in policies for rule in every_rule(policy) if rule.demand)}
    steps = {step for demand in demands for step in demand.steps}
    return structs.replace(question_space, principals=tuple(synthetic.approvers(sorted(steps, key=str))))


def every_rule(policy: Policy) -> list[Rule]:
    """Return all rules in force, each once."""
    every = dict.fromkeys(rule for rules in policy.index.values() for rule in rules)
    every |= dict.fromkeys(rule for rules in policy.inherited.values() for rule in rules)
    return [*(every | dict.fromkeys(policy.emergency))]


def _grouped(members: Iterable[tuple[Member, tuple[object, ...]]]) -> list[list[Member]]:
    groups: dict[tuple[object, ...], list[Member]] = {}
    for member, key in members:
        groups.setdefault(key, []).append(member)
    return list(groups.values())
