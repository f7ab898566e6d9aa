"""Clauses of a rule's scope, one small struct for each kind; `miss` returns None when the clause holds.

Clauses of scope (principal, target, time in effect) never err; conditions may, see `conditions`.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from writ_rules.engine.clauses.case import ABSENT, Case
from writ_rules.engine.clauses.patterns import Glob, Pattern
from writ_rules.engine.policy_file.times import UTC_ZONE, when_text


class ClauseMiss(Struct, frozen=True, gc=False):
    """A clause which does not hold, with both values; `erred` when it can't be judged, `need` the missing list."""

    clause: str
    expected: str
    got: str
    erred: bool = False
    need: str = ""


class Clause(Protocol):
    """One clause of a scope."""

    def miss(self, case: Case) -> ClauseMiss | None:
        """Return None when the clause holds for the request."""


class EffectClause(Struct, frozen=True):
    """The rule is within its own time: from `since` to before `until`, Unix seconds."""

    since: float
    until: float
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        """Return a miss outside this time: the rule then counts as absent."""
        if self.since <= case.at < self.until:
            return None
        return ClauseMiss("effective", self.expected, when_text(case.local(UTC_ZONE)))


class PrincipalClause(Struct, frozen=True):
    """The principal is one of these."""

    ids: frozenset[str]
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        return None if case.who in self.ids else ClauseMiss("users", self.expected, case.who)


class UserRoles(Struct, frozen=True):
    """The principal has one of these roles."""

    roles: frozenset[str]
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        if self.roles.isdisjoint(case.roles):
            return ClauseMiss("user_roles", self.expected, ", ".join(case.request.principal.roles) or ABSENT)
        return None


class KindClause(Struct, frozen=True):
    """The principal is of one of these kinds: human, agent, service."""

    kinds: frozenset[str]
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        kind = case.request.principal.kind
        return None if kind in self.kinds else ClauseMiss("principal_kinds", self.expected, kind)


class TargetClause(Struct, frozen=True):
    """The target's id is one of these or matches one of the globs."""

    ids: frozenset[str]
    globs: tuple[Glob | Pattern, ...]
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        if case.target in self.ids or any(glob.covers(case.target) for glob in self.globs):
            return None
        return ClauseMiss("targets", self.expected, case.target)


class TagClause(Struct, frozen=True):
    """The target has one of these tags."""

    tags: frozenset[str]
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        if self.tags.isdisjoint(case.tags):
            return ClauseMiss("target_tags", self.expected, ", ".join(case.request.target.tags) or ABSENT)
        return None


def listed(items: Iterable[str]) -> str:
    """Return the values of a clause for people, cut."""
    text = ", ".join(sorted(items))
    return text if len(text) <= 160 else text[:159] + "…"
