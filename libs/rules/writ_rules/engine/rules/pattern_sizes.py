"""The bound on the patterns of a file. Without it a principal whose policy another person would have to approve could
occupy the policy service for hours and fill its memory: RE2 compiles `[\\pL]{200}` to 240,000 instructions.
"""

from collections.abc import Callable, Iterable, Iterator

from writ_rules.engine.clauses.patterns import PatternTooLargeError, pattern
from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity
from writ_rules.engine.policy_file.format import AttributeConstraint, Constraint, PlacedRule

MOST_IN_FILE = 5_000_000
"""Size of all patterns of a file: 10,000 like `/srv/app1/[a-z0-9._-]{1,64}`, or 6 s of one processor."""
REFUSED_SIZE = 250_000


def findings(rules: Iterable[PlacedRule], on_pattern: Callable[[int], None] | None = None) -> Iterator[LintFinding]:
    """Yield an error at the pattern by which the file has too many large ones. No later pattern is compiled.
    `on_pattern` receives the size of each compiled one.
    """
    left, known = MOST_IN_FILE, set[tuple[str, bool]]()
    for rule in rules:
        deny = not rule.entry.allowed
        for keys, text in _patterns(rule):
            if (text, deny) in known:
                continue
            known.add((text, deny))
            size = _size(text, deny)
            left -= size
            if on_pattern is not None:
                on_pattern(size)
            if left < 0:
                message = "the patterns of this file are too large together: write smaller counts, such as {1,20}"
                yield LintFinding(Severity.ERROR, keys, message)
                return


def _patterns(rule: PlacedRule) -> Iterator[tuple[Keys, str]]:
    for section in ("parameter_constraints", "target_attributes"):
        for name, constraint in (getattr(rule.entry, section) or {}).items():
            if isinstance(constraint, Constraint | AttributeConstraint) and constraint.pattern is not None:
                yield (*rule.keys, section, name, "pattern"), constraint.pattern


def _size(text: str, deny: bool) -> int:
    try:
        return pattern(text, deny=deny).size
    except PatternTooLargeError:
        return REFUSED_SIZE
    except ValueError:  # the compiler of rules notes it
        return 0
