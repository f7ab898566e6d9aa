"""Parameters of the control operations on sessions: a short-lived key of a principal, and its end."""

from typing import Annotated

from msgspec import Meta

from writ_contracts.ids import TOKEN_PATTERN, PublicKey
from writ_contracts.parameters import PUBLIC, Parameters, Timeout

SESSION_OPEN = "session_open"
FOR_OWN_KEY = (SESSION_OPEN, "principal_manage")
"""Operations by which a session could outlast its end: only the principal's own key requests them."""
LONGEST = 7 * 86_400
SHORTEST = 60


class SessionOpen(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session: for `seconds` from policy's decision `key` acts as the requester. `device`: the place of its private
    half, for people. Policy itself sets `idle`: the session ends after so many seconds without a message.
    """

    key: Annotated[PublicKey, PUBLIC]
    seconds: Annotated[int, Meta(ge=SHORTEST, le=LONGEST), PUBLIC]
    device: Annotated[Annotated[str, Meta(max_length=100)], PUBLIC] = ""
    idle: Annotated[Annotated[int, Meta(ge=0, le=LONGEST)], PUBLIC] = 0
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class SessionEnd(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session to end before its time."""

    session_id: Annotated[
        Annotated[str, Meta(pattern=TOKEN_PATTERN, description="the id of the session's request")], PUBLIC
    ]
    timeout: Annotated[Timeout, Meta(le=60)] = 30
