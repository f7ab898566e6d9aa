"""The fixture of the bus suites: one server, any number of buses, and faults."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from writ_bus.errors import TimedOut, Unreachable
from writ_bus.port import Bus, Endpoint, Message, Responder, Service
from writ_testing.eventually import eventually

SOON = 20.0
"""Seconds; a longer wait has failed."""


class BusFixture(Protocol):
    """The fixture of a suite: one server, any number of buses."""

    ack_wait: float
    max_bytes: int

    async def bus(self, name: str) -> Bus:
        """Return a new bus of this user: `executor`, `policy`, `status`, `alice`, `agent-a`."""

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Stop the server, run `meanwhile`, and start it again with its stored data."""

    def lose_answers(self, bus: Bus, number: int) -> None:
        """Store the next appends of this bus, but lose their answers."""


async def until_unreachable(bus: Bus, subject: str) -> None:
    """Wait until the bus reports no listener. A slow server makes it report a timeout first."""

    async def is_refused() -> bool:
        try:
            answer = await bus.request(subject, b"", timeout=0.3)
        except Unreachable:
            return True
        except TimedOut:
            return False
        raise AssertionError(f"{subject} was answered: {answer}")

    await eventually(is_refused, within=SOON)


async def everybody(bus: Bus, subject: str, number: int = 1) -> list[Message]:
    """Return the answers of all listeners, once that many come within a moment."""
    answers: list[Message] = []

    async def there() -> bool:
        answers[:] = await bus.request_many(subject, b"", timeout=0.3)
        return len(answers) >= number

    await eventually(there, within=SOON)
    return answers


def service(name: str, subject: str, handler: Responder, *, concurrency: int = 64, version: str = "0.1.0") -> Service:
    """Return a service with one endpoint."""
    endpoint = Endpoint(name="one", subject=subject, handler=handler, concurrency=concurrency)
    return Service(name=name, version=version, description="for tests", endpoints=[endpoint])


async def echo(message: Message) -> bytes:
    """Answer with the request."""
    return message.data


REQUESTS = "writ.request.*.*"
ASK = "writ.request.alice.test_noop"
