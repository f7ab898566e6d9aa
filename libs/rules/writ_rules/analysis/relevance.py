"""The rules of two policies that could apply to pairs of a target and a principal, found for all pairs at once.

Targets and principals are looked up once each. Only pairs with a rule in both are visited. Pairs whose rules differ
only in their names and scopes have the same form, and are decided alike.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from msgspec import Struct, structs

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.classes import PrincipalGroup, judged_elsewhere
from writ_rules.analysis.request_space import ANY_TARGET, ANYBODY, RelevantRules, case_of, rules_at
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, timeless
from writ_rules.engine.clauses.conditions import AttributeCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

_SECTIONS = 3


class TargetScope(Struct, frozen=True, eq=False, kw_only=True):
    """Targets of one role with the rules of each policy that could apply to them, for any principal.

    `fitting`: the rules without a condition on attributes that fails. `general`: the rules about all principals.
    `places`: by rule, a bit for each policy and section that has it. `attributes`: by the name of a rule, the results
    of its conditions on attributes.
    """

    targets: list[Target]
    ids: frozenset[str]
    rules: list[RelevantRules]
    fitting: Set[Rule]
    general: frozenset[Rule]
    places: Mapping[Rule, int]
    attributes: Mapping[str, tuple[Any, ...]]


class Combination(Struct, frozen=True, eq=False, kw_only=True):
    """The rules that could apply to some targets and some principals.

    `form` is what they are apart from names and scopes: rules of one form, taken in the order of their names, decide
    alike. `names`: their names in order.
    """

    scope: TargetScope
    covering: frozenset[Rule]
    names: tuple[str, ...]
    form: tuple[object, ...]

    def rules(self) -> list[RelevantRules]:
        """Return the rules of each policy."""
        return [each.among(self.covering) for each in self.scope.rules]


class Pair(Struct, frozen=True, eq=False, kw_only=True):
    """A class of targets and one of principals, also in groups of the same roles, with their rules."""

    principals: list[Principal]
    groups: list[PrincipalGroup]
    combination: Combination

    @property
    def targets(self) -> list[Target]:
        return self.combination.scope.targets


class RelevanceIndex:
    """The rules about one operation; each result has one entry for each of the policies.

    `forms`: by the name of a rule, a number for its texts in both policies without name and scope.
    """

    def __init__(self, verb: Verb, policies: Sequence[Policy], rules: Sequence[Rule], forms: Mapping[str, int]) -> None:
        self._verb, self._policies, self._forms = verb, policies, forms
        self._targets = ClauseResults(clause for rule in rules for clause in timeless(rule))
        self._people = ClauseResults(clause for rule in rules for clause in rule.people)
        self._attributes = ClauseResults(clause for rule in rules for clause in on_attributes(rule, verb))
        self._by_target = CoveringRules(rules, timeless)
        self._by_principal = CoveringRules([rule for rule in rules if rule.people], lambda rule: rule.people)
        self._by_attributes = CoveringRules(rules, lambda rule: on_attributes(rule, verb))
        self._opaque = judged_elsewhere(verb, rules)

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
            conditional = scope.places.keys() - scope.general
            known: dict[Set[Rule], Combination] = {}
            for at in _places(scope, conditional, by_rule, len(people), about):
                members, groups, covering = people[at]
                there = conditional & covering
                combination = known.get(key := frozenset(there))
                if combination is None:
                    combination = known[key] = self._combination(scope, key)
                yield Pair(principals=members, groups=groups, combination=combination)

    def _scopes(self, targets: Iterable[list[Target]]) -> list[TargetScope]:
        """Return the classes of targets; those of one role with the same rules are one."""
        found: dict[object, TargetScope] = {}
        for alike in targets:
            results = self._attributes.of(case_of(self._verb, alike[0], ANYBODY))
            fitting = self._by_attributes.among(dict.fromkeys(results, True))
            rules = [self._narrowed(each, fitting) for each in self._of_target(alike[0])]
            key = (
                alike[0].id if self._opaque else "",
                alike[0].role,
                *((each.own, each.inherited, each.emergency) for each in rules),
                frozenset(results.items()),
            )
            before = [] if key not in found else found[key].targets
            found[key] = self._scope([*before, *alike], rules, fitting, results)
        return list(found.values())

    def _scope(
        self, targets: list[Target], rules: list[RelevantRules], fitting: Set[Rule], results: Mapping[Any, bool | None]
    ) -> TargetScope:
        places: dict[Rule, int] = {}
        for side, each in enumerate(rules):
            for section, some in enumerate((each.own, each.inherited, each.emergency)):
                for rule in some:
                    places[rule] = places.get(rule, 0) | 1 << (side * _SECTIONS + section)
        attributes: dict[str, tuple[Any, ...]] = {}
        for rule, place in places.items():
            if conditions := on_attributes(rule, self._verb):
                told = (place, *(results.get(one, False) for one in conditions))
                attributes[rule.name] = (*attributes.get(rule.name, ()), told)
        return TargetScope(
            targets=targets,
            ids=frozenset(target.id for target in targets),
            rules=rules,
            fitting=fitting,
            general=frozenset(rule for rule in places if not rule.people),
            places=places,
            attributes=attributes,
        )

    def _combination(self, scope: TargetScope, conditional: frozenset[Rule]) -> Combination:
        covering = scope.general | conditional
        places: dict[str, int] = {}
        for rule in covering:
            places[rule.name] = places.get(rule.name, 0) | scope.places[rule]
        names = tuple(sorted(places))
        form: tuple[object, ...] = tuple(self._forms[name] << 2 * _SECTIONS | places[name] for name in names)
        if scope.attributes:
            form = (form, tuple(scope.attributes.get(name, ()) for name in names))
        return Combination(scope=scope, covering=covering, names=names, form=form)

    def _of_target(self, target: Target) -> list[RelevantRules]:
        """Return the rules for any principal."""
        covering = self._by_target.among(self._targets.of(case_of(self._verb, target, ANYBODY)))
        return [rules_at(policy, self._verb.operation.name, target).among(covering) for policy in self._policies]

    def _narrowed(self, rules: RelevantRules, fitting: Set[Rule]) -> RelevantRules:
        """Return the rules without those that decide nothing, since a condition on attributes fails for certain.

        Under an open default, and within a gateway's limits, their scope matters nevertheless.
        """
        if any(not policy.deny_by_default for policy in self._policies):
            return rules
        return structs.replace(rules.among(fitting), inherited=rules.inherited)

    def _of_principal(self, principal: Principal) -> set[Rule]:
        """Return the rules about some principals, this one among them, for any target."""
        return self._by_principal.among(self._people.of(case_of(self._verb, ANY_TARGET, principal)))


def _places(
    scope: TargetScope, conditional: Set[Rule], by_rule: Mapping[Rule, list[int]], many: int, about: Set[Rule] | None
) -> Iterable[int]:
    """Return the places of the principals to whom one of the rules `about` could apply."""
    if about is None or not about.isdisjoint(scope.general):
        return range(many)
    return sorted({at for rule in conditional & about for at in by_rule.get(rule, ())})


def on_attributes(rule: Rule, verb: Verb) -> list[AttributeCondition]:
    """Return the rule's conditions on attributes of the target."""
    return [one for one in rule.conditions[verb.operation.name] if isinstance(one, AttributeCondition)]
