"""The reach of a principal's rules: the targets, operations and rules that the principal may list.

A policy names the kinds of principals for which this is a limit in `list_by_rules`. For them a target out of reach is
treated as absent, in lists and in errors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from msgspec import Struct, structs

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.operations import has_operation
from writ_rules.engine.clauses.case import Case, DecisionRequest
from writ_rules.engine.clauses.conditions import AttributeCondition
from writ_rules.engine.compile import ROLES, Policy, is_behind_gateway
from writ_rules.engine.decisions.weigh import allows
from writ_rules.engine.matching.tree import trees
from writ_rules.engine.rules.rule import Rule

Place = TypeVar("Place", str, tuple[str, str])


def is_limited(policy: Policy, principal: Principal) -> bool:
    """Return whether the principal may list only what its rules reach."""
    return principal.kind in policy.list_by_rules


def about(policy: Policy, principal: Principal) -> Policy:
    """Return the policy with the rules alone whose clauses on principals hold for this one.

    Its decisions on requests of this principal are the same; their traces and reasons name no other rule.
    """
    case = _case(policy, principal, WRIT, 0.0)
    index, inherited, urgent = (
        _about(policy.index, case),
        _about(policy.inherited, case),
        _about(policy.urgent, case),
    )
    ordinary, emergency = _every(index), _every(urgent)
    if len(ordinary) + len(emergency) == policy.rules:
        return policy
    return structs.replace(
        policy,
        index=index,
        inherited=inherited,
        urgent=urgent,
        emergency=emergency,
        allowing={
            operation: tuple(role for role in roles if allows(index.get((operation, role), ())))
            for operation, roles in policy.allowing.items()
        },
        rules=len(ordinary) + len(emergency),
        trees=trees(ordinary, inherited, emergency),
    )


def reach_of(policy: Policy, principal: Principal, at: float) -> "PrincipalReach":
    """Return the reach of the rules of a policy which are about the principal, at an instant (Unix seconds)."""
    candidates: dict[str, list[str]] = {role: [] for role in ROLES}
    for name, verb in policy.verbs.items():
        is_open = not policy.deny_by_default and not verb.operation.control
        for role in ROLES:
            if is_open or allows(policy.index.get((name, role), ())) or allows(policy.urgent.get((name, role), ())):
                candidates[role].append(name)
    return PrincipalReach(policy, principal, at, candidates)


class PrincipalReach(Struct, frozen=True, eq=False):
    """The reach of one principal's rules. `candidates`: the operations which some rule may allow, by role of target."""

    policy: Policy
    principal: Principal
    at: float
    candidates: Mapping[str, Sequence[str]]

    def sees(self, target: Target) -> bool:
        """Return whether the target is Writ itself, or a rule may allow some operation on it."""
        return target.id == WRIT_TARGET or next(self.operations(target), None) is not None

    def operations(self, target: Target) -> Iterator[str]:
        """Yield the operations of the target that some rule, or the default, may allow."""
        rules = _RulesOnTarget(self.policy, target, _case(self.policy, self.principal, target, self.at))
        for name in self.candidates[target.role]:
            if has_operation(target, self.policy.verbs[name].operation) and rules.may_allow(name):
                yield name


class _RulesOnTarget:
    """The rules about one principal, judged by the target and the time alone."""

    def __init__(self, policy: Policy, target: Target, case: Case) -> None:
        self._policy, self._target, self._case = policy, target, case
        self._known: dict[Rule, tuple[bool, bool]] = {}

    def may_allow(self, operation: str) -> bool:
        """Return whether some request for the operation may be allowed: none is certainly denied, and an allow, or
        the default, covers it.
        """
        place = operation, self._target.role
        own, urgent = self._policy.index.get(place, ()), self._policy.urgent.get(place, ())
        gateway = self._policy.inherited.get(operation, ()) if is_behind_gateway(self._target) else ()
        lifting = any(self._may_hold(rule) for rule in allows(urgent))
        denying = (rule for rule in chain(own, gateway) if rule.effect == "deny" and not (lifting and rule.overridable))
        if any(self._holds(rule, operation) for rule in denying):
            return False
        return lifting or any(map(self._may_hold, allows(own))) or self._is_open(operation, chain(own, gateway))

    def _is_open(self, operation: str, rules: Iterable[Rule]) -> bool:
        closed = self._policy.deny_by_default or self._policy.verbs[operation].operation.control
        return not closed and not any(map(self._covers, rules))

    def _covers(self, rule: Rule) -> bool:
        return self._judged(rule)[0]

    def _may_hold(self, rule: Rule) -> bool:
        return all(self._judged(rule))

    def _holds(self, rule: Rule, operation: str) -> bool:
        """Return whether the rule holds for every request: nothing else than the target is a condition of it."""
        conditions = rule.conditions[operation]
        return self._may_hold(rule) and all(isinstance(one, AttributeCondition) for one in conditions)

    def _judged(self, rule: Rule) -> tuple[bool, bool]:
        """Return whether the scope holds, and whether no condition on the target fails. For a deny a condition has to
        hold for certain.
        """
        if (known := self._known.get(rule)) is None:
            conditions = next(iter(rule.conditions.values()), ())
            misses = (one.miss(self._case) for one in conditions if isinstance(one, AttributeCondition))
            covers = all(clause.miss(self._case) is None for clause in rule.scope)
            known = self._known[rule] = covers, covers and not any(misses)
        return known


def _about(rules: Mapping[Place, tuple[Rule, ...]], case: Case) -> dict[Place, tuple[Rule, ...]]:
    return {
        place: some
        for place, listed in rules.items()
        if (some := tuple(rule for rule in listed if all(clause.miss(case) is None for clause in rule.people)))
    }


def _every(index: Mapping[tuple[str, str], tuple[Rule, ...]]) -> tuple[Rule, ...]:
    return tuple(sorted({rule for rules in index.values() for rule in rules}, key=lambda rule: rule.name))


def _case(policy: Policy, principal: Principal, target: Target, at: float) -> Case:
    """Return a request without parameters: the clauses that are judged here do not read them."""
    operation = next(iter(policy.verbs.values())).operation
    request = DecisionRequest(
        operation=operation, target=target, principal=principal, parameters={}, effective={}, at=at
    )
    return Case(request, frozenset())
