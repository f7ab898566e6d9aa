"""The query for sessions (`….sessions`), answered by policy."""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.extensible import Extensible
from writ_contracts.ids import OperationId, PrincipalId
from writ_contracts.people.credentials import Proof
from writ_contracts.requests import Failure

MOST_SESSIONS = 500


class SessionsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The open sessions of oneself and of the agents that act for oneself; with `everybody` all of them, for which one
    needs `audit_read`. `after`: the `last` of the page before.
    """

    everybody: bool = False
    after: Annotated[str, Meta(max_length=128)] = ""


class SessionView(Struct, frozen=True, kw_only=True):
    """An open session. `method`: what the person proved when they opened it. `here`: this query came by its key."""

    id: OperationId
    principal: PrincipalId
    method: Extensible[Proof]
    device: Annotated[str, Meta(max_length=100)] = ""
    since: float
    until: float
    idle: int = 0
    """Seconds without a message after which it ends."""
    here: bool = False


class SessionsReply(Struct, frozen=True, kw_only=True):
    """The sessions, newest first. `more`: how many are not listed; query again `after` the `last`."""

    sessions: list[SessionView] = field(default_factory=list)
    more: int = 0
    last: str = ""
    error: Failure | None = None
