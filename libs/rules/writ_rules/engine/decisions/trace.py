"""The trace of a decision: an entry for each considered rule, made only as far as it is read."""

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct

from writ_contracts.decisions import TraceEntry
from writ_rules.engine.clauses.case import Case
from writ_rules.engine.matching.judge import JudgedRule, judge, overridden_by_emergency, sources, trace_step
from writ_rules.engine.matching.tree import TreeMatches
from writ_rules.engine.rules.rule import Rule

OBLIGES = "allows nothing here; its demands and limits hold"


class TraceSection(Struct, frozen=True, eq=False):
    """The rules of one section, by name, with their result; `section` where it isn't the rules' own."""

    rules: Sequence[Rule]
    found: TreeMatches
    section: str = ""


class RuleTrace:
    """First the matching rules, then the erring ones, then the others; each by name.

    `lifted`: an emergency's allow cancels others.
    """

    __slots__ = ("_case", "_lifted", "_parts")

    def __init__(self, parts: Sequence[TraceSection] = (), case: Case | None = None, *, lifted: bool = False) -> None:
        self._parts, self._case, self._lifted = [part for part in parts if part.rules], case, lifted

    def __len__(self) -> int:
        return sum(len(part.rules) for part in self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RuleTrace) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Trace({list(self)!r})"

    def first(self, most: int) -> list[TraceEntry]:
        return list(islice(self, most))

    def __iter__(self) -> Iterator[TraceEntry]:
        if self._case is None:
            return
        for part in self._parts:
            yield from (self._step(JudgedRule(rule), part) for rule in sorted(part.found.matching, key=_name))
        for part in self._parts:
            yield from (self._step(one, part) for one in sorted(part.found.erring, key=lambda one: one.rule.name))
        operation = self._case.request.operation.name
        for part in self._parts:
            known = {*part.found.matching, *(one.rule for one in part.found.erring)}
            rest = (rule for rule in part.rules if rule not in known)
            yield from (self._step(judge(rule, operation, self._case), part) for rule in rest)

    def _step(self, judged: JudgedRule, part: TraceSection) -> TraceEntry:
        """Return the entry of a rule, with the facts it used and a note if the emergency cancelled it."""
        rule, notes = judged.rule, list[str]()
        if rule.asks_facts and self._case is not None and (judged.covers or judged.depth):
            notes += sources(rule, self._case.request.operation.name, self._case)
        if self._lifted and overridden_by_emergency(judged) and (judged.miss is None or judged.miss.erred):
            notes.append("set aside by the emergency")
        if rule in part.found.obliging:
            aside = self._lifted and not rule.emergency
            notes.append("set aside by the emergency" if aside else OBLIGES)
        return trace_step(judged, part.section, "; ".join(notes)[:120])


def _name(rule: Rule) -> str:
    return rule.name
