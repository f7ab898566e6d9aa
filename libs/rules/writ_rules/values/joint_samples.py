"""Texts matched by several patterns at once, such as the operation's own and those of an allow and a deny rule.

A sample of one pattern alone rarely matches another: `.env` is no absolute path, `/srv/.conf` holds no `secret`. So
samples are inserted into each other, at every position. A text with a new combination of matches is kept and extended.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from writ_rules.engine.clauses.patterns import Pattern
from writ_rules.engine.matching.literals import Edges, edges
from writ_rules.values import regexes
from writ_rules.values.domains import taken

MOST_PATTERNS = 12
"""Upper limit of the patterns of one parameter that are combined; of more, the first are used."""
MOST_PIECES = 4
MOST_TRIES = 4_000
ROUNDS = 3
LONGEST = 120


@lru_cache(maxsize=1_024)
def joined(hint: Any, patterns: tuple[Pattern, ...], texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return texts a parameter of this type accepts, one for each combination of matches missing in `texts`."""
    used = _apart(patterns)[:MOST_PATTERNS]
    known: dict[tuple[bool, ...], str] = {}
    judged = [(each, edges(each.text)) for each in used]
    every = 2 ** len(used)
    for text in taken(hint, texts):
        known.setdefault(_answers(judged, text), text)
        if len(known) == every:
            return ()
    pieces = [piece for each in used for piece in regexes.samples(each.text)[:MOST_PIECES]]
    pieces += [piece for each in used for piece in regexes.named(each.text)]
    pieces = list(dict.fromkeys(pieces))
    first, tried = len(known), 0
    for _ in range(ROUNDS):
        before = len(known)
        for text in islice(_mixed(list(known.values()), pieces), MOST_TRIES - tried):
            tried += 1
            for made in taken(hint, [text]):
                known.setdefault(_answers(judged, made), made)
        if len(known) in (before, every):
            break
    return tuple(islice(known.values(), first, None))


def _apart(patterns: Iterable[Pattern]) -> list[Pattern]:
    """Return the patterns, each once: without a dot it makes no difference that one denies."""
    return list({one if "." in one.text else one.text: one for one in patterns}.values())


def _answers(patterns: Iterable[tuple[Pattern, Edges]], text: str) -> tuple[bool, ...]:
    return tuple(known.fit(text) and _covers(pattern, text) for pattern, known in patterns)


def _covers(pattern: Pattern, text: str) -> bool:
    try:
        return pattern.covers(text)
    except UnicodeEncodeError:
        return False


def _mixed(texts: Iterable[str], pieces: list[str]) -> Iterator[str]:
    """Yield each piece within each text, at its ends first."""
    for text in texts:
        for at in sorted(range(len(text) + 1), key=lambda place: place not in (0, len(text))):
            yield from (text[:at] + piece + text[at:] for piece in pieces if len(text) + len(piece) <= LONGEST)
