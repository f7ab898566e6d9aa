"""Construction of a rule's conditions, in the order in which they are judged."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from writ_contracts.evaluators import Evaluator
from writ_contracts.type_words import plain_words
from writ_rules.engine.clauses.case import show
from writ_rules.engine.clauses.checks import Check, checks, values_of
from writ_rules.engine.clauses.conditions import (
    AttributeCondition,
    Condition,
    EvaluatorCondition,
    ParameterCondition,
    ScanCondition,
    TimeCondition,
)
from writ_rules.engine.clauses.listings import MAX_AGE, AllowlistSource
from writ_rules.engine.clauses.scopes import listed
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.findings import Keys
from writ_rules.engine.policy_file.format import (
    AttributeConstraint,
    Constraint,
    EvaluatorEntry,
    PlacedRule,
    PolicyEntry,
    ScanEntry,
    present,
)
from writ_rules.engine.policy_file.maintenance import maintenance, parts
from writ_rules.engine.policy_file.times import Occasion
from writ_rules.engine.rules.compiler_notes import CompilerNotes

Evaluators = Mapping[str, Evaluator]


class ConditionCompiler:
    """Makes the conditions of all rules of a policy, and notes the mistakes."""

    def __init__(self, notes: CompilerNotes, policy: PolicyEntry, evaluators: Evaluators) -> None:
        self._notes = notes
        self._evaluators = evaluators
        self._maintenance = self._maintenance_windows(policy)

    def of(self, placed: PlacedRule) -> list[Condition]:
        """Return all conditions of a rule; those on parameters bind only operations with these parameters."""
        conditions = [self._times(placed), self._maintenance if placed.entry.maintenance_windows_only else None]
        return [
            *(one for one in conditions if one is not None),
            *self._attributes(placed),
            *self._scans(placed),
            *self._parameters(placed),
            *self._evaluated(placed),
        ]

    def _times(self, placed: PlacedRule) -> TimeCondition | None:
        entries = placed.entry.time_restrictions or ()
        made = [
            self._notes.whole((*placed.keys, "time_restrictions", at), times.parts(entry), partial(times.window, entry))
            for at, entry in enumerate(entries)
            if entry is not None
        ]
        windows = tuple(window for window in made if window is not None)
        text = " or ".join(map(str, windows))
        return self._notes.share(["times", text], TimeCondition(windows, text[:300])) if windows else None

    def _maintenance_windows(self, policy: PolicyEntry) -> TimeCondition:
        windows = list[Occasion]()
        entries = policy.maintenance_windows or ()
        keyed_entries = entries.items() if isinstance(entries, Mapping) else enumerate(entries)
        for key, entry in keyed_entries:
            if entry is not None:
                name = entry.name or (key if isinstance(key, str) else f"window {key + 1}")
                keys = ("policies", "maintenance_windows", key)
                made = self._notes.whole(keys, parts(entry), partial(maintenance, name, entry))
                windows += [made] if made is not None else []
        expected = f"inside {' or '.join(map(str, windows))}"[:300] if windows else "inside a maintenance window"
        return TimeCondition(tuple(windows), expected, "maintenance_windows_only")

    def _attributes(self, placed: PlacedRule) -> list[Condition]:
        deny = not placed.entry.allowed
        conditions = list[Condition]()
        for name, expected in (placed.entry.target_attributes or {}).items():
            keys = (*placed.keys, "target_attributes", name)
            made = self._notes.attempt(keys, None, partial(attribute, name, deny), expected)
            if made is not None:
                conditions.append(self._notes.share(["attribute", name, deny, expected], made))
        return conditions

    def _scans(self, placed: PlacedRule) -> list[Condition]:
        conditions = list[Condition]()
        for at, entry in enumerate(placed.entry.scans or ()):
            made = self._notes.attempt((*placed.keys, "scans", at, "max_age"), None, _scan, entry)
            if made is not None:
                conditions.append(self._notes.share(["scan", entry], made))
        return conditions

    def _parameters(self, placed: PlacedRule) -> list[Condition]:
        conditions = list[Condition]()
        deny = not placed.entry.allowed
        for name, entry in (placed.entry.parameter_constraints or {}).items():
            entry = entry or Constraint()
            keys = (*placed.keys, "parameter_constraints", name)
            made = self._notes.attempt(
                (*keys, "pattern"), tuple[Check, ...](), lambda entry: checks(entry, deny=deny), entry
            )
            source = self._notes.attempt((*keys, "max_age"), None, _listed, entry)
            parameter = ParameterCondition(name, entry.default, entry.needs_value, made, source)
            conditions.append(self._notes.share(["parameter", name, deny, entry], parameter))
        return conditions

    def _evaluated(self, placed: PlacedRule) -> list[Condition]:
        conditions = list[Condition]()
        for at, item in enumerate(placed.entry.evaluators or ()):
            keys: Keys = (*placed.keys, "evaluators", at)
            entry = EvaluatorEntry(name=item) if isinstance(item, str) else item
            made = self._notes.attempt(keys, None, self._evaluator, entry)
            if made is not None and entry is not None:
                conditions.append(self._notes.share(["evaluator", entry], made))
        return conditions

    def _evaluator(self, entry: EvaluatorEntry) -> EvaluatorCondition:
        evaluator = self._evaluators.get(entry.name)
        if evaluator is None:
            raise ValueError(
                f"there is no evaluator '{entry.name}'; installed are: {listed(self._evaluators) or 'none'}"
            )
        try:
            options = msgspec.convert(entry.with_, evaluator.options)
        except msgspec.ValidationError as error:
            raise ValueError(f"'{entry.name}' can't take these options: {plain_words(str(error))}") from error
        return EvaluatorCondition(entry.name, evaluator, options, evaluator.summary[:160])


def attribute(name: str, deny: bool, expected: Any) -> AttributeCondition:
    """Return the condition on an attribute. Raises ValueError for a bad pattern."""
    if isinstance(expected, AttributeConstraint):
        made = checks(expected, deny=deny)
        return AttributeCondition(name, "; ".join(check.expected for check in made)[:160], deny, made)
    values = present(expected) if isinstance(expected, list) else [expected]
    text = show(values[0]) if len(values) == 1 else f"one of {show(values)}"
    return AttributeCondition(name, text, deny, (values_of("allowed_values", text, values),))


def _scan(entry: ScanEntry) -> ScanCondition:
    expected = f"{'a' if entry.present else 'no'} finding of severity {entry.severity} or worse"
    return ScanCondition(entry.scanner, entry.severity, entry.present, times.age(entry.max_age), expected)


def _listed(entry: Constraint) -> AllowlistSource | None:
    if entry.allowlist_source is None:
        return None
    age = MAX_AGE if entry.max_age is None else times.age(entry.max_age)
    return AllowlistSource(entry.allowlist_source, age, f"in {entry.allowlist_source}"[:160])
