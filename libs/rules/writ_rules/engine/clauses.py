"""What a rule's scope asks of a request, one small struct per kind of question; `miss` answers None when it is so.

Clauses of scope (who, which target, when the rule is in effect) never err; conditions may, see `conditions`.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from writ_rules.engine.case import ABSENT, Case
from writ_rules.engine.patterns import Pattern
from writ_rules.engine.times import UTC_ZONE, when_text


class Miss(Struct, frozen=True, gc=False):
    """A clause that does not hold, with both values; `erred` when nobody can tell, `need` what list would help."""

    clause: str
    wanted: str
    got: str
    erred: bool = False
    need: str = ""


class Clause(Protocol):
    """One question."""

    def miss(self, case: Case) -> Miss | None:
        """None when the request is as the clause wants it."""


class InEffect(Struct, frozen=True):
    """The rule is within its own time: from `since` to before `until`, Unix seconds."""

    since: float
    until: float
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """Outside its time a rule is as if absent."""
        if self.since <= case.at < self.until:
            return None
        return Miss("effective", self.wanted, when_text(case.local(UTC_ZONE)))


class Users(Struct, frozen=True):
    """The principal is one of these."""

    ids: frozenset[str]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """By id."""
        return None if case.who in self.ids else Miss("users", self.wanted, case.who)


class UserRoles(Struct, frozen=True):
    """The principal has one of these roles."""

    roles: frozenset[str]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """Any of them."""
        if self.roles.isdisjoint(case.roles):
            return Miss("user_roles", self.wanted, ", ".join(case.request.principal.roles) or ABSENT)
        return None


class Kinds(Struct, frozen=True):
    """The principal is a human, an agent or a service."""

    kinds: frozenset[str]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """By kind."""
        kind = case.request.principal.kind
        return None if kind in self.kinds else Miss("principal_kinds", self.wanted, kind)


class Targets(Struct, frozen=True):
    """The target's id is one of these or matches one of the globs."""

    ids: frozenset[str]
    globs: tuple[Pattern, ...]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """By id."""
        if case.target in self.ids or any(glob.covers(case.target) for glob in self.globs):
            return None
        return Miss("targets", self.wanted, case.target)


class Tags(Struct, frozen=True):
    """The target has one of these tags."""

    tags: frozenset[str]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """Any of them."""
        if self.tags.isdisjoint(case.tags):
            return Miss("target_tags", self.wanted, ", ".join(case.request.target.tags) or ABSENT)
        return None


def listed(items: Iterable[str]) -> str:
    """The wanted values of a clause, for people."""
    text = ", ".join(sorted(items))
    return text if len(text) <= 160 else text[:159] + "…"
