"""Indexes of clauses by ids, roles, tags, values, and prefixes, suffixes and parts of texts, so a request need not try
each clause.

An index only leaves out clauses certain to fail; the others are still judged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.checks import Check, PatternCheck, ValuesCheck, plain
from writ_rules.engine.clauses.checks import kind as kind_of
from writ_rules.engine.clauses.conditions import AttributeCondition, ParameterCondition
from writ_rules.engine.clauses.scopes import KindClause, PrincipalClause, TagClause, TargetClause, UserRoles
from writ_rules.engine.matching.literals import LONGEST, Beginning, folded, literals

Item = TypeVar("Item")
FEW = 8
"""Up to this number, judging clauses one by one is cheaper than an index."""
LONGEST_PART, LONGEST_SEARCHED = 16, 256
"""Characters of a part of a text that are used, and of a text whose parts are looked up; in a longer one every clause
with such a part is judged.
"""


class WordIndex(Struct, Generic[Item], frozen=True, eq=False):
    """Clauses which hold for any of some words; `words` returns those of a request."""

    words: Callable[[Case], Iterable[Any]]
    known: Mapping[Any, tuple[Item, ...]]

    def of(self, case: Case) -> Iterable[Item]:
        """Return the clauses which may hold."""
        groups = [self.known[word] for word in self.words(case) if word in self.known]
        return _once(groups)


class TextIndex(Struct, Generic[Item], frozen=True, eq=False):
    """Clauses requiring a whole text, a prefix, a suffix or a part; `text` returns the request's text or None."""

    text: Callable[[Case], str | None]
    whole: Mapping[str, tuple[Item, ...]]
    begun: tuple[tuple[int, Mapping[str, tuple[Item, ...]]], ...]
    ended: tuple[tuple[int, Mapping[str, tuple[Item, ...]]], ...]
    inside: tuple[tuple[int, Mapping[str, tuple[Item, ...]]], ...]
    every: tuple[Item, ...]

    def of(self, case: Case) -> Iterable[Item]:
        """Return the clauses which may hold."""
        text = self.text(case)
        if text is None:
            return self.every
        groups = [self.whole[text]] if text in self.whole else []
        for length, known in self.begun:
            if (items := known.get(text[:length])) is not None:
                groups.append(items)
        for length, known in self.ended:
            if (items := known.get(text[-length:])) is not None:
                groups.append(items)
        for length, known in self.inside:
            if len(text) > LONGEST_SEARCHED:
                groups += known.values()
                continue
            for at in range(len(text) - length + 1):
                if (items := known.get(text[at : at + length])) is not None:
                    groups.append(items)
        return _once(groups)


Index = WordIndex[Item] | TextIndex[Item]


def indexed(
    items: Sequence[Item], clause_of: Callable[[Item], Any], few: int = FEW
) -> tuple[tuple[Item, ...], tuple[Index[Item], ...]]:
    """Return the items whose clauses must each be judged, and indexes of the rest; no index of up to `few` of them."""
    kinds: dict[Any, list[Item]] = {}
    for item in items:
        kinds.setdefault(_kind(clause_of(item)), []).append(item)
    rest, indexes = list[Item](), list[Index[Item]]()
    for key, alike in kinds.items():
        made = _index(key, alike, clause_of) if key is not None and len(alike) > few else None
        if made is None:
            rest += alike
        else:
            indexes.append(made)
    return tuple(rest), tuple(indexes)


def _once(groups: list[tuple[Item, ...]]) -> Iterable[Item]:
    if len(groups) == 1:
        return groups[0]
    return dict.fromkeys(item for items in groups for item in items) if groups else ()


def _kind(clause: Any) -> Any:
    """Return the common key of clauses in one index; None for clauses which fit in none."""
    if isinstance(clause, PrincipalClause | UserRoles | KindClause | TagClause):
        return type(clause)
    if isinstance(clause, TargetClause):
        known = all(literals(glob.text) is not None for glob in clause.globs)
        return TargetClause if known else None
    if isinstance(clause, ParameterCondition) and clause.default is None:
        if any(isinstance(check, PatternCheck) and literals(check.pattern.text) is not None for check in clause.checks):
            return "text", clause.name
        if any(isinstance(check, PatternCheck) and folded(check.pattern.text) is not None for check in clause.checks):
            return "folded", clause.name
        if any(_lists(check) for check in clause.checks):
            return "values", clause.name
    if isinstance(clause, AttributeCondition) and any(_lists(check) for check in clause.checks):
        return "attribute", clause.name
    return None


def _lists(check: Check) -> bool:
    return isinstance(check, ValuesCheck) and check.clause == "allowed_values"


def _index(key: Any, alike: Sequence[Item], clause_of: Callable[[Item], Any]) -> Index[Item]:
    if key is TargetClause:
        return _by_text(lambda case: case.target, ((item, _targets(clause_of(item))) for item in alike), alike)
    if isinstance(key, tuple) and key[0] == "text":
        text = _Text(key[1])
        return _by_text(text, ((item, _begun(clause_of(item), literals)) for item in alike), alike)
    if isinstance(key, tuple) and key[0] == "folded":
        small = _SmallText(key[1])
        return _by_text(small, ((item, _begun(clause_of(item), folded)) for item in alike), alike)
    if isinstance(key, tuple):
        return WordIndex(_Plain(*key), _words((item, _values(clause_of(item))) for item in alike))
    return WordIndex(_WORDS[key][0], _words((item, _WORDS[key][1](clause_of(item))) for item in alike))


_WORDS: Mapping[Any, tuple[Callable[[Case], Iterable[Any]], Callable[[Any], Iterable[Any]]]] = {
    PrincipalClause: (lambda case: (case.who,), lambda clause: clause.ids),
    UserRoles: (lambda case: case.roles, lambda clause: clause.roles),
    KindClause: (lambda case: (case.request.principal.kind,), lambda clause: clause.kinds),
    TagClause: (lambda case: case.tags, lambda clause: clause.tags),
}


class _Text(Struct, frozen=True):
    """The text of a parameter; None for other values, on which a pattern can't be judged."""

    name: str

    def __call__(self, case: Case) -> str | None:
        value = case.effective.get(self.name)
        if not isinstance(value, str) or not (value.isascii() or _is_text(value)):
            return None
        return value


class _SmallText(Struct, frozen=True):
    """The text of a parameter in small letters; None for other values, and for text that is not ASCII."""

    name: str

    def __call__(self, case: Case) -> str | None:
        value = case.effective.get(self.name)
        return value.lower() if isinstance(value, str) and value.isascii() else None


class _Plain(Struct, frozen=True):
    """The scalar value of a parameter or an attribute. A value some clause may be unable to judge is ODD, or of an odd
    kind.
    """

    of: str
    name: str

    def __call__(self, case: Case) -> Iterator[Any]:
        known = case.effective if self.of == "values" else case.request.target.attributes
        value = known.get(self.name)
        if value is None or isinstance(value, list | dict):
            yield ODD
            return
        yield plain(value)
        yield (ODD, kind_of(value))


ODD = "odd"


def _values(clause: Any) -> Iterator[Any]:
    """Yield the values the clause permits, and those it can't judge: there it errs, so it may not be left out."""
    listed = next(check for check in clause.checks if isinstance(check, ValuesCheck) and _lists(check))
    yield from listed.values
    if isinstance(clause, ParameterCondition) or clause.deny:
        yield ODD
        kinds = frozenset() if listed.kinds is None else frozenset({"text", "number", "truth value"}) - listed.kinds
        yield from ((ODD, each) for each in kinds)


def _targets(clause: TargetClause) -> Iterator[Beginning]:
    yield from (Beginning(text, whole=True) for text in clause.ids)
    for glob in clause.globs:
        yield from literals(glob.text) or ()


def _begun(clause: ParameterCondition, known: Callable[[str], tuple[Beginning, ...] | None]) -> Iterator[Beginning]:
    patterns = (check.pattern.text for check in clause.checks if isinstance(check, PatternCheck))
    yield from next(prefixes for text in patterns if (prefixes := known(text)) is not None)


def _words(pairs: Iterable[tuple[Item, Iterable[Any]]]) -> dict[Any, tuple[Item, ...]]:
    by_word: dict[Any, list[Item]] = {}
    for item, words in pairs:
        for word in dict.fromkeys(words):
            by_word.setdefault(word, []).append(item)
    return {word: tuple(items) for word, items in by_word.items()}


def _by_text(
    text: Callable[[Case], str | None], pairs: Iterable[tuple[Item, Iterable[Beginning]]], every: Sequence[Item]
) -> TextIndex[Item]:
    pairs = [(item, tuple(dict.fromkeys(values))) for item, values in pairs]
    whole = _words((item, (one.text for one in values if one.whole)) for item, values in pairs)
    begun = [(item, one.text[:LONGEST]) for item, values in pairs for one in values if _is_prefix(one)]
    ended = [(item, one.text[-LONGEST:]) for item, values in pairs for one in values if one.end]
    parts = [(item, one.text[:LONGEST_PART]) for item, values in pairs for one in values if one.inside]
    return TextIndex(text, whole, _by_length(begun), _by_length(ended), _by_length(parts), tuple(every))


def _is_prefix(one: Beginning) -> bool:
    return not (one.whole or one.end or one.inside)


def _by_length(pairs: Iterable[tuple[Item, str]]) -> tuple[tuple[int, Mapping[str, tuple[Item, ...]]], ...]:
    known: dict[int, list[tuple[Item, tuple[str]]]] = {}
    for item, text in pairs:
        known.setdefault(len(text), []).append((item, (text,)))
    return tuple((length, _words(alike)) for length, alike in sorted(known.items()))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
