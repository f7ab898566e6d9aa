"""Lists in pages while some replicas of policy are of an earlier release, which refuses a query for a further page."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import Struct

from writ_bus.port import Endpoint, Message, Service
from writ_client.client import Writ
from writ_client.queries.service_calls import PAGE_ATTEMPTS
from writ_contracts import subjects
from writ_contracts.people.sessions import SessionsQuery, SessionsReply, SessionView
from writ_contracts.policy.versions import PolicyStatusQuery, PolicyStatusReply, StopView
from writ_contracts.requests import Failure
from writ_contracts.wire import decode, encode
from writ_testing.memory.bus import MemoryBus

NAMES = ("b" * 26, "a" * 26)
REFUSED = Failure(code="invalid", message="Object contains unknown field `after`")


class Replicas:
    """Replicas of policy. Those that get the first `refusals` queries for a further page are of an earlier release."""

    def __init__(self, bus: MemoryBus, refusals: int) -> None:
        self._bus = bus
        self.refusals = refusals

    async def serve(self) -> None:
        handlers = {"policy_status": self._status, "sessions": self._sessions}
        endpoints = [
            Endpoint(name=name, subject=subjects.query("alice", name), handler=handler)
            for name, handler in handlers.items()
        ]
        await self._bus.serve(Service(name="policy", version="0", description="", endpoints=endpoints))

    async def _status(self, message: Message) -> bytes:
        after = decode(message.data, PolicyStatusQuery).after
        if self._is_refused(after):
            return encode(PolicyStatusReply(error=REFUSED))
        name, more, last = page_after(after)
        return encode(PolicyStatusReply(stops=[StopView(id=name, by="x", reason="r", since=1.0)], more=more, last=last))

    async def _sessions(self, message: Message) -> bytes:
        after = decode(message.data, SessionsQuery).after
        if self._is_refused(after):
            return encode(SessionsReply(error=REFUSED))
        name, more, last = page_after(after)
        return encode(SessionsReply(sessions=[session(name)], more=more, last=last))

    def _is_refused(self, after: str) -> bool:
        refused = bool(after) and self.refusals > 0
        self.refusals -= refused
        return refused


def page_after(after: str) -> tuple[str, int, str]:
    """Return the name on a page, how many follow, and the cursor behind it."""
    return (NAMES[1], 0, "") if after else (NAMES[0], 1, f"1.0 {NAMES[0]}")


def session(name: str) -> SessionView:
    return SessionView(id=name, principal="alice", method="key", since=1.0, until=2.0)


async def stops(writ: Writ) -> tuple[list[Struct], int]:
    found = await writ.policy_status()
    return list(found.stops), found.more


async def sessions(writ: Writ) -> tuple[list[Struct], int]:
    found = await writ.sessions.open_ones()
    return list(found.sessions), found.more


@pytest.mark.parametrize("query", [stops, sessions])
@pytest.mark.parametrize(("refusals", "listed", "more"), [(0, 2, 0), (PAGE_ATTEMPTS - 1, 2, 0), (PAGE_ATTEMPTS, 1, 1)])
async def test_further_page_is_queried_again_and_what_stays_refused_is_counted_as_more(
    query: Callable[[Writ], Awaitable[tuple[list[Struct], int]]], refusals: int, listed: int, more: int
) -> None:
    bus = MemoryBus()
    replicas = Replicas(bus, refusals)
    await replicas.serve()
    async with Writ(MemoryBus(bus.broker), None, "alice") as writ:
        found = await query(writ)
    assert ([one.id for one in found[0]], found[1]) == (list(NAMES[:listed]), more)  # type: ignore[attr-defined]
    assert replicas.refusals == 0
