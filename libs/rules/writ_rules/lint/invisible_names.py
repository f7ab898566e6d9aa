"""Find names of rules with characters that nobody sees: two rules can look the same in a decision or a diff.

Files may have had such names before, so this is a warning.
"""

from collections.abc import Iterator

from writ_contracts.invisible_text import spelled_out
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PlacedRule


def invisible(rule: PlacedRule) -> Iterator[LintFinding]:
    """Yield a finding if the rule's name has invisible characters; it names their code points."""
    seen = dict.fromkeys(char for char in rule.entry.name if spelled_out(char, lambda _: "") != char)
    if seen:
        points = ", ".join(f"U+{ord(char):04X}" for char in seen)
        text = f"the name has {points}, which nobody sees: another name can look the same"
        yield LintFinding(Severity.WARNING, (*rule.keys, "name"), text)
