"""The rules of one section as a tree of their clauses: rules with the same first clauses share a branch.

A clause is judged once for all rules below it, and an index selects the branches that can hold. The cost of a decision
therefore depends on the number of nearly matching rules, not on their total number. A section with few rules has no
tree: they are judged one by one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.scopes import (
    Clause,
    ClauseMiss,
    EffectClause,
    KindClause,
    PrincipalClause,
    TagClause,
    TargetClause,
    UserRoles,
)
from writ_rules.engine.matching.index import FEW, Index, indexed
from writ_rules.engine.matching.judge import JudgedRule, cached_miss, erring, judge, judge_of_all
from writ_rules.engine.rules.rule import Rule

PEOPLE, SCOPE, CONDITION = range(3)


class RuleList(Struct, frozen=True, eq=False):
    """Rules judged one by one."""

    rules: tuple[Rule, ...]


class Branch(Struct, frozen=True, eq=False):
    """The rules with `clause` next. `allow`: the first allowing one by name."""

    clause: Clause
    step: int
    then: "ClauseNode | RuleList"
    allow: Rule | None


class ClauseNode(Struct, frozen=True, eq=False):
    """The state in which all clauses before hold, or can't be judged. `ends` are the rules without further clauses.

    `covers`, `limits`: some rule, some allow rule, has the end of its scope here. `near`: the branches with allowing
    rules, by step and then by name.
    """

    ends: tuple[Rule, ...]
    rest: tuple[Branch, ...]
    indexes: tuple[Index[Branch], ...]
    covers: bool
    limits: bool
    near: tuple[tuple[Branch, ...], ...]


NO_RULES = RuleList(())


def grown(rules: Iterable[Rule], operation: str) -> ClauseNode | RuleList:
    """Return the tree of these rules."""
    return _grown([(rule, clauses_of(rule, operation)) for rule in rules], 0)


def clauses_of(rule: Rule, operation: str) -> tuple[Clause, ...]:
    """Return the clauses in the order of judgement."""
    return (*rule.people, *rule.scope, *rule.conditions[operation])


def _grown(entries: Sequence[tuple[Rule, tuple[Clause, ...]]], at: int) -> ClauseNode | RuleList:
    if len(entries) <= FEW:
        return RuleList(tuple(rule for rule, _ in entries))
    ends, below = list[Rule](), dict[Clause, list[tuple[Rule, tuple[Clause, ...]]]]()
    for rule, clauses in entries:
        if len(clauses) == at:
            ends.append(rule)
        else:
            below.setdefault(clauses[at], []).append((rule, clauses))
    branches = [_branch(clause, some, at) for clause, some in below.items()]
    rest, indexes = indexed(branches, lambda branch: branch.clause)
    scoped = [*ends, *(rule for clause, some in below.items() if _step(clause) == CONDITION for rule, _ in some)]
    return ClauseNode(
        ends=tuple(ends),
        rest=rest,
        indexes=indexes,
        covers=bool(scoped),
        limits=any(rule.effect != "deny" for rule in scoped),
        near=tuple(_near(branches, step) for step in (PEOPLE, SCOPE, CONDITION)),
    )


def _branch(clause: Clause, entries: Sequence[tuple[Rule, tuple[Clause, ...]]], at: int) -> Branch:
    allow = min((rule for rule, _ in entries if rule.effect != "deny"), key=_name, default=None)
    return Branch(clause, _step(clause), _grown(entries, at + 1), allow)


def _near(branches: Iterable[Branch], step: int) -> tuple[Branch, ...]:
    with_allow = [(one.allow.name, one) for one in branches if one.step == step and one.allow is not None]
    return tuple(one for _, one in sorted(with_allow, key=lambda pair: pair[0]))


def _name(rule: Rule) -> str:
    return rule.name


def _step(clause: Clause) -> int:
    if isinstance(clause, PrincipalClause | UserRoles | KindClause):
        return PEOPLE
    return SCOPE if isinstance(clause, EffectClause | TargetClause | TagClause) else CONDITION


class TreeMatches:
    """The results of a section's trees for one request; filled while they are walked.

    `covers`, `limits`: some rule, some allow rule, has the request in its scope. `obliging`: allow rules on names which
    bring their demands and limits to a request on all things, and grant nothing; found among `rules`.
    """

    __slots__ = ("_case", "_operation", "_trees", "covers", "erring", "limits", "matching", "obliging")

    def __init__(
        self, trees: Sequence[ClauseNode | RuleList], operation: str, case: Case, rules: Iterable[Rule] = ()
    ) -> None:
        self.matching: list[Rule] = []
        self.obliging: list[Rule] = []
        self.erring: list[JudgedRule] = []
        self.covers = self.limits = False
        self._trees, self._operation, self._case = trees, operation, case
        for tree in trees:
            self._walk(tree, ())
        every = case.request.operation.all_without
        if every and case.effective.get(every) is None:
            self._oblige(rule for rule in rules if operation in rule.of_all)

    def _oblige(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            judged = judge_of_all(rule, self._operation, self._case)
            if judged.miss is None:
                self.obliging.append(rule)
            elif judged.miss.erred:
                self.erring.append(judged)

    def _walk(self, tree: ClauseNode | RuleList, erred: tuple[ClauseMiss, ...]) -> None:
        if isinstance(tree, RuleList):
            for rule in tree.rules:
                self._judge(rule)
            return
        self.covers = self.covers or tree.covers
        self.limits = self.limits or tree.limits
        if erred:
            self.erring += [erring(rule, erred) for rule in tree.ends]
        else:
            self.matching += tree.ends
        for branch in _reached(tree, self._case):
            miss = self._test(branch)
            if miss is None:
                self._walk(branch.then, erred)
            elif miss.erred:
                self._walk(branch.then, (*erred, miss))

    def _judge(self, rule: Rule) -> None:
        judged = judge(rule, self._operation, self._case)
        if judged.covers:
            self.covers = True
            self.limits = self.limits or not judged.denies
        if judged.miss is None:
            self.matching.append(rule)
        elif judged.miss.erred:
            self.erring.append(judged)

    def _test(self, branch: Branch) -> ClauseMiss | None:
        case = self._case
        return cached_miss(branch.clause, case) if branch.step == CONDITION else branch.clause.miss(case)

    def nearest(self) -> JudgedRule | None:
        best = min((miss for tree in self._trees for miss in self._misses(tree, 1)), key=_nearness, default=None)
        return None if best is None else judge(best[1], self._operation, self._case)

    def _misses(self, tree: ClauseNode | RuleList, depth: int) -> Iterator[tuple[tuple[bool, int], Rule]]:
        """Yield the nearest rule below each node, with its nearness; `depth`: the number of clauses held before."""
        if isinstance(tree, RuleList):
            judged = [judge(rule, self._operation, self._case) for rule in tree.rules if rule.effect != "deny"]
            yield from (((not one.covers, -one.depth), one.rule) for one in judged if one.miss is not None)
            return
        entered = set[Branch]()
        for branch in _reached(tree, self._case):
            miss = self._test(branch)
            if miss is None or miss.erred:
                entered.add(branch)
                yield from self._misses(branch.then, depth + (miss is None and branch.step != PEOPLE))
        for step, branches in enumerate(tree.near):
            closed = next((one.allow for one in branches if one not in entered), None)
            if closed is not None:
                yield (step != CONDITION, 0 if step == PEOPLE else -depth), closed


def _reached(node: ClauseNode, case: Case) -> Iterator[Branch]:
    """Yield the branches whose clause may hold."""
    yield from node.rest
    for index in node.indexes:
        yield from index.of(case)


def _nearness(ranked: tuple[tuple[bool, int], Rule]) -> tuple[tuple[bool, int], str]:
    return ranked[0], ranked[1].name


class Trees(Struct, frozen=True, eq=False):
    """The trees of a policy. Rules for any role are in a tree of their own (role ""), so they are stored once."""

    ordinary: Mapping[tuple[str, str], ClauseNode | RuleList]
    gateway: Mapping[str, ClauseNode | RuleList]
    emergency: Mapping[tuple[str, str], ClauseNode | RuleList]

    def own(self, operation: str, role: str) -> tuple[ClauseNode | RuleList, ...]:
        """Return the trees for targets of the role, outside emergencies."""
        return _pair(self.ordinary, operation, role)

    def urgent(self, operation: str, role: str) -> tuple[ClauseNode | RuleList, ...]:
        return _pair(self.emergency, operation, role)

    def inherited(self, operation: str) -> tuple[ClauseNode | RuleList, ...]:
        """Return the trees of the rules binding targets behind a gateway."""
        return (self.gateway.get(operation, NO_RULES),)


def trees(ordinary: Iterable[Rule], inherited: Mapping[str, Iterable[Rule]], emergency: Iterable[Rule]) -> Trees:
    """Return the trees of a policy's rules."""
    gateway = {operation: grown(some, operation) for operation, some in inherited.items()}
    return Trees(_by_role(ordinary), gateway, _by_role(emergency))


def _by_role(rules: Iterable[Rule]) -> dict[tuple[str, str], ClauseNode | RuleList]:
    by_role: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for operation in rule.operations:
            for role in ("",) if rule.roles is None else rule.roles:
                by_role.setdefault((operation, role), []).append(rule)
    return {place: grown(some, place[0]) for place, some in by_role.items()}


def _pair(
    known: Mapping[tuple[str, str], ClauseNode | RuleList], operation: str, role: str
) -> tuple[ClauseNode | RuleList, ...]:
    return tuple(tree for key in ((operation, role), (operation, "")) if (tree := known.get(key)) is not None)
