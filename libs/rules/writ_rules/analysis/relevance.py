"""The rules of two policies that could apply to pairs of a target and a principal, found for all pairs at once.

Targets and principals are looked up once each. Only pairs with a rule in both are visited. Pairs whose rules differ
only in their names and scopes have the same form, and are decided alike.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.classes import PrincipalGroup, judged_elsewhere
from writ_rules.analysis.clause_cases import ANY_TARGET, ANYBODY, case_of
from writ_rules.analysis.request_space import RelevantRules, rules_at
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, timeless
from writ_rules.engine.clauses.conditions import AttributeCondition
from writ_rules.engine.compile import Policy, is_behind_gateway
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

_SECTIONS = 3


class TargetScope(Struct, frozen=True, eq=False, kw_only=True):
    """Targets of one role with the rules that could apply to them, for any principal.

    `general`: those rules about all principals, `conditional`: the others. `fitting`: the rules without a condition on
    attributes that fails. `places`: by rule, a bit for each policy and section that has it. `attributes`: by the name
    of a rule, the results of its conditions on attributes.
    """

    targets: list[Target]
    ids: frozenset[str]
    general: frozenset[Rule]
    conditional: frozenset[Rule]
    fitting: Set[Rule]
    places: Mapping[Rule, int]
    attributes: Mapping[str, tuple[Any, ...]]


class Combination(Struct, frozen=True, eq=False, kw_only=True):
    """The rules that could apply to some targets and some principals.

    `form` is what they are apart from names and scopes: rules of one form, taken in the order of their names, decide
    alike. `names`: their names in order.
    """

    scope: TargetScope
    conditional: frozenset[Rule]
    names: tuple[str, ...]
    form: tuple[object, ...]

    def rules(self, policies: Iterable[Policy], operation: str) -> list[RelevantRules]:
        """Return the rules of each policy."""
        covering, target = self.covering, self.scope.targets[0]
        return [rules_at(policy, operation, target).among(covering) for policy in policies]

    @property
    def covering(self) -> frozenset[Rule]:
        return self.scope.general | self.conditional


class Pair(Struct, frozen=True, eq=False, kw_only=True):
    """A class of targets and one of principals, also in groups of the same roles, with their rules."""

    principals: list[Principal]
    groups: list[PrincipalGroup]
    combination: Combination


class RelevanceIndex:
    """The rules about one operation in both policies.

    `forms`: by the name of a rule, a number for its texts in both policies without name and scope.
    """

    def __init__(self, verb: Verb, policies: Sequence[Policy], rules: Sequence[Rule], forms: Mapping[str, int]) -> None:
        self._verb, self._policies, self._forms = verb, policies, forms
        self._targets = ClauseResults(clause for rule in rules for clause in timeless(rule))
        self._people = ClauseResults(clause for rule in rules for clause in rule.people)
        self._on_attributes = {rule: conditions for rule in rules if (conditions := on_attributes(rule, verb))}
        self._attributes = ClauseResults(one for conditions in self._on_attributes.values() for one in conditions)
        self._by_target = CoveringRules(rules, timeless)
        self._general = frozenset(rule for rule in rules if not rule.people)
        self._by_principal = CoveringRules([rule for rule in rules if rule.people], lambda rule: rule.people)
        self._by_attributes = CoveringRules(rules, lambda rule: self._on_attributes.get(rule, ()))
        self._opaque = judged_elsewhere(verb, rules)
        self._open = any(not policy.deny_by_default for policy in policies)
        self._inherited = {rule for policy in policies for rule in policy.inherited.get(verb.operation.name, ())}

    def pairs(
        self,
        targets: Iterable[list[Target]],
        principals: Iterable[tuple[list[Principal], list[PrincipalGroup]]],
        about: Set[Rule] | None,
    ) -> Iterator[Pair]:
        """Yield classes of targets and principals with their rules; `about`: only pairs to which one of these could
        apply.
        """
        people = [(members, groups, self._of_principal(members[0])) for members, groups in principals]
        by_rule: dict[Rule, list[int]] = {}
        for at, (_, _, rules) in enumerate(people):
            for rule in rules if about is None else rules & about:
                by_rule.setdefault(rule, []).append(at)
        for scope in self._scopes(targets):
            general = _names(scope.general, scope)
            known: dict[Set[Rule], Combination] = {}
            for at in _numbers(scope, by_rule, len(people), about):
                members, groups, covering = people[at]
                conditional = scope.conditional & covering
                combination = known.get(conditional)
                if combination is None:
                    combination = known[conditional] = self._combination(scope, general, conditional)
                yield Pair(principals=members, groups=groups, combination=combination)

    def _scopes(self, targets: Iterable[list[Target]]) -> Iterable[TargetScope]:
        """Return the classes of targets; those of one role with the same rules are one."""
        places: dict[tuple[str, bool], dict[Rule, int]] = {}
        found: dict[object, tuple[list[Target], frozenset[Rule], Set[Rule], Mapping[Rule, int], Any]] = {}
        for alike in targets:
            first = alike[0]
            behind = is_behind_gateway(first)
            if (first.role, behind) not in places:
                places[first.role, behind] = self._places(first)
            case = case_of(self._verb, first, ANYBODY)
            results = self._attributes.of(case)
            fitting = self._by_attributes.among(dict.fromkeys(results, True))
            there = self._by_target.among(self._targets.of(case)) & places[first.role, behind].keys()
            rules = frozenset(self._narrowed(there, fitting))
            limited = behind and not self._inherited.isdisjoint(rules)
            key = (first.id if self._opaque else "", first.role, limited, rules, frozenset(results.items()))
            if key in found:
                found[key][0].extend(alike)
            else:
                found[key] = ([*alike], rules, fitting, places[first.role, behind], results)
        return (self._scope(*each) for each in found.values())

    def _scope(
        self,
        targets: list[Target],
        rules: frozenset[Rule],
        fitting: Set[Rule],
        places: Mapping[Rule, int],
        results: Mapping[Any, bool | None],
    ) -> TargetScope:
        attributes: dict[str, tuple[Any, ...]] = {}
        for rule in sorted(rules & self._on_attributes.keys(), key=lambda one: (one.name, places[one])):
            of_rule = (places[rule], *(results.get(one, False) for one in self._on_attributes[rule]))
            attributes[rule.name] = (*attributes.get(rule.name, ()), of_rule)
        return TargetScope(
            targets=targets,
            ids=frozenset(target.id for target in targets),
            general=rules & self._general,
            conditional=rules - self._general,
            fitting=fitting,
            places=places,
            attributes=attributes,
        )

    def _places(self, target: Target) -> dict[Rule, int]:
        places: dict[Rule, int] = {}
        for side, policy in enumerate(self._policies):
            at = rules_at(policy, self._verb.operation.name, target)
            for section, some in enumerate((at.own, at.inherited, at.emergency)):
                for rule in some:
                    places[rule] = places.get(rule, 0) | 1 << (side * _SECTIONS + section)
        return places

    def _combination(self, scope: TargetScope, general: Mapping[str, int], conditional: frozenset[Rule]) -> Combination:
        places = _names(conditional, scope, general)
        names = tuple(sorted(places))
        forms = self._forms
        form: tuple[object, ...] = tuple([forms[name] << 2 * _SECTIONS | places[name] for name in names])
        if scope.attributes:
            form = (form, tuple(scope.attributes.get(name, ()) for name in names))
        return Combination(scope=scope, conditional=conditional, names=names, form=form)

    def _narrowed(self, rules: Set[Rule], fitting: Set[Rule]) -> Set[Rule]:
        """Return the rules without those that decide nothing, since a condition on attributes fails for certain.

        Under an open default, and within a gateway's limits, their scope matters nevertheless.
        """
        return rules if self._open or not self._on_attributes else rules & (fitting | self._inherited)

    def _of_principal(self, principal: Principal) -> frozenset[Rule]:
        """Return the rules about some principals, this one among them, for any target."""
        return frozenset(self._by_principal.among(self._people.of(case_of(self._verb, ANY_TARGET, principal))))


def _names(
    rules: Iterable[Rule], scope: TargetScope, others: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """Return the places of rules by their names, with those of others."""
    places = {**others}
    for rule in rules:
        places[rule.name] = places.get(rule.name, 0) | scope.places[rule]
    return places


def _numbers(
    scope: TargetScope, by_rule: Mapping[Rule, list[int]], many: int, about: Set[Rule] | None
) -> Iterable[int]:
    """Return the numbers of the principals that one of the rules `about` could apply to."""
    if about is None or not about.isdisjoint(scope.general):
        return range(many)
    return sorted({at for rule in scope.conditional & about for at in by_rule.get(rule, ())})


def on_attributes(rule: Rule, verb: Verb) -> list[AttributeCondition]:
    """Return the rule's conditions on attributes of the target."""
    return [one for one in rule.conditions[verb.operation.name] if isinstance(one, AttributeCondition)]
