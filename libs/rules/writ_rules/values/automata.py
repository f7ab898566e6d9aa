"""Automata of regular expressions, to prove that no text matches both of two patterns.

Anything that is not modelled exactly (look-around, anchors, upper limits of repetitions, Unicode classes) is modelled
as matching more than it does. So "no text" is certain, and "there may be one" is not.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import inf
from re import _constants as names  # type: ignore[attr-defined]
from typing import Any

from writ_rules.values.regexes import tree_of

LAST = 0x10FFFF
MOST_COPIES = 16
"""Repetitions up to this number are modelled one by one; more of them count as any number."""
MOST_STATES, MOST_WORK = 2_000, 50_000
"""States of one automaton, and steps and pairs of one comparison."""
MOST_PATTERNS, WORK_OF_FILE = 2_000, 3_000_000
LONGEST = 500
"""The most characters of a modelled pattern."""
Ranges = tuple[tuple[int, int], ...]
ANY: Ranges = ((0, LAST),)
BEYOND = (0x80, LAST)
"""A class such as `\\w` is ASCII to RE2 and Unicode to Python."""
CLASSES: dict[Any, Ranges] = {
    names.CATEGORY_DIGIT: ((48, 57),),
    names.CATEGORY_SPACE: ((9, 10), (12, 13), (32, 32)),
    names.CATEGORY_WORD: ((48, 57), (65, 90), (95, 95), (97, 122)),
}
NEGATED = {
    names.CATEGORY_NOT_DIGIT: names.CATEGORY_DIGIT,
    names.CATEGORY_NOT_SPACE: names.CATEGORY_SPACE,
    names.CATEGORY_NOT_WORD: names.CATEGORY_WORD,
}
REPEATS = (names.MAX_REPEAT, names.MIN_REPEAT, getattr(names, "POSSESSIVE_REPEAT", names.MAX_REPEAT))


class NotFollowed(Exception):
    """Raised for a pattern whose texts cannot be derived from its syntax."""


class PatternComparisons:
    """Comparisons of the patterns of one file with the operations' own: a file may have a hundred thousand."""

    def __init__(self, most: int = MOST_PATTERNS) -> None:
        self._left, self._work = most, WORK_OF_FILE
        self._known: dict[tuple[str, str], float] = {}

    def shortest(self, grammar: str, pattern: str) -> float:
        """Return a length that each text has at least that `grammar` is found in and that `pattern` covers as a whole;
        infinity where there is no such text, 0 where nothing is known, or after too many comparisons.
        """
        if (grammar, pattern) not in self._known:
            self._left -= 1
            self._known[grammar, pattern] = self._compared(grammar, pattern)
        return self._known[grammar, pattern]

    def example(self, within: Sequence[str], outside: str | None, alphabet: str) -> str | None:
        """Return a text of this alphabet that each pattern of `within` covers and `outside` does not; None where there
        is none, nothing is known, or after too many comparisons.
        """
        if self._left < 0 or self._work < 0:
            return None
        self._left -= 1
        try:
            known = [_automaton(pattern, whole=True) for pattern in (*within, *([outside] if outside else ()))]
            text, work = _example(known, len(within), alphabet)
        except (re.error, NotFollowed, OverflowError, RecursionError):
            return None
        self._work -= work
        is_one = text is not None and all(re.fullmatch(pattern, text) for pattern in within)
        return text if is_one else None

    def _compared(self, grammar: str, pattern: str) -> float:
        if self._left < 0 or self._work < 0:
            return 0
        shortest, work = _common(grammar, pattern)
        self._work -= work
        return shortest


def _common(grammar: str, pattern: str) -> tuple[float, int]:
    """Return the length, and the work that it took."""
    if len(pattern) > LONGEST:
        return 0, 0
    try:
        return _shortest(_automaton(grammar, whole=False), _automaton(pattern, whole=True))
    except (re.error, NotFollowed, OverflowError, RecursionError):
        return 0, MOST_STATES


class Automaton:
    """States with their steps by characters and without. The first is 0; `last` is the one that takes a text."""

    def __init__(self) -> None:
        self.steps: list[list[tuple[Ranges, int]]] = [[]]
        self.free: list[list[int]] = [[]]
        self.last = 0

    def _state(self) -> int:
        if len(self.steps) >= MOST_STATES:
            raise NotFollowed
        self.steps.append([])
        self.free.append([])
        return len(self.steps) - 1

    def read(self, at: int, ranges: Ranges) -> int:
        """Return the state after one of these characters."""
        self.steps[at].append((ranges, self._state()))
        return len(self.steps) - 1

    def loop(self, at: int, items: Any) -> int:
        """Return the state after any number of these."""
        start = self._state()
        self.free[at].append(start)
        self.free[self.follow(start, items)].append(start)
        return start

    def follow(self, at: int, items: Iterable[Any]) -> int:
        """Return the state after all of these, one after the other."""
        for kind, argument in items:
            at = self._one(at, kind, argument)
        return at

    def _one(self, at: int, kind: Any, argument: Any) -> int:
        ranges = _characters(kind, argument)
        if ranges is not None:
            return self.read(at, ranges)
        if kind in REPEATS:
            return self._repeat(at, *argument)
        if kind is names.BRANCH:
            return self._any_of(at, argument[1])
        if kind is names.SUBPATTERN:
            if argument[1] & re.IGNORECASE:
                raise NotFollowed
            return self.follow(at, argument[3])
        if kind in (names.AT, names.ASSERT, names.ASSERT_NOT):
            return at
        raise NotFollowed

    def _any_of(self, at: int, arms: Iterable[Any]) -> int:
        end = self._state()
        for arm in arms:
            self.free[self.follow(at, arm)].append(end)
        return end

    def _repeat(self, at: int, least: int, most: int, items: Any) -> int:
        for _ in range(min(least, MOST_COPIES)):
            at = self.follow(at, items)
        if most > MOST_COPIES:
            return self.loop(at, items)
        end = self._state()
        self.free[at].append(end)
        for _ in range(most - least):
            at = self.follow(at, items)
            self.free[at].append(end)
        return end

    def after(self, states: Iterable[int], char: int) -> frozenset[int]:
        """Return the states after this character."""
        steps = (step for state in states for step in self.steps[state])
        return frozenset(self.reached(to for ranges, to in steps if _meet(ranges, ((char, char),))))

    def reached(self, states: Iterable[int]) -> list[int]:
        """Return these states and those which no character is needed for."""
        reached = dict.fromkeys(states)
        queue = deque(reached)
        while queue:
            for state in self.free[queue.popleft()]:
                if state not in reached:
                    reached[state] = None
                    queue.append(state)
        return list(reached)


@lru_cache(maxsize=64)
def _automaton(pattern: str, *, whole: bool) -> Automaton:
    """Return the automaton. `whole`: it covers the text, else it is found in the text."""
    if "[:" in pattern:
        raise NotFollowed
    tree = tree_of(pattern)
    if tree.state.flags & (re.IGNORECASE | re.MULTILINE):
        raise NotFollowed
    items, made = list(tree), Automaton()
    ended = [item for item in items if item[0] is not names.ASSERT_NOT][-1:] == [(names.AT, names.AT_END)]
    at = 0
    if not whole and not (items and items[0] == (names.AT, names.AT_BEGINNING)):
        at = made.loop(at, [(names.ANY, None)])
    at = made.follow(at, items)
    if not whole:  # Python's `$` holds before a newline at the end, too
        rest = (0, 1, [(names.LITERAL, 10)]) if ended else (0, MOST_COPIES + 1, [(names.ANY, None)])
        at = made.follow(at, [(names.MAX_REPEAT, rest)])
    made.last = at
    return made


def _shortest(one: Automaton, other: Automaton) -> tuple[float, int]:
    """Return the number of characters to the nearest pair of last states, 0 where it takes too much, and the work."""
    met: set[tuple[int, int]] = set()
    current, length, work = _pairs(one, other, 0, 0, met), 0, len(one.steps) + len(other.steps)
    while current and (one.last, other.last) not in met:
        after: list[tuple[int, int]] = []
        for left, right in current:
            work += len(one.steps[left]) * len(other.steps[right]) + 1
            if work + len(met) > MOST_WORK:
                return 0, work
            for ranges, to in one.steps[left]:
                for others, then in other.steps[right]:
                    if _meet(ranges, others):
                        after += _pairs(one, other, to, then, met)
        current, length = after, length + 1
    return (length if current else inf), work + len(met)


def _pairs(one: Automaton, other: Automaton, left: int, right: int, met: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs reached from this one without a character that were not met before, and note them."""
    if (left, right) in met:
        return []
    lefts, rights = one.reached([left]), other.reached([right])
    if len(lefts) * len(rights) > MOST_WORK:
        raise NotFollowed
    new_pairs = [pair for state in lefts for each in rights if (pair := (state, each)) not in met]
    met.update(new_pairs)
    return new_pairs


def _example(known: Sequence[Automaton], within: int, alphabet: str) -> tuple[str | None, int]:
    """Return a shortest text that the first `within` automata take and no other one does, and the work."""
    start = tuple(frozenset(one.reached([0])) for one in known)
    met, queue, work = {start}, deque([(start, "")]), 0
    while queue:
        states, text = queue.popleft()
        takes = [one.last in each for one, each in zip(known, states, strict=True)]
        if text and all(takes[:within]) and not any(takes[within:]):
            return text, work
        for char in alphabet:
            work += sum(map(len, states))
            if work > MOST_WORK:
                return None, work
            after = tuple(one.after(each, ord(char)) for one, each in zip(known, states, strict=True))
            if all(after[:within]) and after not in met:
                met.add(after)
                queue.append((after, text + char))
    return None, work


def _meet(one: Ranges, other: Ranges) -> bool:
    return any(low <= top and bottom <= high for low, high in one for bottom, top in other)


def _characters(kind: Any, argument: Any) -> Ranges | None:
    """Return the characters of a part that takes exactly one; None for other parts."""
    if kind is names.LITERAL:
        return ((argument, argument),)
    if kind is names.NOT_LITERAL:
        return _without([(argument, argument)])
    if kind is names.ANY:
        return ANY
    if kind is not names.IN:
        return None
    if argument[0][0] is names.NEGATE:
        return _without([each for item in argument[1:] for each in _ranges(*item, exactly=True)])
    return tuple(each for item in argument for each in _ranges(*item, exactly=False))


def _ranges(kind: Any, argument: Any, *, exactly: bool) -> Ranges:
    """Return the characters of one item of a class; `exactly`: none that only Python takes."""
    if kind is names.LITERAL:
        return ((argument, argument),)
    if kind is names.RANGE:
        return (tuple(argument),)
    if kind is not names.CATEGORY:
        raise NotFollowed
    if argument in NEGATED:
        return tuple(each for each in _without(CLASSES[NEGATED[argument]]) if not exactly or each[1] < BEYOND[0])
    beyond = () if exactly else ((11, 11), (28, 31), BEYOND)
    return (*CLASSES[argument], *beyond)


def _without(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return (*found, (start, LAST)) if start <= LAST else tuple(found)
