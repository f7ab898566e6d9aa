"""Terms of an allow besides its effect: limits, timeouts, approvals, defaults; and the differences between two
allows.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from writ_rules.engine.clauses.case import ABSENT, SECRET, show
from writ_rules.engine.decide import Ruling
from writ_rules.engine.rules.obligations import Demand
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

Rules = Mapping[str, Rule]


class DifferingTerm(Struct, frozen=True):
    """One difference; `rule`: the name of the rule whose limit or approval it is, or its place
    among names; "" for terms of all rules together."""

    what: str
    rule: str | int
    before: str
    after: str

    @property
    def text(self) -> str:
        """Return the difference for people."""
        whose = f" '{self.rule}'" if self.rule else ""
        return f"{self.what}{whose}: {self.before} → {self.after}"


def terms(verb: Verb, rules: tuple[Rules, Rules], before: Ruling, after: Ruling) -> Iterator[DifferingTerm]:
    """Yield each difference between two allowing rulings. `rules`: of each policy."""
    one, other = (_terms(verb, *pair) for pair in zip(rules, (before, after), strict=True))
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield DifferingTerm(*key, one.get(key, "none"), other.get(key, "none"))
    for name in verb.types:
        values = before.effective.get(name), after.effective.get(name)
        if values[0] != values[1]:
            shown = [ABSENT if value is None else show(value) if name in verb.public else SECRET for value in values]
            yield DifferingTerm(f"default of {name}", "", *shown)


def _terms(verb: Verb, rules: Rules, ruling: Ruling) -> dict[tuple[str, str], str]:
    texts = {(f"{limit.kind} of", limit.rule): str(limit.most) for limit in ruling.limits}
    texts |= {("approval for", demand.rule): _demand(verb, demand) for demand in ruling.demands}
    timeouts = [seconds for name in ruling.rules if (seconds := rules[name].timeout) is not None]
    return texts | ({("operation_timeout", ""): f"{min(timeouts)} s"} if timeouts else {})


def _demand(verb: Verb, demand: Demand) -> str:
    """Return the demand in words, with what it says about approval windows where that is not the default."""
    accepts = demand.accepts_windows(verb.operation.risk)
    if accepts == structs.replace(demand, windows=None).accepts_windows(verb.operation.risk):
        return demand.text
    return f"{demand.text}, approval windows {'count' if accepts else 'do not count'}"
