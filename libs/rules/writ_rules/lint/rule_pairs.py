"""Rules without an effect of their own because of other rules, in Cedar's terms.

shadowed: an allow whose requests another allow matches, with demands no weaker · redundant: a deny whose requests
another deny matches, or a rule repeating another one · overridden: an allow all of whose requests a deny matches ·
partly overridden: the same for one of several operations.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import structs

from writ_contracts.bounds import first_names
from writ_contracts.people.credentials import KEY
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import RuleEntry, present
from writ_rules.engine.policy_file.times import duration
from writ_rules.engine.rules.obligations import APPROVAL_MINUTES, APPROVER
from writ_rules.engine.rules.rule import presence_of
from writ_rules.lint.implication import canonical, follows_by_bits, implied
from writ_rules.lint.rule_reading import RuleReading, Verbs, place_of
from writ_rules.values.domains import NUMBERS, domain

MOST_COMPARED = 4_000_000
"""The most pairs of rules compared when a policy is loaded. A pair that needs a close comparison counts as forty."""
_CLOSELY = 40
GATEWAY = frozenset({"gateway"})
WORDS = ("users", "user_roles", "target_tags")
"""Keys of which a rule may name any words."""


def covered(rules: Sequence[RuleReading], verbs: Verbs, most: int = MOST_COMPARED) -> list[LintFinding]:
    """Return a finding for each rule without an effect of its own, and one if there are too many pairs to compare."""
    index, by_words = _index(rules), [_RulesByWord(rules, key) for key in WORDS]
    denies = _index([rule for rule in rules if not rule.entry.allowed])
    findings: list[LintFinding] = []
    compared, left = 0, most // 4
    for narrow in rules:
        others = _smallest(narrow, index)
        fewer = others
        for by_word in by_words:
            fewer = by_word.fewer(narrow, fewer)
        likely = [one for one in fewer if one is not narrow and follows_by_bits(narrow, one)]
        compared += len(others) + _CLOSELY * len(likely)
        if compared > most:
            text = f"from '{narrow.name}' on, rules were not compared with each other: there are too many"
            return [*findings, LintFinding(Severity.WARNING, narrow.placed_rule.keys, text)]
        about_all = list(islice(_about(narrow, likely, verbs), 1))
        findings += about_all
        if narrow.entry.allowed and len(narrow.operations) > 1 and not about_all and left > 0:
            parts = [_of_one_operation(narrow, operation) for operation in narrow.operations]
            denying = [(part, _smallest(part, denies)) for part in parts]
            likely_parts = [(part, [one for one in those if follows_by_bits(part, one)]) for part, those in denying]
            left -= sum(len(those) for _, those in denying)
            left -= _CLOSELY * sum(len(those) for _, those in likely_parts)
            if left <= 0:
                text = f"from '{narrow.name}' on, operations were not compared one by one: there are too many"
                findings.append(LintFinding(Severity.WARNING, narrow.placed_rule.keys, text))
            else:
                findings += _partly_overridden(likely_parts, verbs)
    return findings


def _of_one_operation(rule: RuleReading, operation: str) -> RuleReading:
    """Return the rule with one of its operations, to be compared with rules that have this operation."""
    return structs.replace(rule, operations=(operation,), about=rule.about & ~rule.operation_bits)


def _partly_overridden(
    parts: Iterable[tuple[RuleReading, Sequence[RuleReading]]], verbs: Verbs
) -> Iterator[LintFinding]:
    """Yield a finding for each deny rule that leaves nothing of some operations of an allow rule."""
    denied = dict[RuleReading, list[RuleReading]]()
    for part, denies in parts:
        for wide in denies:
            if _relation(part, wide) == "overridden" and implied(part, wide, verbs):
                denied.setdefault(wide, []).append(part)
                break
    for wide, those in denied.items():
        names = first_names([one.operations[0] for one in those])
        text = f"partly overridden: '{wide.name}' denies all of {names} that '{those[0].name}' allows"
        yield LintFinding(Severity.WARNING, place_of(those[0], those[0].operations[0]), text)


def _index(rules: Sequence[RuleReading]) -> dict[tuple[str, str], list[RuleReading]]:
    index: dict[tuple[str, str], list[RuleReading]] = {}
    for rule in rules:
        for operation in rule.operations:
            for role in rule.roles:
                index.setdefault((operation, role), []).append(rule)
    return index


def _smallest(rule: RuleReading, index: Mapping[tuple[str, str], list[RuleReading]]) -> list[RuleReading]:
    """Return the smallest list of rules with every rule which can cover this one."""
    cells = [(operation, role) for operation in rule.operations for role in rule.roles]
    return min((index.get(cell, []) for cell in cells), key=len, default=[])


class _RulesByWord:
    """Rules by the words of one key. A rule that covers another one names all of its words, or has no such key.

    Sets of bits alone are slow where each of thousands of rules names a word of its own.
    """

    def __init__(self, rules: Sequence[RuleReading], key: str) -> None:
        self._key = key
        self._without: list[RuleReading] = []
        self._naming: dict[str, list[RuleReading]] = {}
        for rule in rules:
            if (listed := getattr(rule.entry, key)) is None:
                self._without.append(rule)
            for word in dict.fromkeys(present(listed)):
                self._naming.setdefault(word, []).append(rule)

    def fewer(self, rule: RuleReading, others: list[RuleReading]) -> list[RuleReading]:
        """Return the rules which can cover this one by its first word, in their order, or `others` if these are not
        more.
        """
        listed = getattr(rule.entry, self._key)
        words = present(listed)
        if listed is not None and not words:
            return others
        naming = self._naming[words[0]] if words else []
        if len(naming) + len(self._without) >= len(others):
            return others
        return sorted([*naming, *self._without], key=lambda one: one.at)


def _about(narrow: RuleReading, likely: Sequence[RuleReading], verbs: Verbs) -> Iterator[LintFinding]:
    for wide in likely:
        kind = _relation(narrow, wide)
        if kind is None or not implied(narrow, wide, verbs):
            continue
        if kind == "overridden":
            text = f"overridden: '{wide.name}' denies all that '{narrow.name}' allows"
            yield LintFinding(Severity.LINT, narrow.placed_rule.keys, text)
            continue
        if kind == "shadowed" and (name := _avoided_by(narrow, wide, verbs)):
            text = f"avoidable: '{wide.name}' allows the same without an approval where {name} is another"
            yield LintFinding(Severity.WARNING, (*narrow.placed_rule.keys, "parameter_constraints", name), text)
            continue
        if not narrow.sure or not _adds_nothing(narrow, wide):
            continue
        if implied(wide, narrow, verbs) and wide.sure and _adds_nothing(wide, narrow):
            # Both are the same: only the later one is redundant.
            if narrow.at > wide.at:
                text = f"redundant: '{narrow.name}' says what '{wide.name}' says"
                yield LintFinding(Severity.WARNING, narrow.placed_rule.keys, text)
        elif kind == "shadowed":
            text = f"shadowed: '{wide.name}' allows all that '{narrow.name}' allows"
            yield LintFinding(Severity.WARNING, narrow.placed_rule.keys, text)
        else:
            text = f"redundant: '{wide.name}' denies all that '{narrow.name}' denies"
            yield LintFinding(Severity.WARNING, narrow.placed_rule.keys, text)


def _relation(narrow: RuleReading, wide: RuleReading) -> str | None:
    """Return the name of the relation, should the wider rule match all the narrower one matches."""
    one, other = narrow.entry, wide.entry
    if not other.allowed:
        if wide.emergency and not narrow.emergency:
            return None
        if other.emergency_overridable and (one.allowed or not one.emergency_overridable or narrow.emergency):
            return None
        return "overridden" if one.allowed else "redundant"
    if not one.allowed or wide.emergency is not narrow.emergency:
        return None
    if wide.inherited and not narrow.inherited and narrow.roles != GATEWAY:
        return None  # behind a gateway it grants nothing
    return "shadowed"


def _avoided_by(narrow: RuleReading, wide: RuleReading, verbs: Verbs) -> str:
    """Return the number that the requester may leave out, such as a timeout, by which alone the demand of the narrower
    rule is avoided.
    """
    if demand(narrow.entry) is None or demand(wide.entry) is not None:
        return ""
    for name in narrow.constraints:
        known = [domain(verbs[one], name) for one in narrow.operations if name in verbs[one].types]
        if not known or not all(each.optional and each.types <= NUMBERS for each in known):
            continue
        wider = {name: wide.constraints[name]} if name in wide.constraints else {}
        others = {other: each for other, each in narrow.constraints.items() if other != name}
        widened = structs.replace(narrow, constraints=others | wider)
        if implied(widened, wide, verbs) and not implied(widened, narrow, verbs):
            return name
    return ""


def _adds_nothing(narrow: RuleReading, wide: RuleReading) -> bool:
    """Return whether an allow has the same demands, limits and values without the narrower rule."""
    one, other = narrow.entry, wide.entry
    if not one.allowed:
        return True
    first_demand, second_demand = demand(one), demand(other)
    if first_demand != second_demand and (first_demand is not None or narrow.emergency):
        return False
    limits = ("operation_timeout", "max_targets", "max_concurrent")
    return all(_no_laxer(getattr(one, key), getattr(other, key)) for key in limits) and all(
        each.default is None or canonical(each.default) == _default(wide, name)
        for name, each in narrow.constraints.items()
    )


def _default(rule: RuleReading, name: str) -> bytes:
    return canonical(rule.constraints[name].default if name in rule.constraints else None)


def _no_laxer(narrow: int | None, wide: int | None) -> bool:
    return narrow is None or (wide is not None and wide <= narrow)


def demand(entry: RuleEntry) -> tuple[Any, ...] | None:
    """Return the steps, seconds and presence demanded by an allow rule, in a comparable form."""
    if not entry.allowed or not (entry.requires_approval or entry.approval is not None):
        return None
    approval = entry.approval
    minutes = (entry.approval_timeout or APPROVAL_MINUTES) * 60
    if approval is None:
        return ((((APPROVER,), 1),), minutes, KEY)
    own = [(tuple(present(approval.approvers)) or (APPROVER,), approval.quorum)]
    steps = [(tuple(present(step.approvers)) or (APPROVER,), step.quorum) for step in present(approval.steps)]
    listed = [*(own if approval.approvers or not steps else []), *steps]
    seconds = minutes if approval.timeout is None else duration(approval.timeout)
    return (tuple(listed), seconds, presence_of(approval))
