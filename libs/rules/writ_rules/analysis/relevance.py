"""The rules of two policies that could apply to pairs of a target and a principal, found for all pairs at once.

Targets and principals are looked up once each. Only pairs with a rule in both are visited.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

from msgspec import Struct, structs

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.classes import PrincipalGroup, of_the_same_roles
from writ_rules.analysis.request_space import ANY_TARGET, ANYBODY, RelevantRules, case_of, rules_at
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, timeless
from writ_rules.engine.clauses.conditions import AttributeCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb


class Pair(Struct, frozen=True, eq=False, kw_only=True):
    """A class of targets and one of principals, also in groups of the same kind and roles, with the rules of each
    policy.

    `attributes`: the results of all conditions on attributes of the targets that don't fail. `fitting`: the rules
    without such a condition that fails.
    """

    targets: list[Target]
    principals: list[Principal]
    groups: list[PrincipalGroup]
    rules: list[RelevantRules]
    attributes: frozenset[tuple[Any, bool | None]]
    fitting: Set[Rule]

    def every_rule(self) -> Iterator[Rule]:
        return (rule for each in self.rules for rule in each.all())


class RelevanceIndex:
    """The rules about one operation; each result has one entry for each of the policies."""

    def __init__(self, verb: Verb, policies: Sequence[Policy], rules: Sequence[Rule]) -> None:
        self._verb, self._policies = verb, policies
        self._targets = ClauseResults(clause for rule in rules for clause in timeless(rule))
        self._people = ClauseResults(clause for rule in rules for clause in rule.people)
        self._attributes = ClauseResults(clause for rule in rules for clause in on_attributes(rule, verb))
        self._by_target = CoveringRules(rules, timeless)
        self._by_principal = CoveringRules(rules, lambda rule: rule.people)
        self._by_attributes = CoveringRules(rules, lambda rule: on_attributes(rule, verb))

    def pairs(
        self, targets: Iterable[list[Target]], principals: Iterable[list[Principal]], about: Set[Rule] | None
    ) -> Iterator[Pair]:
        """Yield classes of targets and principals with their rules; `about`: only pairs to which one of these could
        apply.
        """
        people = [(members, of_the_same_roles(members), self._of_principal(members[0])) for members in principals]
        by_rule: dict[Rule, list[int]] = {}
        for at, (_, _, rules) in enumerate(people):
            for rule in rules if about is None else rules & about:
                by_rule.setdefault(rule, []).append(at)
        for alike in targets:
            results = self._attributes.of(case_of(self._verb, alike[0], ANYBODY))
            fitting = self._by_attributes.among(dict.fromkeys(results, True))
            of_target = [self._narrowed(rules, fitting) for rules in self._of_target(alike[0])]
            telling = {rule for each in of_target for rule in each.all() if about is not None and rule in about}
            places = {at for rule in telling for at in by_rule.get(rule, ())}
            for at in range(len(people)) if about is None else sorted(places):
                members, groups, covering = people[at]
                yield Pair(
                    targets=alike,
                    principals=members,
                    groups=groups,
                    rules=[each.among(covering) for each in of_target],
                    attributes=frozenset(results.items()),
                    fitting=fitting,
                )

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
        """Return the rules for any target."""
        return self._by_principal.among(self._people.of(case_of(self._verb, ANY_TARGET, principal)))


def on_attributes(rule: Rule, verb: Verb) -> list[AttributeCondition]:
    """Return the rule's conditions on attributes of the target."""
    return [one for one in rule.conditions[verb.operation.name] if isinstance(one, AttributeCondition)]
