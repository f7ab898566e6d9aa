"""Coverage of a policy's rules by test cases: each rule must have decided one case, and not matched another.

A rule without clauses besides operation and role matches whenever it is considered, so the first is enough for it.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from writ_documents import shapes
from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import Ruling
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.rules.rule import Rule
from writ_rules.setting import PolicySource


class RulePosition(Struct, frozen=True):
    """An enabled rule of a policy file, with its position."""

    rule: str
    section: str
    line: int


class RuleCoverage(RulePosition, frozen=True, kw_only=True):
    """Counts of the cases in which a rule matched and decided, and in which it was considered and did not match.

    `conditional`: the rule has a clause which can fail.
    """

    decided: int
    missed: int
    conditional: bool

    @property
    def covered(self) -> bool:
        """Return true if both were observed, as far as both are possible."""
        return self.decided > 0 and (self.missed > 0 or not self.conditional)

    @property
    def lacks(self) -> str:
        """Return what is missing, in words."""
        if not self.decided:
            return "decides no case"
        return "matches in all cases" if self.conditional and not self.missed else ""


class Coverage(Struct, frozen=True, kw_only=True):
    """Coverage of one policy file by all suites run on it; rules in the order of the file."""

    policy: str
    rules: list[RuleCoverage]

    @property
    def percent(self) -> float:
        """Return the share of covered rules."""
        return 100.0 * sum(rule.covered for rule in self.rules) / len(self.rules) if self.rules else 100.0


class CoverageCounter:
    """Counts over the rulings of one policy."""

    def __init__(self) -> None:
        self._decided: dict[str, int] = {}
        self._missed: dict[str, int] = {}

    def count(self, ruling: Ruling) -> None:
        matched = {entry.rule for entry in ruling.trace if entry.matched}
        for name in matched.intersection(ruling.rules):  # a rule that errs denies, but has not matched
            self._decided[name] = self._decided.get(name, 0) + 1
        for name in {entry.rule for entry in ruling.trace if not entry.matched}:
            self._missed[name] = self._missed.get(name, 0) + 1

    def of(self, source: PolicySource) -> Coverage:
        """Return the coverage of every enabled rule."""
        asking = {rule.name for rule in _rules(source.policy) if _is_conditional(rule)}
        rules = [
            RuleCoverage(
                position.rule,
                position.section,
                position.line,
                decided=self._decided.get(position.rule, 0),
                missed=self._missed.get(position.rule, 0),
                conditional=position.rule in asking,
            )
            for position in rule_places(source)
        ]
        return Coverage(policy=source.document.name, rules=rules)


def rule_places(source: PolicySource) -> list[RulePosition]:
    """Return the enabled rules in the order of the file."""
    entry = shapes.convert(source.document, PolicyDocument).policies
    return [
        RulePosition(item.entry.name, item.section, source.document.position((*item.keys, "name")).line)
        for item in placed(entry)
        if item.entry.enabled
    ]


def _rules(policy: Policy) -> Iterator[Rule]:
    cells: Iterable[Iterable[Rule]] = (*policy.index.values(), *policy.inherited.values(), policy.emergency)
    for position in cells:
        yield from position


def _is_conditional(rule: Rule) -> bool:
    return bool(rule.people or rule.scope or any(rule.conditions.values()))
