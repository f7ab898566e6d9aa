"""What a rule asks of a request, one small struct per kind of question; `miss` answers None when it is so.

Clauses of scope (who, which target, when the rule is in effect) never err. A condition that can't be judged errs, and
a rule that errs denies.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from msgspec import Struct

from writ_policy.engine.case import ABSENT, SECRET, Case
from writ_policy.engine.checks import Check, Unanswerable
from writ_policy.engine.patterns import Pattern
from writ_policy.engine.times import Window, when_text, zone


class Miss(Struct, frozen=True):
    """A clause that does not hold, with both values; `erred` when nobody can tell."""

    clause: str
    wanted: str
    got: str
    erred: bool = False


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
        return Miss("effective", self.wanted, when_text(case.local(zone("UTC"))))


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


class Times(Struct, frozen=True, eq=False):
    """One of the windows is open."""

    windows: tuple[Window, ...]
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """Each window by the wall clock of its own zone."""
        for window in self.windows:
            if window.holds(case.local(window.zone)):
                return None
        now = case.local(self.windows[0].zone)
        return Miss("time_restrictions", self.wanted, when_text(now))

    def opens(self, at: float) -> str:
        """When the first of them opens after `at`, for people; empty if that is not in sight."""
        openings = [moment for window in self.windows if (moment := window.opens(at)) is not None]
        return when_text(min(openings)) if openings else ""


class Parameter(Struct, frozen=True, eq=False):
    """One parameter's constraint, judged on the caller's value, else `default`, else the catalogue's default."""

    name: str
    default: Any
    required: bool
    checks: tuple[Check, ...]

    def miss(self, case: Case) -> Miss | None:
        """The first check that fails; an absent parameter fails `required` and nothing else."""
        value = case.value(self.name, self.default)
        if value is None:
            return Miss(f"{self.name}.required", "a value", ABSENT) if self.required else None
        erred = None
        for check in self.checks:
            try:
                if not check.holds(value):
                    return Miss(f"{self.name}.{check.clause}", self._wanted(case, check), case.show(self.name, value))
            except Unanswerable as error:  # another check may still fail for certain
                erred = Miss(f"{self.name}.{check.clause}", self._wanted(case, check), str(error), erred=True)
        return erred

    def _wanted(self, case: Case, check: Check) -> str:
        return check.wanted if self.name in case.public or not check.tells else SECRET


class Unevaluated(Struct, frozen=True, eq=False):
    """Something that the rule says and that nobody evaluates yet: it errs, so that it is never passed over."""

    clause: str
    wanted: str

    def miss(self, case: Case) -> Miss | None:
        """Always."""
        return Miss(self.clause, self.wanted, "cannot be evaluated by this version", erred=True)


def listed(items: Iterable[str]) -> str:
    """The wanted values of a clause, for people."""
    text = ", ".join(sorted(items))
    return text if len(text) <= 160 else text[:159] + "…"
