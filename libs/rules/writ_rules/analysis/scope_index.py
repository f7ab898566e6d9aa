"""The results of many clauses for one target, principal or value, and the rules whose scope covers it.

An index leaves out the clauses that are certain to fail: of 1,000 rules about one may cover a target.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.matching.index import indexed
from writ_rules.engine.rules.rule import Rule

AnyClause = TypeVar("AnyClause")
Item = TypeVar("Item")
Results = Mapping[AnyClause, bool | None]
"""Clauses that hold (true) or cannot be judged (None); those that fail are absent."""


class ClauseResults(Generic[AnyClause]):
    """Clauses to be judged for many cases, so that an index of a single one is worth while."""

    def __init__(self, clauses: Iterable[AnyClause]) -> None:
        self._judged, self._indexes = indexed(tuple(dict.fromkeys(clauses)), lambda clause: clause, few=0)

    def of(self, case: Case) -> dict[AnyClause, bool | None]:
        """Return the results of the clauses that don't fail. Two cases with equal results are the same to all."""
        may_hold = chain(self._judged, *(index.of(case) for index in self._indexes))
        held = ((clause, holds(clause, case)) for clause in may_hold)
        return {clause: result for clause, result in held if result is not False}


class CoveringRules(Generic[Item]):
    """Rules by the clauses of their scope, or of the part of it that `clauses_of` returns."""

    def __init__(self, rules: Iterable[Item], clauses_of: Callable[[Item], Sequence[Any]]) -> None:
        self._always: list[Item] = []
        self._by_first: dict[Any, list[tuple[Item, Sequence[Any]]]] = {}
        for rule in rules:
            first, *rest = clauses_of(rule) or (None,)
            if first is None:
                self._always.append(rule)
            else:
                self._by_first.setdefault(first, []).append((rule, rest))

    def among(self, results: Results[Any]) -> set[Item]:
        """Return the rules all of whose clauses hold."""
        return {*self._always, *self._holding(results)}

    def any_among(self, results: Results[Any]) -> bool:
        """Return whether there is such a rule."""
        return bool(self._always) or any(True for _ in self._holding(results))

    def _holding(self, results: Results[Any]) -> Iterator[Item]:
        for clause in results:
            for rule, rest in self._by_first.get(clause, ()):
                if results[clause] and all(results.get(one) for one in rest):
                    yield rule


def timeless(rule: Rule) -> list[Any]:
    """Return the clauses of a rule's scope about the target, without the time it is in effect."""
    return [clause for clause in rule.scope if not isinstance(clause, EffectClause)]


def holds(clause: Any, case: Case) -> bool | None:
    """Return whether the clause holds; None if it cannot be judged."""
    miss = clause.miss(case)
    return True if miss is None else None if miss.erred else False
