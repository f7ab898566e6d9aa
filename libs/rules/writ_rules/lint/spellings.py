"""Find names of units in rules that no request may use: those with `.service`. Such a name matches nothing.

In a deny rule it leaves the unit unprotected, so it is an error. In an allow rule it is an error only if the rule has
no other name.
"""

from collections.abc import Iterator
from typing import Any

from writ_contracts.catalogue.grammar import UNIT_PATTERN
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import Constraint
from writ_rules.lint.rule_reading import RuleReading, Verbs
from writ_rules.values.domains import metas
from writ_rules.values.regexes import alternatives_ending

ENDING = ".service"


def misspelled(rule: RuleReading, verbs: Verbs) -> Iterator[LintFinding]:
    """Yield findings for names and patterns of the rule which match no unit."""
    severity = Severity.WARNING if rule.entry.allowed else Severity.LINT
    for name, constraint in rule.constraints.items():
        if not any(_is_unit(verbs, operation, name) for operation in rule.operations):
            continue
        keys = (*rule.placed_rule.keys, "parameter_constraints", name)
        for key, at, value in _listed(constraint):
            text = f"{name} is never '{value}': units are named without {ENDING}"
            yield LintFinding(severity, (*keys, key, at), text)
        ending, every = alternatives_ending(constraint.pattern or "", ENDING)
        if ending:
            whole = ending == every
            text = f"'{rule.name}' never matches by {'this' if whole else 'a part of this'} pattern"
            yield LintFinding(
                Severity.LINT if whole else severity,
                (*keys, "pattern"),
                f"{'vacuous: ' if whole else ''}{text}: units are named without {ENDING}",
            )


def _is_unit(verbs: Verbs, operation: str, name: str) -> bool:
    verb = verbs[operation]
    return name in verb.types and any(meta.pattern == UNIT_PATTERN for meta in metas(verb, name))


def _listed(constraint: Constraint) -> Iterator[tuple[str, int, Any]]:
    for key in ("allowed_values", "denied_values"):
        for at, value in enumerate(getattr(constraint, key) or ()):
            if isinstance(value, str) and value.endswith(ENDING):
                yield key, at, value
