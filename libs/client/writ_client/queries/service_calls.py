"""One request to a service and its reply, repeated while a repetition can help.

Every request here may be repeated: queries change nothing, and a request carries an idempotency key: the same key twice
is the same operation. So a lost reply is no reason to give up.
"""

import asyncio
import time
from typing import Any, TypeVar

from msgspec import Struct

from writ_bus.errors import BusRefused
from writ_bus.port import Bus
from writ_contracts import errors
from writ_contracts.failures import PASSING
from writ_contracts.wire import decode, encode

Reply = TypeVar("Reply", bound=Struct)

ATTEMPT_SECONDS = 6.0
"""Longer than any live executor takes, even without policy; then the request goes to another replica."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


async def request_reply(
    bus: Bus,
    subject: str,
    question: Any,
    kind: type[Reply],
    *,
    timeout: float,
    attempt_seconds: float = ATTEMPT_SECONDS,
) -> Reply:
    """Return the reply. Raises Unreachable or TimedOut when none comes within `timeout` seconds; at once Forbidden, and
    Invalid for a request over the server's size limit.
    """
    data = encode(question)
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        left = deadline - time.monotonic()
        over = left <= pause
        try:
            message = await bus.request(subject, data, timeout=min(max(left, pause), attempt_seconds))
            answer = decode(message.data, kind)
            if over or not _passing(answer):
                return answer
        except (errors.Unreachable, errors.TimedOut):
            if over or time.monotonic() + pause >= deadline:
                raise
        except BusRefused as error:
            if error.code != "oversize":
                raise
            raise errors.Invalid(f"too large to be sent: {error}", code=error.code) from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _passing(answer: Any) -> bool:
    return answer.error is not None and answer.error.retry and answer.error.code in PASSING
