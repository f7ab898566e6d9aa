"""Sessions: short-lived keys of one's own."""

from functools import partial

from msgspec import structs

from writ_bus.port import Bus
from writ_client.operations.operation_wait import RecordedRequest
from writ_client.operations.runs_operations import RunsOperations
from writ_client.people.approvals import Signer
from writ_client.queries.service_calls import further_pages, request_reply
from writ_contracts import subjects
from writ_contracts.failures import raise_for
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.people.sessions import SessionsQuery, SessionsReply
from writ_contracts.requests import RequestReply

ENDED_WITHIN = 60.0
QUERY_SECONDS = 20.0


class Sessions:
    """`writ.sessions`: opens sessions, lists and ends them."""

    def __init__(self, writ: RunsOperations, bus: Bus, principal: str) -> None:
        self._writ = writ
        self._bus = bus
        self._principal = principal

    async def open(self, key: str, *, seconds: int, device: str = "", by: Signer | None = None) -> RecordedRequest:
        """Let this public key act as oneself for `seconds`. The session gets the id of this operation.

        One's own key has to sign it: a session opens no other. `by`: also prove one's presence, which the session is
        then known by. Raises the errors of `writ_contracts.errors`.
        """
        expected = {"key": key, "seconds": seconds, **({"device": device} if device else {})}
        return await self._writ.request("session_open", WRIT_TARGET, expected, wait=ENDED_WITHIN, by=by)

    async def end(self, session_id: str, *, reason: str = "") -> RecordedRequest:
        """End a session before its time: one's own, that of an agent that acts for oneself, or another's by a rule."""
        expected = {"session_id": session_id}
        return await self._writ.request("session_end", WRIT_TARGET, expected, reason=reason, wait=ENDED_WITHIN)

    async def submit_end(self, session_id: str, *, reason: str = "") -> RequestReply:
        """End the very session by whose key one is connected: its outcome can no longer be received."""
        return await self._writ.submit("session_end", WRIT_TARGET, {"session_id": session_id}, reason=reason)

    async def open_ones(self, *, everybody: bool = False) -> SessionsReply:
        """Return one's own open sessions, or those of everybody. Raises Denied."""
        found = await self._page("", everybody=everybody)
        async for page in further_pages(found, partial(self._page, everybody=everybody)):
            found = structs.replace(found, sessions=found.sessions + page.sessions)
        return structs.replace(found, more=0, last="")

    async def _page(self, after: str, *, everybody: bool) -> SessionsReply:
        answer: SessionsReply = await request_reply(
            self._bus,
            subjects.query(self._principal, "sessions"),
            SessionsQuery(everybody=everybody, after=after),
            SessionsReply,
            timeout=QUERY_SECONDS,
        )
        raise_for(answer)
        return answer
