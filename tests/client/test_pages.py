"""Lists that policy returns in pages."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import Struct

from writ_bus.port import Endpoint, Message, Service
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.people.sessions import SessionsQuery, SessionsReply, SessionView
from writ_contracts.policy.versions import PolicyStatusQuery, PolicyStatusReply, StopView
from writ_contracts.wire import decode, encode
from writ_testing.memory.bus import MemoryBus

NAMES = ("b" * 26, "a" * 26)


class PagingPolicy:
    """A policy service whose lists have two pages."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def serve(self) -> None:
        handlers = {"policy_status": self._status, "sessions": self._sessions}
        endpoints = [
            Endpoint(name=name, subject=subjects.query("alice", name), handler=handler)
            for name, handler in handlers.items()
        ]
        await self._bus.serve(Service(name="policy", version="0", description="", endpoints=endpoints))

    async def _status(self, message: Message) -> bytes:
        name, more, last = page_after(decode(message.data, PolicyStatusQuery).after)
        return encode(PolicyStatusReply(stops=[StopView(id=name, by="x", reason="r", since=1.0)], more=more, last=last))

    async def _sessions(self, message: Message) -> bytes:
        name, more, last = page_after(decode(message.data, SessionsQuery).after)
        return encode(SessionsReply(sessions=[session(name)], more=more, last=last))


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
async def test_all_pages_are_listed(query: Callable[[Writ], Awaitable[tuple[list[Struct], int]]]) -> None:
    bus = MemoryBus()
    await PagingPolicy(bus).serve()
    async with Writ(MemoryBus(bus.broker), None, "alice") as writ:
        found = await query(writ)
    assert ([one.id for one in found[0]], found[1]) == (list(NAMES), 0)  # type: ignore[attr-defined]
