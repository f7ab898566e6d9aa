"""Targets and principals that policies can't tell apart, put together: one of each class stands for all of it."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from msgspec import structs

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis import synthetic
from writ_rules.analysis.question_space import QuestionSpace, offered
from writ_rules.analysis.space import ANY_TARGET, ANYBODY, case_of, signature
from writ_rules.engine.case import Case
from writ_rules.engine.clauses import InEffect
from writ_rules.engine.compile import Policy
from writ_rules.engine.conditions import Attribute, Evaluated
from writ_rules.engine.obligations import ADMIN_DEMAND
from writ_rules.engine.rules import Rule
from writ_rules.engine.verbs import Verb

Member = TypeVar("Member")


def rules_of(policies: Iterable[Policy], operation: str) -> list[Rule]:
    """All rules of these policies that are about an operation, each once."""
    found: dict[Rule, None] = {}
    for policy in policies:
        for (name, _), rules in policy.index.items():
            if name == operation:
                found |= dict.fromkeys(rules)
        found |= dict.fromkeys(policy.inherited.get(operation, ()))
        found |= dict.fromkeys(rule for rule in policy.emergency if operation in rule.operations)
    return list(found)


def defaults_of(policies: Iterable[Policy], operation: str) -> list[Any]:
    """What rules may fill in for parameters of an operation."""
    return [value for rule in rules_of(policies, operation) for value in rule.defaults[operation].values()]


def target_classes(
    scene: QuestionSpace, verb: Verb, rules: Sequence[Rule], about: Sequence[Rule] | None = None
) -> list[list[Target]]:
    """Of the targets that have the operation; `about`: only those that one of these rules is about."""
    every = synthetic.targets(verb.operation, rules) if scene.targets is None else scene.targets
    name = verb.operation.name
    asked: dict[Any, None] = {}
    for rule in rules:
        asked |= dict.fromkeys(clause for clause in rule.scope if not isinstance(clause, InEffect))
        asked |= dict.fromkeys(clause for clause in rule.conditions[name] if isinstance(clause, Attribute))
    opaque = judged_elsewhere(verb, rules)
    return _grouped(
        (
            target,
            (
                target.id if opaque else "",
                target.role,
                target.gateway is not None,
                *signature(asked, case_of(verb, target, ANYBODY)),
            ),
        )
        for target in every
        if offered(target, verb.operation)
        and (about is None or _is_about([rule.scope for rule in about], case_of(verb, target, ANYBODY)))
    )


def principal_classes(
    scene: QuestionSpace, verb: Verb, rules: Sequence[Rule], about: Sequence[Rule] | None = None
) -> list[list[Principal]]:
    """Of all principals; `about`: only of those that one of these rules is about."""
    every = synthetic.principals(rules) if scene.principals is None else scene.principals
    asked: dict[Any, None] = {}
    for rule in rules:
        asked |= dict.fromkeys(rule.people)
    opaque = judged_elsewhere(verb, rules)
    return _grouped(
        (principal, (principal.id if opaque else "", *signature(asked, case_of(verb, ANY_TARGET, principal))))
        for principal in every
        if about is None or _is_about([rule.people for rule in about], case_of(verb, ANY_TARGET, principal))
    )


def _is_about(scopes: Iterable[Iterable[Any]], case: Case) -> bool:
    """Whether one of these scopes has the case, at whatever time."""
    return any(
        all(clause.miss(case) is None for clause in scope if not isinstance(clause, InEffect)) for scope in scopes
    )


def made_up_too_few(scene: QuestionSpace, verb: Verb, rules: Sequence[Rule]) -> list[str]:
    """What to say where not every kind of target or principal was made up."""
    no_files = scene.targets is None, scene.principals is None
    notes = synthetic.too_many(verb.operation, rules, of_targets=no_files[0], of_principals=no_files[1])
    return [f"{verb.operation.name}: {note}" for note in notes]


def of_the_same_roles(members: Sequence[Principal]) -> list[list[Principal]]:
    """Those of one kind and the same roles together."""
    found: dict[tuple[object, ...], list[Principal]] = {}
    for member in members:
        found.setdefault((member.kind, *sorted(member.roles)), []).append(member)
    return list(found.values())


def judged_elsewhere(verb: Verb, rules: Iterable[Rule]) -> bool:
    """Whether an installed package has a say: what it can tell apart nobody knows, so no two are put together."""
    return any(isinstance(one, Evaluated) for rule in rules for one in rule.conditions[verb.operation.name])


def asks_more(verb: Verb, rules: Iterable[Rule]) -> bool:
    """Whether it matters which target or principal it is, beyond which rules are about them."""
    asked = (one for rule in rules for one in rule.conditions[verb.operation.name])
    return any(isinstance(one, Attribute | Evaluated) for one in asked)


def populated(scene: QuestionSpace, policies: Iterable[Policy]) -> QuestionSpace:
    """The scene, with people to approve where no file says who there is."""
    if scene.principals is not None:
        return scene
    demands = {ADMIN_DEMAND, *(rule.demand for policy in policies for rule in every_rule(policy) if rule.demand)}
    steps = {step for demand in demands for step in demand.steps}
    return structs.replace(scene, principals=tuple(synthetic.approvers(sorted(steps, key=str))))


def every_rule(policy: Policy) -> list[Rule]:
    """All rules in force, each once."""
    found = dict.fromkeys(rule for rules in policy.index.values() for rule in rules)
    found |= dict.fromkeys(rule for rules in policy.inherited.values() for rule in rules)
    return [*(found | dict.fromkeys(policy.emergency))]


def _grouped(members: Iterable[tuple[Member, tuple[object, ...]]]) -> list[list[Member]]:
    found: dict[tuple[object, ...], list[Member]] = {}
    for member, key in members:
        found.setdefault(key, []).append(member)
    return list(found.values())
