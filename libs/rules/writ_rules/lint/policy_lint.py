"""Lint of a policy by itself, in Cedar's terms: vacuous, shadowed, redundant and overridden rules, conflicting
defaults, denials that dependencies go round, paths without a bound, names with invisible characters, and unusable rules
of emergencies and approval windows. `engine.lint` checks one key at a time.
"""

from collections.abc import Iterable, Iterator, Sequence

from writ_contracts.inventory import WRIT
from writ_contracts.operations import Catalogue
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.policy_file.times import instant
from writ_rules.engine.verbs import verbs
from writ_rules.lint.conflicts import conflicts
from writ_rules.lint.dependencies import dependencies
from writ_rules.lint.invisible_names import invisible
from writ_rules.lint.path_bounds import unbounded_paths
from writ_rules.lint.rule_pairs import MOST_COMPARED, covered, demand
from writ_rules.lint.rule_reading import RuleReading, readings
from writ_rules.lint.spellings import misspelled
from writ_rules.lint.vacuous_rules import vacuous
from writ_rules.values.automata import PatternComparisons

DECLARE, WINDOW = "emergency_declare", "window_request"


def lint(
    file: PolicyDocument,
    catalogue: Catalogue,
    already: Iterable[LintFinding] = (),
    *,
    most_compared: int = MOST_COMPARED,
) -> list[LintFinding]:
    """Return findings besides those `already` known; a rule with an error there gets no second finding.

    `most_compared`: pairs of rules; a finding says when there are more.
    """
    known = verbs(catalogue)
    wrong = {
        finding.keys[:length]
        for finding in already
        for length in range(len(finding.keys) + 1)
        if finding.severity is not Severity.WARNING
    }
    rules = list(placed(file.policies))
    every = readings(rules, known)
    reported = {rule.at for rule in every if rule.placed_rule.keys in wrong}
    findings, patterns = list(_in_effect(file)), PatternComparisons()
    for rule in every:
        mistakes = [] if rule.at in reported else [*vacuous(rule, known, patterns), *misspelled(rule, known)]
        reported |= {rule.at for finding in mistakes if finding.severity is Severity.LINT}
        findings += mistakes
    rest = [rule for rule in every if rule.at not in reported]
    return [
        *findings,
        *covered(rest, known, most_compared),
        *conflicts(rest, known),
        *dependencies(rest, known, patterns),
        *(finding for rule in rest for finding in unbounded_paths(rule, known)),
        *(finding for one in rules for finding in invisible(one)),
        *_emergencies(file, every, rest),
        *_windows(every, rest),
    ]


def _in_effect(file: PolicyDocument) -> Iterator[LintFinding]:
    since, until = file.policies.effective_from, file.policies.expires_at
    if since is not None and until is not None and instant(since) >= instant(until):
        text = "the policy expires before it takes effect: everything is denied"
        yield LintFinding(Severity.LINT, ("policies", "expires_at"), text)


def _emergencies(
    file: PolicyDocument, rules: Sequence[RuleReading], sound: Sequence[RuleReading]
) -> Iterator[LintFinding]:
    """Yield a finding when there are `sound` emergency rules and no rule, mistaken or not, lets anybody declare an
    emergency.
    """
    if not any(rule.emergency for rule in sound) or not file.policies.deny_by_default:
        return
    declared = any(
        DECLARE in rule.operations and rule.entry.allowed and WRIT.role in rule.roles and not rule.emergency
        for rule in rules
    )
    if not declared:
        text = f"no rule allows {DECLARE}: these rules are never used"
        yield LintFinding(Severity.WARNING, ("policies", "emergency_policies"), text, at_key=True)


def _windows(rules: Sequence[RuleReading], sound: Sequence[RuleReading]) -> Iterator[LintFinding]:
    """Yield a finding when rules allow approval windows and no rule demands approval for them."""
    if any(WINDOW in rule.operations and demand(rule.entry) is not None for rule in rules):
        return
    for rule in sound:
        if WINDOW in rule.operations and rule.entry.allowed:
            text = f"demands no approval: {WINDOW} is refused, since its approvers are those of the window"
            yield LintFinding(Severity.WARNING, (*rule.placed_rule.keys, "operations"), text)
