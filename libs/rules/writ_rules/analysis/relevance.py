"""The rules of two policies that could apply to pairs of a target and a principal, found for all pairs at once.

Targets and principals are looked up once each. Only pairs with a rule in both are visited.
"""

from collections.abc import Iterable, Iterator, Sequence, Set

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.request_space import (
    ANY_TARGET,
    ANYBODY,
    RelevantRules,
    case_of,
    rules_at,
)
from writ_rules.analysis.scope_index import ClauseResults, CoveringRules, timeless
from writ_rules.engine.compile import Policy
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

Pair = tuple[list[Target], list[Principal], list[RelevantRules]]


class RelevanceIndex:
    """The rules about one operation; each result has one entry for each of the policies."""

    def __init__(self, verb: Verb, policies: Sequence[Policy], rules: Sequence[Rule]) -> None:
        self._verb, self._policies = verb, policies
        self._targets = ClauseResults(clause for rule in rules for clause in timeless(rule))
        self._people = ClauseResults(clause for rule in rules for clause in rule.people)
        self._by_target = CoveringRules(rules, timeless)
        self._by_principal = CoveringRules(rules, lambda rule: rule.people)

    def pairs(
        self, targets: Iterable[list[Target]], principals: Iterable[list[Principal]], about: Set[Rule] | None
    ) -> Iterator[Pair]:
        """Yield classes of targets and principals with their rules; `about`: only pairs to which one of these could
        apply.
        """
        people = [(members, self._of_principal(members[0])) for members in principals]
        by_rule: dict[Rule, list[int]] = {}
        for at, (_, rules) in enumerate(people):
            for rule in rules if about is None else rules & about:
                by_rule.setdefault(rule, []).append(at)
        for alike in targets:
            of_target = self._of_target(alike[0])
            telling = {rule for each in of_target for rule in each.all() if about is not None and rule in about}
            places = {at for rule in telling for at in by_rule.get(rule, ())}
            for at in range(len(people)) if about is None else sorted(places):
                members, covering = people[at]
                yield alike, members, [each.among(covering) for each in of_target]

    def _of_target(self, target: Target) -> list[RelevantRules]:
        """Return the rules for any principal."""
        covering = self._by_target.among(self._targets.of(case_of(self._verb, target, ANYBODY)))
        return [rules_at(policy, self._verb.operation.name, target).among(covering) for policy in self._policies]

    def _of_principal(self, principal: Principal) -> set[Rule]:
        """Return the rules for any target."""
        return self._by_principal.among(self._people.of(case_of(self._verb, ANY_TARGET, principal)))
