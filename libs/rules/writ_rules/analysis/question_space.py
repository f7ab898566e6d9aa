"""The space of an analysis: operations, targets and principals; and one concrete request of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field

from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_rules.engine.people import People, people_of


class QuestionSpace(Struct, frozen=True, eq=False, kw_only=True):
    """The installation under analysis.

    Without `targets` or `principals` (None), synthetic ones are derived from the policies, so that every rule can match
    some of them.
    """

    catalogue: Catalogue
    targets: tuple[Target, ...] | None = None
    principals: tuple[Principal, ...] | None = None

    def people(self) -> People:
        """Return the possible approvers."""
        return people_of(self.principals or ())


class Example(Struct, frozen=True, kw_only=True):
    """One concrete request, in the form of `writ policy eval`. `facts`: assumed facts of the target."""

    principal: str
    operation: str
    target: str
    parameters: Mapping[str, Any]
    at: str
    emergency: bool = False
    approvals: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def written(at: float) -> str:
    """Return an instant in the form of requests: ISO 8601, UTC."""
    text = datetime.fromtimestamp(at, UTC).isoformat()
    return text.replace("+00:00", "Z")
