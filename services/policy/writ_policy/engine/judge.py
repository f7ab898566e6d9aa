"""One rule against one request: whether it matches, and if not, the first clause that fails.

Which rules are about a principal at all does not change from request to request, so that is kept: a shortlist.
"""

from collections.abc import Sequence

from msgspec import Struct

from writ_contracts.decisions import TraceEntry
from writ_policy.engine.case import Case
from writ_policy.engine.clauses import Clause, Miss
from writ_policy.engine.rules import Rule

MOST_SHORTLISTS = 4096


class Judged(Struct, frozen=True, eq=False):
    """`miss` None: the rule matches. `covers`: its scope does. `depth`: how many clauses held before."""

    rule: Rule
    miss: Miss | None
    covers: bool
    depth: int


class Shortlist(Struct, frozen=True, eq=False):
    """Of some rules, those that are about a principal, and the others, already judged and told."""

    rules: tuple[Rule, ...]
    others: tuple[Judged, ...]
    told: tuple[TraceEntry, ...]


class Shortlists:
    """Of one policy, as they are wanted; a memory, never a decision: they say nothing of parameters or time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], Shortlist] = {}

    def of(self, place: tuple[str, str], rules: Sequence[Rule], section: str, case: Case) -> Shortlist:
        """The shortlist of the rules at a place of the index, for the principal of this case."""
        principal = case.request.principal
        key = (place, case.who, principal.kind, *principal.roles)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_SHORTLISTS:
                self._kept.clear()
            found = self._kept[key] = _shortlist(rules, section, case)
        return found


def _shortlist(rules: Sequence[Rule], section: str, case: Case) -> Shortlist:
    about = [(rule, _first_miss(rule.people, case)) for rule in rules]
    others = tuple(Judged(rule, miss, False, 0) for rule, miss in about if miss is not None)
    told = tuple(tell(each, section) for each in others)
    return Shortlist(tuple(rule for rule, miss in about if miss is None), others, told)


def _first_miss(clauses: Sequence[Clause], case: Case) -> Miss | None:
    return next((miss for clause in clauses if (miss := clause.miss(case)) is not None), None)


def judge(rule: Rule, operation: str, case: Case) -> Judged:
    """A rule that is about the principal. What fails for certain outweighs what can't be judged."""
    depth = 1
    for clause in rule.scope:
        miss = clause.miss(case)
        if miss is not None:
            return Judged(rule, miss, False, depth)
        depth += 1
    erred: Miss | None = None
    for clause in rule.conditions[operation]:
        # Rules that ask the same share the clause, and its answer for this request.
        miss = case.answers[clause] if clause in case.answers else case.answers.setdefault(clause, clause.miss(case))
        if miss is None:
            depth += 1
        elif miss.erred:
            erred = erred or miss
        else:
            return Judged(rule, miss, True, depth)
    return Judged(rule, erred, True, depth)


def tell(judged: Judged, section: str) -> TraceEntry:
    """What the trace says of it; `section` overrides the rule's own."""
    rule, miss = judged.rule, judged.miss
    section = section or rule.section
    if miss is None:
        return TraceEntry(rule=rule.name, section=section, effect=rule.effect, matched=True)
    return TraceEntry(
        rule=rule.name,
        section=section,
        effect=rule.effect,
        matched=False,
        clause=miss.clause,
        wanted=miss.wanted,
        got=miss.got,
    )
