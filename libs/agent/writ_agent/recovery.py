"""What an agent does first: end what an earlier process of it left running, and say how that went.

What had been begun has the outcome `unknown`, since nobody saw its end; what had only been claimed was never begun.
"""

from collections.abc import Awaitable, Callable

from writ_agent.backend import Done
from writ_agent.outbox import Outbox
from writ_agent.receipts import Identity, Run, receipt_message
from writ_agent.spool import Asked, Intent, Parcel, Spool
from writ_contracts import subjects
from writ_contracts.operations import Catalogue
from writ_runtime.logs import Log

EndLeftovers = Callable[[str, float], Awaitable[bool]]
"""Ends whatever still runs of an operation id, within a grace in seconds. Whether it is all seen to be gone."""

_log = Log("writ.agent")


async def recover(
    spool: Spool, outbox: Outbox, identity: Identity, catalogue: Catalogue, end: EndLeftovers, grace: float
) -> None:
    """Turn what the spool has left into receipts, and send those that were not acknowledged."""
    outbox.resume()
    for key, entry in list(spool.live.items()):
        if isinstance(entry, Parcel):
            continue
        operation = catalogue.get(entry.operation) if isinstance(entry, Intent) else None
        done = await _ended(entry, operation is not None and operation.read_only, end, grace)
        _log.warning("agent.left_over", key=key, outcome=done.outcome, effect=done.effect, over=done.over)
        body = receipt_message(identity, _run(entry), done, operation, 0.0)
        await outbox.post(key, Parcel(subject=subjects.receipt(identity.pool), body=body))


async def _ended(entry: Asked | Intent, read_only: bool, end: EndLeftovers, grace: float) -> Done:
    if isinstance(entry, Asked):
        return Done(outcome="failed", code="agent_restarted", message="nothing was run: its agent ended before")
    over = await end(entry.operation_id, grace)
    return Done(
        outcome="unknown",
        code="agent_restarted",
        message="the agent ended while it ran" if over else "the agent ended while it ran, and it may still run",
        effect="none" if read_only else "maybe",
        over=over,
    )


def _run(entry: Asked | Intent) -> Run:
    return Run(
        operation_id=entry.operation_id,
        attempt=entry.attempt,
        principal=entry.principal,
        instance=entry.instance,
        grant_digest=entry.grant_digest if isinstance(entry, Intent) else None,
        claim_digest=entry.claim_digest if isinstance(entry, Asked) else None,
    )
