"""One request as the clauses of rules see it, and how it shows its values without giving secrets away."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Operation

SECRET = "‹secret›"
ABSENT = "nothing"
SHOWN = 160


class Request(Struct, frozen=True, kw_only=True):
    """What is to be decided. `given` are the caller's own parameters, `effective` the same with the catalogue's
    defaults, checked. `own`: a control operation on what is the principal's own. `at`: Unix seconds.
    """

    operation: Operation
    target: Target
    principal: Principal
    given: Mapping[str, Any]
    effective: Mapping[str, Any]
    at: float
    dry_run: bool = False
    own: bool = False


class Case:
    """A request made ready for many rules; made anew for each decision."""

    __slots__ = (
        "_local",
        "_shown",
        "answers",
        "at",
        "effective",
        "given",
        "public",
        "request",
        "roles",
        "tags",
        "target",
        "who",
    )

    def __init__(self, request: Request, public: frozenset[str]) -> None:
        self.request = request
        self.given = request.given
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

    def value(self, parameter: str, default: Any) -> Any:
        """The caller's value, else the rule's default, else the catalogue's, else None."""
        if default is None or parameter in self.given:
            return self.effective.get(parameter)
        return default

    def show(self, parameter: str, value: Any) -> str:
        """The value for people, cut; never that of a parameter that is not public."""
        if value is None:
            return ABSENT
        if parameter not in self.public:
            return SECRET
        if parameter in self.given and parameter in self._shown:
            return self._shown[parameter]
        text = self._shown[parameter] = show(value)
        return text

    def local(self, zone: ZoneInfo) -> datetime:
        """The wall clock of a zone."""
        if zone not in self._local:
            self._local[zone] = datetime.fromtimestamp(self.at, zone)
        return self._local[zone]


def show(value: Any) -> str:
    """Any value as JSON, printable and short."""
    text = msgspec.json.encode(value, order="sorted").decode()
    text = text if text.isprintable() else text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
