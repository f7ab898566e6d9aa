"""The intent: a line in the spool before an effect. By it a restarted agent knows which operation may have begun."""

import asyncio
from typing import Any

from writ_agent.reporting.spool import Intent, Spool
from writ_agent.verification import SentClaim, VerificationContext, VerifiedGrant, open_parameters
from writ_bus import tasks
from writ_contracts.agents import ClaimReply
from writ_contracts.errors import WritError
from writ_contracts.signing import Signed
from writ_runtime.faults import fault

TURNS_TO_SYNC = 3
"""Turns of the event loop from the start of a task to the thread that syncs its line of the spool."""


async def intend_and_open(
    spool: Spool, trust: VerificationContext, claimed: SentClaim, answer: ClaimReply, verified: VerifiedGrant
) -> dict[str, Any]:
    """Spool the intent, and return the opened parameters. Large ones take more than a millisecond to open, in which
    the disk syncs the intent. Raises OSError, SecurityRefusal, Invalid.
    """
    if not answer.texts:
        parameters = open_parameters(trust, claimed, answer, verified)
        await _intend(spool, claimed, verified, answer.grant)
        return parameters
    intending = tasks.start(_intend(spool, claimed, verified, answer.grant), "intent")
    try:
        for _ in range(TURNS_TO_SYNC):
            await asyncio.sleep(0)
        parameters = open_parameters(trust, claimed, answer, verified)
    except WritError:
        await asyncio.wait({intending})
        intending.exception()  # nothing runs, so this error counts more than one of the disk
        raise
    await intending
    return parameters


async def _intend(spool: Spool, claimed: SentClaim, verified: VerifiedGrant, signed: Signed | None) -> None:
    """Spool the intent. Reads need not wait for the disk. Raises OSError."""
    grant = verified.grant
    intent = Intent(
        operation_id=grant.operation_id,
        attempt=verified.attempt,
        principal=grant.principal,
        instance=grant.instance,
        operation=grant.operation,
        grant_digest=verified.grant_digest,
        grant=signed,
        key=claimed.signed.key,
    )
    key = f"{grant.operation_id}.{verified.attempt}"
    await spool.put(key, intent, durable=not verified.operation.read_only)
    fault("agent.intent")
