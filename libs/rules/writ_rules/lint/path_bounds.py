"""Find operations that an allow rule leaves unbounded, since its bound names another path than theirs.

A constraint holds for the operations that have the parameter. `file_write` has `file_path`, `file_copy` has
`dest_path`, `backup_restore` has `target_path`: a rule for all three that bounds one of them lets the others write
anywhere.
"""

from collections.abc import Iterator

from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.verbs import Verb
from writ_rules.lint.rule_reading import RuleReading, Verbs, place_of
from writ_rules.values.domains import domain

PATHS = ("file_path", "dest_path", "target_path")
"""Each operation on files has at most one of them."""


def unbounded_paths(rule: RuleReading, verbs: Verbs) -> Iterator[LintFinding]:
    """Yield a finding for each operation of an allow rule with a path, where the rule bounds only a path of others."""
    bounded = [path for path in PATHS if path in rule.constraints]
    if not rule.entry.allowed or not bounded:
        return
    for operation in rule.operations:
        path = next((path for path in PATHS if path in verbs[operation].types), None)
        if path is None or path in bounded or _lists(verbs[operation], path):
            continue
        text = (
            f"'{rule.name}' bounds {bounded[0]}, which {operation} does not have, so it allows any {path}: bound "
            f"{path} too, or allow {operation} by a rule of its own"
        )
        yield LintFinding(Severity.WARNING, place_of(rule, operation), text)


def _lists(verb: Verb, path: str) -> bool:
    """Return whether the path only selects what is listed, such as snapshots."""
    return verb.operation.risk == "read" and domain(verb, path).optional
