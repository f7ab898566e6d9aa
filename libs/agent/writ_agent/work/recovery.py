"""Recovery at the start of an agent: find the fate of operations begun by an earlier process, and report it.

Processes on this host are ended with outcome `unknown`, since nobody saw their end. Operations elsewhere go on without
the agent: the backend queries it. A claim without a begin ran nothing.

A receipt has to be signed by the key of its claim. If that was rotated since, there is none, and executors find out
themselves: a receipt by another key would be taken for a forged one.
"""

import asyncio

from writ_agent.backends.bounded_call import bounded
from writ_agent.backends.port import Leftovers, Task, TaskResult
from writ_agent.backends.processes import end
from writ_agent.reporting.receipts import ReceiptSubject, receipt_message
from writ_agent.reporting.spool import ClaimSent, Intent, Parcel
from writ_agent.verification import verify_spooled_grant
from writ_agent.work.worker import WorkerParts
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.operations import Operation
from writ_runtime.logs import Log

SETTLE_SECONDS, LATE_SECONDS = 10.0, 4.5
"""Seconds for a host to answer. A silent host is probed later, at an executor's request. Once the operation's own
time is over there is less: its outcome is due within 5 s.
"""
_log = Log("writ.agent")


async def recover(parts: WorkerParts) -> None:
    """Turn the entries of the spool into receipts, and send receipts without an acknowledgement."""
    parts.outbox.resume()
    left = [(key, entry) for key, entry in parts.spool.live.items() if isinstance(entry, ClaimSent | Intent)]
    await asyncio.gather(*(_report_leftover(parts, key, entry) for key, entry in left))


async def _report_leftover(parts: WorkerParts, key: str, entry: ClaimSent | Intent) -> None:
    operation = parts.trust.catalogue.get(entry.operation) if isinstance(entry, Intent) else None
    done = await _ended(parts, entry, operation)
    _log.warning("agent.left_over", key=key, outcome=done.outcome, effect=done.effect, over=done.over)
    if entry.key not in ("", parts.identity.key.public):
        _log.warning("agent.left_over_unreported", key=key, reason="this agent's key was rotated since its claim")
        parts.spool.clear(key)
        return
    subject = _receipt_subject(entry)
    body = receipt_message(parts.identity, subject, done, operation, 0.0)
    await parts.outbox.post(subject.key, Parcel(subject=subjects.receipt(parts.identity.pool), body=body))
    if subject.key != subject.attempt_key:
        parts.spool.clear(subject.attempt_key)


async def _ended(parts: WorkerParts, entry: ClaimSent | Intent, operation: Operation | None) -> TaskResult:
    if isinstance(entry, ClaimSent):
        return TaskResult(
            outcome="failed", code="agent_restarted", message="nothing was run: its agent ended before it began"
        )
    read_only = operation is not None and operation.read_only
    try:
        if settled := await _settled(parts, entry):
            return settled
    except (WritError, TimeoutError) as error:
        _log.warning("agent.not_settled", operation_id=entry.operation_id, error=str(error))
        return _unseen(read_only, over=False)
    except Exception as error:  # noqa: BLE001 - a defect of the backend must not keep the agent from starting
        _log.error("agent.settle_broke", operation_id=entry.operation_id, exception=error)
        return _unseen(read_only, over=False)
    return _unseen(read_only, over=await end(entry.operation_id, parts.kill_grace))


async def _settled(parts: WorkerParts, intent: Intent) -> TaskResult | None:
    """Return the fate from the backend; None if it ran on this host. Raises WritError, TimeoutError."""
    if not isinstance(parts.backend, Leftovers) or intent.grant is None:
        return None
    grant, operation = verify_spooled_grant(parts.trust, intent.grant, intent.operation_id)
    task = Task(
        operation_id=intent.operation_id,
        attempt=intent.attempt,
        operation=operation,
        target=grant.target,
        parameters={},
        timeout=grant.timeout,
    )
    left = max(grant.granted_at + grant.timeout - parts.time.now(), 0.0)
    return await bounded(min(left + LATE_SECONDS, SETTLE_SECONDS), parts.backend.settle(task))


def _unseen(read_only: bool, over: bool) -> TaskResult:
    return TaskResult(
        outcome="unknown",
        code="agent_restarted",
        message="the agent ended while it ran" if over else "the agent ended while it ran, and it may still run",
        effect="none" if read_only else "maybe",
        over=over,
    )


def _receipt_subject(entry: ClaimSent | Intent) -> ReceiptSubject:
    return ReceiptSubject(
        operation_id=entry.operation_id,
        attempt=entry.attempt,
        principal=entry.principal,
        instance=entry.instance,
        grant_digest=entry.grant_digest if isinstance(entry, Intent) else None,
        claim_digest=entry.claim_digest if isinstance(entry, ClaimSent) else None,
    )
