"""Where the suites of the bus stand: one server, any number of buses, and the means to do something to them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from writ_bus.errors import TimedOut, Unreachable
from writ_bus.port import Bus, Endpoint, Message, Responder, Service

SOON = 20.0
"""Seconds; a wait that takes longer has failed."""


class Ground(Protocol):
    """Where a suite stands: one server, any number of buses."""

    ack_wait: float
    max_bytes: int

    async def bus(self, name: str) -> Bus:
        """A new bus of that user: `executor`, `policy`, `status`, `alice`, `agent-a`."""

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """The server goes away, `meanwhile` happens, and it is there again with what it had stored."""

    def lose_answers(self, bus: Bus, number: int) -> None:
        """The next appends of this bus are stored, and their answers get lost."""


async def eventually(holds: Callable[[], Awaitable[bool]], within: float = SOON) -> None:
    """Return as soon as it holds; raises TimeoutError."""
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110 - the peer is another process and sets no event here
            await asyncio.sleep(0.02)


async def until_unreachable(bus: Bus, subject: str) -> None:
    """Until the bus says that nobody is there: where the server itself is slow, it says that nothing came in time."""

    async def told() -> bool:
        try:
            answer = await bus.request(subject, b"", timeout=0.3)
        except Unreachable:
            return True
        except TimedOut:
            return False
        raise AssertionError(f"{subject} was answered: {answer}")

    await eventually(told)


async def everybody(bus: Bus, subject: str, number: int = 1) -> list[Message]:
    """What comes from all who are there, as soon as as many as that answer within a moment."""
    answers: list[Message] = []

    async def there() -> bool:
        answers[:] = await bus.request_many(subject, b"", timeout=0.3)
        return len(answers) >= number

    await eventually(there)
    return answers


def service(name: str, subject: str, handler: Responder, *, concurrency: int = 64, version: str = "0.1.0") -> Service:
    """A service with one endpoint."""
    endpoint = Endpoint(name="one", subject=subject, handler=handler, concurrency=concurrency)
    return Service(name=name, version=version, description="for tests", endpoints=[endpoint])


async def echo(message: Message) -> bytes:
    """Answers with what was asked."""
    return message.data


REQUESTS = "writ.request.*.*"
ASK = "writ.request.alice.test_noop"
