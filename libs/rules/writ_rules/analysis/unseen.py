"""What trying one request of each kind does not show, told beside every answer that rests on it.

Texts for patterns are samples, and nobody but an evaluator knows what it tells apart. So where no value was found that
a pattern or a length lets through, or none that it stops, this is said: there may be one all the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from writ_rules.analysis.domains import domain, metas
from writ_rules.analysis.joined import MOST_PATTERNS
from writ_rules.analysis.samples import LONGEST
from writ_rules.engine.case import SECRET
from writ_rules.engine.checks import Check, Length, Matches
from writ_rules.engine.conditions import Evaluated
from writ_rules.engine.rules import Rule
from writ_rules.engine.verbs import Verb

_ALL = {"", ".*", ".+", "(?s).*", "(?s).+", "(?s:.*)", "(?s:.+)"}
"""Patterns that match whatever has the characters that `.` means: one that doesn't is always tried."""


def of_evaluators(verb: Verb, rules: Iterable[Rule]) -> Iterator[str]:
    """They are asked, but only about the requests that are tried."""
    asked = {one.name for rule in rules for one in rule.conditions[verb.operation.name] if isinstance(one, Evaluated)}
    for name in sorted(asked):
        yield f"what evaluator '{name}' says of other requests than those tried is not known"


def of_values(verb: Verb, name: str, checks: Sequence[Check], tried: Sequence[Any]) -> Iterator[str]:
    """`tried`: all values of the parameter that were."""
    texts = [value for value in tried if isinstance(value, str)]
    patterns = list(dict.fromkeys(check for check in checks if isinstance(check, Matches)))
    for pattern in patterns:
        said = f"'{pattern.wanted}'" if name in verb.public else SECRET
        covered = {pattern.pattern.covers(text) for text in texts}
        if True not in covered:
            yield f"no {name} was found that pattern {said} matches"
        elif False not in covered and not _takes_all(verb, name, pattern):
            yield f"no {name} was found that pattern {said} does not match"
    if len(patterns) > MOST_PATTERNS:
        yield f"of {len(patterns)} patterns for {name}, {MOST_PATTERNS} were tried together"
    for check in checks:
        if isinstance(check, Length):
            telling = check.limit + (check.clause == "max_length")
            if LONGEST < telling <= domain(verb, name).longest:
                yield f"no {name} that is {telling} long was tried"


def _takes_all(verb: Verb, name: str, check: Matches) -> bool:
    """Whether it stops nothing that the operation's own schema lets through."""
    own = {_core(meta.pattern) for meta in metas(verb, name) if meta.pattern is not None}
    return _core(check.pattern.text) in _ALL | own


def _core(pattern: str) -> str:
    return pattern.removeprefix("^").removesuffix("$").removesuffix(r"(?!\n)")
