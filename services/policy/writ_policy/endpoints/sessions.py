"""The query for open sessions."""

from collections.abc import Awaitable, Callable

from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts.people.sessions import MOST_SESSIONS, SessionsQuery, SessionsReply, SessionView
from writ_contracts.subjects import parse_query
from writ_policy.decisions.rulings import Judge
from writ_policy.endpoints.versions import QueryHandler, decode_query
from writ_policy.state.cursors import cursor, latest_first
from writ_trust.sessions import Session


class SessionQueries:
    """Serves the query `sessions`."""

    def __init__(self, judge: Callable[[], Awaitable[Judge]], permit: Callable[[Message], Awaitable[None]]) -> None:
        """Serve the query. `permit` raises Denied if the sender may not read sessions of others."""
        self._judge = judge
        self._permit = permit

    def by_name(self) -> dict[str, QueryHandler]:
        return {"query_sessions": self.sessions}

    async def sessions(self, message: Message) -> SessionsReply:
        """Return the open sessions that the sender may see."""
        query: SessionsQuery = decode_query(message, SessionsQuery)
        judge, (asker, _) = await self._judge(), parse_query(message.subject)
        key = sender_key(message)
        judge.snapshot.requester(asker, key)
        if query.everybody:
            await self._permit(message)
        sessions = [
            one
            for one in judge.snapshot.sessions.values()
            if one.lasts(judge.now) and (query.everybody or judge.snapshot.owns(asker, one.by))
        ]
        newest = latest_first(sessions, query.after)
        shown = [_view(one, here=one.key == key) for one in newest[:MOST_SESSIONS]]
        more = len(newest) - len(shown)
        return SessionsReply(sessions=shown, more=more, last=cursor(shown[-1]) if more else "")


def _view(one: Session, *, here: bool) -> SessionView:
    return SessionView(
        id=one.id,
        principal=one.by,
        method=one.method,
        device=one.device,
        since=one.since,
        until=one.until,
        idle=one.idle,
        here=here,
    )
