"""One request as the clauses of rules read it, with its values in a form without secrets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Operation
from writ_contracts.people.credentials import Presence
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.policy_file.times import wall_clock

SECRET = "‹secret›"
ABSENT = "nothing"
SHOWN = 160


class DecisionRequest(Struct, frozen=True, kw_only=True):
    """The request to decide, `at` Unix seconds.

    `parameters` are the caller's own, `effective` the same with the catalogue's defaults, checked. `own`: a
    control operation on something of the principal's own. `approvals`: the approvers so far, in order. `proven`: the
    presence each of them proved; `presence`: the one proved by the requester; None in an analysis, where each counts as
    proved. `emergency`: true if one for the target is in force; None: as in the control state. `person`: the person
    behind the principal (`writ_contracts.people.persons`), if known.
    """

    operation: Operation
    target: Target
    principal: Principal
    parameters: Mapping[str, Any]
    effective: Mapping[str, Any]
    at: float
    dry_run: bool = False
    own: bool = False
    approvals: tuple[str, ...] = ()
    proven: Mapping[str, Presence] | None = None
    presence: Presence | None = None
    emergency: bool | None = None
    person: str = ""

    @property
    def behind(self) -> str:
        """Return the person behind the principal."""
        return self.person or self.principal.person or self.principal.acts_for or self.principal.id


class Case:
    """A request prepared for many rules; one for each decision."""

    __slots__ = (
        "_local",
        "_shown",
        "answers",
        "at",
        "effective",
        "facts",
        "parameters",
        "public",
        "request",
        "roles",
        "tags",
        "target",
        "who",
    )

    def __init__(self, request: DecisionRequest, public: frozenset[str], facts: Facts = NO_FACTS) -> None:
        self.request = request
        self.facts = facts
        self.parameters = request.parameters
        self.effective = request.effective
        self.public = public
        self.at = request.at
        self.who = request.principal.id
        self.roles = frozenset(request.principal.roles)
        self.target = request.target.id
        self.tags = frozenset(request.target.tags)
        self.answers: dict[Any, Any] = {}
        self._shown: dict[str, str] = {}
        self._local: dict[ZoneInfo, datetime] = {}

    def show(self, parameter: str, value: Any) -> str:
        """Return the value for people, cut; never that of a sensitive or secret parameter."""
        if value is None:
            return ABSENT
        if parameter not in self.public:
            return SECRET
        if parameter in self.parameters and parameter in self._shown:
            return self._shown[parameter]
        text = self._shown[parameter] = show(value)
        return text

    def local(self, zone: ZoneInfo) -> datetime:
        """Return the wall clock of a zone."""
        if zone not in self._local:
            self._local[zone] = wall_clock(self.at, zone)
        return self._local[zone]


def show(value: Any) -> str:
    """Return any value as JSON, printable and short."""
    text = msgspec.json.encode(value, order="sorted").decode()
    text = text if text.isprintable() else text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
