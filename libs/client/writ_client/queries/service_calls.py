"""One request to a service and its reply, repeated while a repetition can help.

Every request here may be repeated: queries change nothing, and a request carries an idempotency key: the same key twice
is the same operation. So a lost reply is no reason to give up.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from writ_bus.errors import BusRefused
from writ_bus.port import Bus
from writ_contracts import errors
from writ_contracts.failures import error_of, passes
from writ_contracts.large_texts import large_texts
from writ_contracts.requests import Request
from writ_contracts.wire import JSON, MSGPACK, decode, encode, pack

Reply = TypeVar("Reply", bound=Struct)

ATTEMPT_SECONDS = 6.0
"""Longer than any live executor takes, even without policy; then the request goes to another replica."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class ListPage(Protocol):
    """A reply with a part of a list. `last`: the cursor of the next page, "" on the last one."""

    @property
    def last(self) -> str: ...


Page = TypeVar("Page", bound=ListPage)


async def further_pages(first: Page, query: Callable[[str], Awaitable[Page]]) -> AsyncIterator[Page]:
    """Yield the pages behind the first one."""
    page = first
    while page.last:
        page = await query(page.last)
        yield page


async def request_reply(
    bus: Bus,
    subject: str,
    question: Any,
    kind: type[Reply],
    *,
    timeout: float,
    attempt_seconds: float | None = None,
    effect: bool = False,
) -> Reply:
    """Return the reply. Raises Unreachable, Full or TimedOut when none comes within `timeout` seconds; at once
    Forbidden, and Invalid for a request over the server's size limit.

    `effect`: the request is to be recorded. Once an attempt had no reply it may have been, so a later failure raises
    TimedOut: Unreachable and Full would promise that nothing was done. A reply of Full is tried again then: a replica
    limits requests by its own count, before it looks whether this one is on record. A service that is overloaded, by
    large requests of this principal, say, is always asked again.
    """
    data, headers = _encoded(question)
    deadline = time.monotonic() + timeout
    pause, lost = FIRST_PAUSE, False
    while True:
        left = deadline - time.monotonic()
        over = left <= pause
        try:
            seconds = min(max(left, pause), attempt_seconds or ATTEMPT_SECONDS)
            answer = await _attempt(bus, subject, data, headers, kind, seconds)
        except (errors.Unreachable, errors.TimedOut, errors.Full) as error:
            lost = lost or isinstance(error, errors.TimedOut)
            if over or time.monotonic() + pause >= deadline:
                if lost and effect and not isinstance(error, errors.TimedOut):
                    raise _after_lost(str(error)) from error
                raise
        else:
            undone = _undone(answer) if lost and effect else None
            if over or not (_passing(answer) or isinstance(undone, errors.Full)):
                if undone is not None:
                    raise _after_lost(str(undone))
                return answer
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _encoded(question: Any) -> tuple[bytes, dict[str, str] | None]:
    """Return the message and its headers. A large text in a request takes a millisecond less as MessagePack on each
    side, since nothing in it is escaped.
    """
    if isinstance(question, Request) and large_texts(question.parameters):
        with suppress(OverflowError):  # a number beyond 64 bits, which the service refuses in JSON
            return pack(question), {"Content-Type": MSGPACK}
    return encode(question), None


async def _attempt(
    bus: Bus, subject: str, data: bytes, headers: dict[str, str] | None, kind: type[Reply], seconds: float
) -> Reply:
    try:
        message = await bus.request(subject, data, timeout=seconds, headers=headers)
    except BusRefused as error:
        if error.code != "oversize":
            raise
        raise errors.Invalid(f"too large to be sent: {error}", code=error.code) from error
    content_type = message.headers.get("Content-Type", JSON)
    return decode(message.data, kind, content_type=None if content_type == JSON else content_type)


def _after_lost(last: str) -> errors.TimedOut:
    return errors.TimedOut(f"{last}; an earlier attempt had no reply, and may have been taken")


def _undone(answer: Any) -> errors.Unreachable | errors.Full | None:
    """Return the error of a reply which says that nothing was done: a service is away, or a limit is reached."""
    error = None if answer.error is None else error_of(answer.error)
    return error if isinstance(error, errors.Unreachable | errors.Full) else None


def _passing(answer: Any) -> bool:
    return passes(answer.error)
