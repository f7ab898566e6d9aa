"""One rule against one request: whether it matches, and if not, the first clause that fails."""

from msgspec import Struct

from writ_policy.engine.case import Case
from writ_policy.engine.clauses import Miss
from writ_policy.engine.rules import Rule


class Judged(Struct, frozen=True, eq=False):
    """`miss` None: the rule matches. `covers`: its scope does. `depth`: how many clauses held before."""

    rule: Rule
    miss: Miss | None
    covers: bool
    depth: int


def judge(rule: Rule, operation: str, case: Case) -> Judged:
    """One rule. What fails for certain outweighs what can't be judged."""
    depth = 0
    for clause in rule.scope:
        miss = clause.miss(case)
        if miss is not None:
            return Judged(rule, miss, False, depth)
        depth += 1
    erred: Miss | None = None
    for clause in rule.conditions[operation]:
        miss = clause.miss(case)
        if miss is None:
            depth += 1
        elif miss.erred:
            erred = erred or miss
        else:
            return Judged(rule, miss, True, depth)
    return Judged(rule, erred, True, depth)
