"""Errors in policy's replies, and questions that are sent again while a replica is behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from writ_contracts.decisions import DecideReply, GrantReply
from writ_contracts.errors import Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.people.directory import PeopleReply
from writ_contracts.policy.listing import VisibleReply
from writ_contracts.requests import Failure

Answered = TypeVar("Answered", DecideReply, GrantReply, PeopleReply, VisibleReply)
NO_ANSWER = frozenset({"internal", "denied"})
"""Codes of grant errors without information on the operation: a defect of policy, or an append that NATS refused.
Denials come as decisions. `internal` is passed on: agents then assume that the start may be stored.
"""
BEHIND_DELAYS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


async def retry_while_behind(send: Callable[[], Awaitable[Answered]]) -> Answered:
    """Send again while the answering replica is behind the control events. Raises its other errors."""
    for delay in (*BEHIND_DELAYS, None):
        reply = await send()
        if reply.error is None:
            return reply
        if reply.error.code != "behind" or delay is None:
            raise _error_of(reply, reply.error)
        await asyncio.sleep(delay)
    raise Unreachable("policy has not read the latest control events", code="behind")


def _error_of(
    reply: DecideReply | GrantReply | PeopleReply | VisibleReply, failure: Failure
) -> Conflict | Invalid | Unreachable | Untrusted:
    if not isinstance(reply, GrantReply) or failure.code not in NO_ANSWER:
        return exception_of(failure)
    code = failure.code if failure.code == "internal" else None
    return Unreachable(f"policy refused the claim: {failure.message}", code=code)


def exception_of(failure: Failure) -> Conflict | Invalid | Unreachable | Untrusted:
    if failure.retry:
        return Unreachable(failure.message, code=failure.code)
    if failure.code == "moved_on":
        return Conflict(failure.message, code=failure.code)
    if failure.code in ("forged_claim", "forged_start"):
        return Untrusted(failure.message, code=failure.code)
    found = [(problem.line, problem.column, problem.message) for problem in failure.problems]
    return Invalid(failure.message, code=failure.code, problems=found)
