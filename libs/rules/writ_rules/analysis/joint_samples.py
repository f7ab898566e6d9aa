"""Texts that several patterns match at once, such as the operation's own and those of an allow and a deny rule.

A sample of one pattern alone rarely matches another: `.env` is no absolute path, `/srv/.conf` holds no `secret`. So
samples are put into each other, at every place, and what answers the patterns in a new way is kept and built on.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from writ_rules.analysis import regexes
from writ_rules.analysis.domains import taken
from writ_rules.engine.patterns import Pattern
from writ_rules.engine.verbs import Verb

MOST_PATTERNS = 12
"""Patterns of one parameter that are put together; of more, the first."""
MOST_PIECES = 4
MOST_TRIES = 4_000
ROUNDS = 3
LONGEST = 120


@lru_cache(maxsize=1_024)
def joined(verb: Verb, name: str, patterns: tuple[Pattern, ...], texts: tuple[str, ...]) -> tuple[str, ...]:
    """Texts that the schema takes and that answer the patterns otherwise than `texts` do, a text for each way."""
    asked = patterns[:MOST_PATTERNS]
    pieces = [piece for each in asked for piece in regexes.samples(each.text)[:MOST_PIECES]]
    pieces += [piece for each in asked for piece in regexes.named(each.text)]
    pieces = list(dict.fromkeys(pieces))
    known: dict[tuple[bool, ...], str] = {}
    for text in taken(verb, name, texts):
        known.setdefault(_answers(asked, text), text)
    first, tried = len(known), 0
    for _ in range(ROUNDS):
        before = len(known)
        for text in islice(_mixed(list(known.values()), pieces), MOST_TRIES - tried):
            tried += 1
            for made in taken(verb, name, [text]):
                known.setdefault(_answers(asked, made), made)
        if len(known) in (before, 2 ** len(asked)):
            break
    return tuple(islice(known.values(), first, None))


def _answers(patterns: Iterable[Pattern], text: str) -> tuple[bool, ...]:
    return tuple(_covers(pattern, text) for pattern in patterns)


def _covers(pattern: Pattern, text: str) -> bool:
    try:
        return pattern.covers(text)
    except UnicodeEncodeError:
        return False


def _mixed(texts: Iterable[str], pieces: list[str]) -> Iterator[str]:
    """Each piece within each text: at its ends first."""
    for text in texts:
        for at in sorted(range(len(text) + 1), key=lambda place: place not in (0, len(text))):
            yield from (text[:at] + piece + text[at:] for piece in pieces if len(text) + len(piece) <= LONGEST)
