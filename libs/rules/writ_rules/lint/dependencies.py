"""Find allow rules by which packages that a deny rule names may change: an operation also changes what its own package
depends on, and policy decides on the named one alone. So an allow rule needs bounds, and requests must not lift them.
"""

import re
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, digits

from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import Constraint, Values, present
from writ_rules.engine.verbs import Verb
from writ_rules.lint.conflicts import same_people_and_targets
from writ_rules.lint.rule_reading import RuleReading, Verbs
from writ_rules.values.automata import PatternComparisons

NAME, ONLY, KEEP, INDEX = "package_name", "only_packages", "keep_packages", "index"
PACKAGE_CHARACTERS, PACKAGE = f"{ascii_lowercase}{digits}+-.", "[a-z0-9].*"
MOST_COMPARED = 100
"""Rules of each kind, and names of a rule, that are compared: more of them get no finding."""


def dependencies(rules: Sequence[RuleReading], verbs: Verbs, patterns: PatternComparisons) -> Iterator[LintFinding]:
    """Yield a finding for each allow rule whose bounds a request may lift, or that lets a denied package change."""
    denials = [rule for rule in rules if not rule.entry.allowed and _acts(rule, verbs) and _names(rule)][:MOST_COMPARED]
    allowing = [rule for rule in rules if rule.entry.allowed and _acts(rule, verbs)]
    for rule in allowing:
        yield from _lifted(rule)
    for rule in allowing[:MOST_COMPARED] if denials else ():
        bounds = _Bounds(rule, patterns)
        for denial in denials:
            package = bounds.unkept(denial)
            if package is None or not same_people_and_targets(rule, denial):
                continue
            such = f" ('{package}', say)" if package else ""
            text = (
                f"'{denial.name}' denies the named package alone: by this rule such a package may still change as a "
                f"dependency of another one{such}; bound it by {KEEP} or {ONLY} (docs/policy.md#parameters)"
            )
            yield LintFinding(Severity.WARNING, rule.placed_rule.keys, text)
            break


def _lifted(rule: RuleReading) -> Iterator[LintFinding]:
    """Yield a finding for each list that the rule fills in or checks, and that a request may replace by any other."""
    only, keep = (rule.constraints.get(name, Constraint()) for name in (ONLY, KEEP))
    # An empty `only_packages` permits nothing, an empty `keep_packages` everything.
    is_only, is_kept = (only.allowed_items, only.allowlist_source) != (None, None), bool(present(keep.required_items))
    for name, constraint, is_bound, key in (
        (ONLY, only, is_only, "allowed_items"),
        (KEEP, keep, is_kept, "required_items"),
    ):
        filled_in = (constraint.default, constraint.allowed_items, constraint.required_items) != (None, None, None)
        if filled_in and not is_bound:
            keys = (*rule.placed_rule.keys, "parameter_constraints", name)
            text = f"a request lifts this bound by {name} of its own: use {key}"
            yield LintFinding(Severity.WARNING, keys, text)


class _Bounds:
    """The bounds that no request by an allow rule can lift."""

    def __init__(self, rule: RuleReading, patterns: PatternComparisons) -> None:
        only, keep = rule.constraints.get(ONLY, Constraint()), rule.constraints.get(KEEP, Constraint())
        self._is_listed = only.allowlist_source is not None
        self._only = None if only.allowed_items is None else _pattern(only.allowed_items)
        self._keep = _pattern(keep.required_items) if keep.required_items else None
        self._patterns = patterns

    def unkept(self, denial: RuleReading) -> str | None:
        """Return a package of a deny rule that they let change, "" if they bound nothing; None where they let none, as
        far as is known.
        """
        constraint = denial.constraints[NAME]
        if self._is_listed:
            return None
        if self._only is None and self._keep is None:
            return ""
        if constraint.allowed_values is None:
            within = [PACKAGE, constraint.pattern or "", *([] if self._only is None else [self._only])]
            return self._patterns.example(within, self._keep, PACKAGE_CHARACTERS)
        names = [name for name in present(constraint.allowed_values) if isinstance(name, str)][:MOST_COMPARED]
        return next((name for name in names if not self._holds_name(name)), None)

    def _holds_name(self, name: str) -> bool:
        is_outside = self._only is not None and not re.fullmatch(self._only, name)
        return is_outside or (self._keep is not None and re.fullmatch(self._keep, name) is not None)


def _pattern(globs: Values) -> str:
    """Return the pattern of what one of the globs covers."""
    signs = {"*": ".*", "?": "."}
    each = ("".join(signs.get(char) or re.escape(char) for char in glob) for glob in globs if isinstance(glob, str))
    return f"^(?:{'|'.join(each)})$"


def _names(rule: RuleReading) -> bool:
    """Return whether the rule names packages, and not only exceptions by `denied_values`."""
    constraint = rule.constraints.get(NAME)
    return constraint is not None and (constraint.allowed_values is not None or constraint.pattern is not None)


def _acts(rule: RuleReading, verbs: Verbs) -> bool:
    return any(KEEP in verbs[name].types and not _only_fetches(rule, verbs[name]) for name in rule.operations)


def _only_fetches(rule: RuleReading, verb: Verb) -> bool:
    """Return whether the rule allows to fetch the index of packages, and to change none."""
    index = rule.constraints.get(INDEX)
    return INDEX in verb.types and index is not None and index.allowed_values == ["only"]
