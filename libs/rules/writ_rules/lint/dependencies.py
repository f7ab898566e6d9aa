"""Find deny rules on names of packages that an operation on another package can go round: it changes what its own
package depends on, and policy decides on the named one alone.
"""

from collections.abc import Iterator, Sequence

from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.lint.conflicts import same_people_and_targets
from writ_rules.lint.rule_reading import RuleReading, Verbs

NAME, ONLY, KEEP = "package_name", "only_packages", "keep_packages"
MOST_TRIED = 100
"""Allow rules that are compared with each deny rule: a hint needs one example."""


def dependencies(rules: Sequence[RuleReading], verbs: Verbs) -> Iterator[LintFinding]:
    """Yield a finding for each deny rule on names where an allow rule bounds no dependencies."""
    unbounded = [rule for rule in rules if rule.entry.allowed and _acts(rule, verbs) and not _bounds(rule)][:MOST_TRIED]
    for rule in rules:
        if rule.entry.allowed or not _acts(rule, verbs) or not _names(rule):
            continue
        example = next((other for other in unbounded if same_people_and_targets(rule, other)), None)
        if example is not None:
            keys = (*rule.placed_rule.keys, "parameter_constraints", NAME)
            text = (
                f"it denies the named package alone: by '{example.name}' such a package may still change as a "
                f"dependency of another one; bound that rule by {KEEP} or {ONLY} (docs/policy.md#parameters)"
            )
            yield LintFinding(Severity.WARNING, keys, text)


def _names(rule: RuleReading) -> bool:
    """Return whether the rule names packages, and not only exceptions by `denied_values`."""
    constraint = rule.constraints.get(NAME)
    return constraint is not None and (constraint.allowed_values is not None or constraint.pattern is not None)


def _acts(rule: RuleReading, verbs: Verbs) -> bool:
    return any(KEEP in verbs[name].types for name in rule.operations)


def _bounds(rule: RuleReading) -> bool:
    """Return whether no request that the rule allows may leave its bounds out."""
    only, keep = rule.constraints.get(ONLY), rule.constraints.get(KEEP)
    return bool(only and only.allowed_items is not None) or bool(keep and keep.required_items)
