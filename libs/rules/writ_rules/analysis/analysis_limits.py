"""Notes on the limits of trying one request of each class; they accompany every result based on it.

Texts for patterns are samples, and only an evaluator knows which requests it distinguishes. A note says where no value
was found inside, or outside, a pattern or a length, although there may be one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, product
from typing import Any

from writ_rules.engine.clauses.case import SECRET
from writ_rules.engine.clauses.checks import Check, LengthCheck, PatternCheck
from writ_rules.engine.clauses.conditions import EvaluatorCondition, ScanCondition
from writ_rules.engine.matching.index import FEW
from writ_rules.engine.matching.literals import edges, literals
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb
from writ_rules.values.domains import domain, metas
from writ_rules.values.joint_samples import MOST_PATTERNS
from writ_rules.values.samples import LONGEST

_ALL = {"", ".*", ".+", "(?s).*", "(?s).+", "(?s:.*)", "(?s:.+)"}
"""Patterns that match every text of the characters that `.` covers; a text of other characters is always tried."""
MOST_PAIRS = 16
_SPECIAL = frozenset(".^$*+?{}[]()|\\")


def of_evaluators(verb: Verb, rules: Iterable[Rule]) -> Iterator[str]:
    """Yield a note for each evaluator: it judges only the tried requests."""
    evaluators = {
        one.name
        for rule in rules
        for one in rule.conditions[verb.operation.name]
        if isinstance(one, EvaluatorCondition)
    }
    for name in sorted(evaluators):
        yield f"what evaluator '{name}' says of other requests than those tried is not known"


def of_scans(verb: Verb, rules: Iterable[Rule]) -> Iterator[str]:
    """Yield a note on scanners: their reports are assumed to be fresh for every rule, or absent."""
    ages: dict[str, set[float]] = {}
    for rule in rules:
        for one in rule.conditions[verb.operation.name]:
            if isinstance(one, ScanCondition):
                ages.setdefault(one.scanner, set()).add(one.max_age)
    for scanner, spans in sorted(ages.items()):
        if len(spans) > 1:
            yield f"a report of '{scanner}' that is older than {min(spans):.0f} s, which some rules take, was not tried"


def of_values(
    verb: Verb, name: str, checks: Sequence[Check], tried: Sequence[Any], is_possible: Callable[[str], bool]
) -> Iterator[str]:
    """Yield notes on one parameter. `tried`: its values, of which those are tried that `is_possible` returns true
    for.
    """
    texts = [value for value in tried if isinstance(value, str)]
    patterns = _patterns(checks)
    for pattern, alike in _alike(patterns, texts):
        shown_pattern = f"'{pattern.expected}'" if name in verb.public else SECRET
        covers = pattern.pattern.covers
        if not any(covers(text) and is_possible(text) for text in alike):
            yield f"no {name} was found that pattern {shown_pattern} matches"
        elif not any(is_possible(text) and not covers(text) for text in texts) and not _takes_all(verb, name, pattern):
            yield f"no {name} was found that pattern {shown_pattern} does not match"
    if len(patterns) > MOST_PATTERNS:
        yield f"of {len(patterns)} patterns for {name}, {MOST_PATTERNS} were tried together"
    for check in checks:
        if isinstance(check, LengthCheck):
            telling = check.limit + (check.clause == "max_length")
            if LONGEST < telling <= domain(verb, name).longest:
                yield f"no {name} that is {telling} long was tried"


def _alike(patterns: Sequence[PatternCheck], texts: Sequence[str]) -> Iterator[tuple[PatternCheck, Sequence[str]]]:
    """Yield each pattern with the texts that begin, or end, as it requires. It matches none of the others."""
    if len(patterns) <= FEW:
        return ((one, list(filter(edges(one.pattern.text).fit, texts))) for one in patterns)
    begun: dict[str, list[PatternCheck]] = {}
    ended: dict[str, list[PatternCheck]] = {}
    found: dict[PatternCheck, dict[str, None]] = {}
    for pattern in patterns:
        known = literals(pattern.pattern.text) or ()
        anywhere = not known or any(one.inside for one in known)
        found[pattern] = dict.fromkeys(texts if anywhere else ())
        for one in () if anywhere else known:
            (ended if one.end else begun).setdefault(one.text, []).append(pattern)
    starts, ends = (sorted({len(text) for text in known_texts}) for known_texts in (begun, ended))
    for text in texts:
        alike = [begun.get(text[:length], ()) for length in starts if length <= len(text)]
        alike += [ended.get(text[-length:], ()) for length in ends if length <= len(text)]
        for pattern in chain.from_iterable(alike):
            found[pattern][text] = None
    return ((pattern, list(some)) for pattern, some in found.items())


def _patterns(checks: Iterable[Check]) -> list[PatternCheck]:
    return list(dict.fromkeys(check for check in checks if isinstance(check, PatternCheck)))


def of_pairs(
    verb: Verb, name: str, checks: Sequence[Check], others: Sequence[Check], tried: Iterable[Any]
) -> Iterator[str]:
    """Yield a note for each pair of patterns, one of `checks` and one of `others`, without a sample permitted by only
    one of them.
    """
    patterns = _patterns(checks)[:MOST_PATTERNS]
    known = dict.fromkeys((*patterns, *_patterns(others)[:MOST_PATTERNS]))
    if len(known) < 2:
        return
    texts = [value for value in tried if isinstance(value, str)]
    takes = {each: _matching(each, texts) for each in known}
    alike = [
        (one, other)
        for one, other in product(patterns, takes)
        if one is not other and takes[one] and takes[one] <= takes[other] and not _is_within(verb, name, one, other)
    ]
    for pair in alike[:MOST_PAIRS]:
        first, second = (f"'{each.expected}'" if name in verb.public else SECRET for each in pair)
        yield f"no {name} was found that pattern {first} matches and pattern {second} does not"
    if len(alike) > MOST_PAIRS:
        yield f"{len(alike) - MOST_PAIRS} more pairs of patterns for {name} were not distinguished"


def _matching(check: PatternCheck, texts: Iterable[str]) -> set[str]:
    known = edges(check.pattern.text)
    return {text for text in texts if known.fit(text) and check.pattern.covers(text)}


def _is_within(verb: Verb, name: str, one: PatternCheck, other: PatternCheck) -> bool:
    """Return whether one pattern certainly permits nothing the other stops: it permits a single text, or the other
    permits all or the same.
    """
    if one.pattern.text == other.pattern.text and "." not in one.pattern.text:
        return True  # without a dot it makes no difference that one denies
    return not _SPECIAL & set(one.pattern.text) or _takes_all(verb, name, other)


def _takes_all(verb: Verb, name: str, check: PatternCheck) -> bool:
    """Return whether the pattern permits everything the operation's own schema permits."""
    own = {_core(meta.pattern) for meta in metas(verb, name) if meta.pattern is not None}
    return _core(check.pattern.text) in _ALL | own


def _core(pattern: str) -> str:
    return pattern.removeprefix("^").removesuffix("$").removesuffix(r"(?!\n)")
