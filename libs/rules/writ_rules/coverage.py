"""Which rules of a policy its cases have shown: each must have decided something, and not matched something else.

A rule that asks nothing but operation and role can't be considered and not match, so for it the first is enough.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from writ_documents import shapes
from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import Ruling
from writ_rules.engine.format import PolicyFile, placed
from writ_rules.engine.rules import Rule
from writ_rules.setting import PolicySource


class RulePosition(Struct, frozen=True):
    """An enabled rule of a policy file, and where it stands."""

    rule: str
    section: str
    line: int


class RuleCoverage(RulePosition, frozen=True, kw_only=True):
    """How often a rule matched and was among those that decided, and was considered and did not match.

    `asks`: it can not match.
    """

    decided: int
    missed: int
    asks: bool

    @property
    def covered(self) -> bool:
        """Both were seen, where both can be."""
        return self.decided > 0 and (self.missed > 0 or not self.asks)

    @property
    def lacks(self) -> str:
        """What no case shows, for people."""
        if not self.decided:
            return "decides no case"
        return "matches in all cases" if self.asks and not self.missed else ""


class Coverage(Struct, frozen=True, kw_only=True):
    """Of one policy file, by all suites that were run on it; rules in the order of the file."""

    policy: str
    rules: list[RuleCoverage]

    @property
    def percent(self) -> float:
        """Of the rules, how many are covered."""
        return 100.0 * sum(rule.covered for rule in self.rules) / len(self.rules) if self.rules else 100.0


class Counter:
    """Counts over the rulings of one policy."""

    def __init__(self) -> None:
        self._decided: dict[str, int] = {}
        self._missed: dict[str, int] = {}

    def count(self, ruling: Ruling) -> None:
        """One more."""
        matched = {entry.rule for entry in ruling.trace if entry.matched}
        for name in matched.intersection(ruling.rules):  # a rule that erred denies, and has not been seen to match
            self._decided[name] = self._decided.get(name, 0) + 1
        for name in {entry.rule for entry in ruling.trace if not entry.matched}:
            self._missed[name] = self._missed.get(name, 0) + 1

    def of(self, source: PolicySource) -> Coverage:
        """What was counted, for every enabled rule."""
        asking = {rule.name for rule in _rules(source.policy) if _asks(rule)}
        rules = [
            RuleCoverage(
                place.rule,
                place.section,
                place.line,
                decided=self._decided.get(place.rule, 0),
                missed=self._missed.get(place.rule, 0),
                asks=place.rule in asking,
            )
            for place in rule_places(source)
        ]
        return Coverage(policy=source.document.name, rules=rules)


def rule_places(source: PolicySource) -> list[RulePosition]:
    """The enabled rules in the order of the file."""
    entry = shapes.convert(source.document, PolicyFile).policies
    return [
        RulePosition(item.entry.name, item.section, source.document.place((*item.keys, "name")).line)
        for item in placed(entry)
        if item.entry.enabled
    ]


def _rules(policy: Policy) -> Iterator[Rule]:
    places: Iterable[Iterable[Rule]] = (*policy.index.values(), *policy.inherited.values(), policy.emergency)
    for place in places:
        yield from place


def _asks(rule: Rule) -> bool:
    return bool(rule.people or rule.scope or any(rule.conditions.values()))
