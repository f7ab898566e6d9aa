"""The path of one dispatched operation through an agent: deliver, read, claim, verify, record the intent, run, report.

`handle` and `_claim_and_run` are all of it. Every early return has sent its reason.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from writ_agent.backends.port import Backend, Task, TaskResult
from writ_agent.preflight.host_reads import HostReads
from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.outbox import Outbox
from writ_agent.reporting.progress import ClaimWait, ProgressRelay, late_reply, report_wait
from writ_agent.reporting.receipts import AgentIdentity, ReceiptSubject, receipt_message
from writ_agent.reporting.security_reports import ALARMS, SecurityReporter
from writ_agent.reporting.spool import ClaimSent, Parcel, Spool
from writ_agent.verification import (
    SecurityRefusal,
    SentClaim,
    VerificationContext,
    VerifiedGrant,
    named_directory,
    verify_grant,
)
from writ_agent.work.claims import SealKeys, make_claim, send_claim
from writ_agent.work.deliveries import work_of
from writ_agent.work.detached_operations import DetachedOperations
from writ_agent.work.early_baselines import EarlyBaselines
from writ_agent.work.early_read import EarlyRead
from writ_agent.work.in_flight import InFlightOperation, InFlightOperations, RecentKeys
from writ_agent.work.intents import intend_and_open
from writ_agent.work.running import RunningOperation, not_begun
from writ_bus import tracing
from writ_bus.port import Bus, Delivery
from writ_contracts import subjects
from writ_contracts.agents import BaselineNotice, ClaimReply
from writ_contracts.errors import TimedOut, Untrusted, WritError
from writ_contracts.journal import Dispatched
from writ_contracts.operations import Operation
from writ_runtime.clocks import ServerClock
from writ_runtime.faults import fault
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.logs import Log, bound
from writ_runtime.metrics import HandledMessage
from writ_trust.people import Directory
from writ_trust.statements import digest

LONGEST_DELAY = 10.0
BUSY_DELAY = 1.0
_log = Log("writ.agent")


class WorkerParts(Struct, frozen=True, kw_only=True):
    """The parts of a worker. `changed` is called when an operation begins or ends."""

    bus: Bus
    backend: Backend
    trust: VerificationContext
    identity: AgentIdentity
    spool: Spool
    people: KnownDirectory
    outbox: Outbox
    reporter: SecurityReporter
    host_reads: HostReads
    meters: Meters
    in_flight: InFlightOperations
    time: ServerClock
    kill_grace: float
    slots: int
    waiting: int
    """Operations that may wait for their hosts without a slot."""
    changed: Callable[[], None]


class Worker:
    """Handles deliveries, several at a time. With `stopping` it claims nothing more."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._nonces = RecentKeys()
        self._seal_keys = SealKeys()
        self.detached = DetachedOperations(parts.waiting, parts.slots)
        self.early_baselines = EarlyBaselines(parts.host_reads.early_baseline, self._may_read_early, self._boot)
        self.stopping = False

    def _may_read_early(self, notice: BaselineNotice) -> bool:
        in_flight = self._parts.in_flight
        known = in_flight.find(notice.operation_id) is not None or in_flight.changes(notice.target)
        return not (self.stopping or known or self.detached.is_slow(notice.target))

    async def handle(self, delivery: Delivery) -> None:
        """Take a delivery from its arrival to its receipt in the outbox."""
        fault("agent.pulled")
        work = work_of(delivery)
        if work is None or self._parts.in_flight.begun(work, idempotent=self._is_idempotent(work)):
            await _acknowledge(delivery.ack())
        elif self.stopping:
            await _acknowledge(delivery.nak(BUSY_DELAY))
        elif self._parts.in_flight.find(work.operation_id) or self._parts.outbox.has_pending(_key(work)):
            await _acknowledge(delivery.nak(LONGEST_DELAY / 2))
        elif not self._only_reads(work) and self._parts.in_flight.changes(work.target):
            # This host slept past a deadline, say: executors think that what runs here is lost, and send the next one.
            _log.warning("agent.target_busy", operation_id=work.operation_id, target=work.target)
            await self._report_busy(work, "an operation that executors no longer expect still runs there")
            await _acknowledge(delivery.nak(BUSY_DELAY))
        elif self.detached.is_slow(work.target):
            await self._report_busy(work, f"as many run there as may at once ({self.detached.of(work.target)})")
            await _acknowledge(delivery.nak(_delay(delivery)))
        else:
            entry = self._parts.in_flight.take(work)
            await self.detached.run(work.target, self._carry_out(entry, delivery))

    async def _report_busy(self, work: Dispatched, why: str) -> None:
        text = f"waits for {work.target}: {why}"
        await report_wait(self._parts.bus, self._parts.identity.pool, work, text)

    async def _carry_out(self, entry: InFlightOperation, delivery: Delivery) -> None:
        try:
            with bound(operation_id=entry.work.operation_id):
                await self._claim_and_run(entry, delivery)
        except Exception:
            await _acknowledge(delivery.nak(BUSY_DELAY))
            raise
        finally:
            await entry.drop_early_read()
            self._parts.in_flight.drop(entry)
            self._parts.changed()
            self._seal_keys.make_ahead()

    async def _claim_and_run(self, entry: InFlightOperation, delivery: Delivery) -> None:
        stages = self._parts.meters.stages
        late = late_reply(self._parts.bus, self._parts.identity.pool, entry.work)
        with stages.time(entry.work.operation_id, stage="look"), tracing.span("look"), late:
            baseline = await self.early_baselines.take(entry.work)
            if baseline is None:
                baseline = await self._parts.host_reads.baseline(entry.work)
        plugins = self._parts.trust.plugins(entry.work.operation)
        seal = self._seal_keys.take()
        claimed = make_claim(self._parts.identity, entry.work, baseline, self._boot(), plugins, seal)
        entry.early_read = self._begin_early_read(entry.work)
        with stages.time(entry.work.operation_id, stage="claim"):
            answer = await self._claim(claimed, delivery)
        if answer is None:
            return
        fault("agent.claimed")
        self._parts.in_flight.begin(entry.work)
        await _acknowledge(delivery.ack())
        began = self._boot()
        try:
            people = await self._directory(claimed, answer)
            verified = verify_grant(self._parts.trust, claimed, answer, people, used=self._nonces, now=self._boot())
            self._nonces.add(verified.grant.nonce)
            entry.owners = {verified.grant.principal, verified.grant.acts_for or verified.grant.principal}
            parameters = await intend_and_open(self._parts.spool, self._parts.trust, claimed, answer, verified)
            with stages.time(entry.work.operation_id, stage="run"), tracing.span("run"):
                done = await self._perform(entry, verified, parameters)
            fault("agent.ran")
            await self._watch(verified, done)
            await self._send_receipt(_receipt_subject(claimed, answer), done, verified.operation, began)
        except (WritError, OSError) as error:
            await self._refuse(claimed, answer, error, began)

    async def _directory(self, claimed: SentClaim, answer: ClaimReply) -> Directory | None:
        """Return the newest directory of people's credentials, with the one the grant names. Raises SecurityRefusal."""
        named = named_directory(self._parts.trust, claimed, answer)
        if named is None:
            return self._parts.people.value
        try:
            return await asyncio.to_thread(self._parts.people.newest, named)
        except Untrusted as error:
            raise SecurityRefusal("forged_directory", str(error)[:400]) from error

    def _boot(self) -> float:
        return self._parts.time.clocks.boot()

    async def _claim(self, claimed: SentClaim, delivery: Delivery) -> ClaimReply | None:
        """Return the answer with a grant; None if there is none, which was reported."""
        key, parts = _key(claimed.work), self._parts
        wait, answer = ClaimWait(parts.bus, parts.identity.pool, claimed.work), None
        try:
            if not self._only_reads(claimed.work):  # a read may be requested again if it is forgotten
                await self._parts.spool.put(key, _claim_sent(claimed), durable=False)
            answer = await send_claim(
                self._parts.bus, claimed, delivery, lambda: self.stopping, self._boot, wait.declined
            )
        except TimedOut as error:
            # It may be granted to us, and will not run: say so, and let the next delivery find out.
            done = TaskResult(outcome="failed", code="not_begun", message=f"nothing was run: {error}")
            await self._send_receipt(_receipt_subject(claimed, None), done, None, claimed.sent_at)
            await _acknowledge(delivery.nak(LONGEST_DELAY))
            return None
        except (WritError, OSError) as error:
            _log.warning("agent.not_claimed", error=str(error))
            self._parts.spool.clear(key)
            await _acknowledge(delivery.nak(_delay(delivery)))
            return None
        finally:
            wait.end(waits=answer is None or (answer.error is not None and answer.error.retry))
        if answer.error is None:
            return answer
        self._parts.spool.clear(key)
        _log.info("agent.claim_declined", code=answer.error.code, retry=answer.error.retry)
        await _acknowledge(delivery.nak(_delay(delivery)) if answer.error.retry else delivery.ack())
        return None

    def _is_idempotent(self, work: Dispatched) -> bool:
        operation = self._parts.trust.catalogue.get(work.operation)
        return operation is not None and operation.idempotent

    def _only_reads(self, work: Dispatched) -> bool:
        operation = self._parts.trust.catalogue.get(work.operation)
        return operation is not None and operation.read_only

    def _begin_early_read(self, work: Dispatched) -> EarlyRead | None:
        parts = self._parts
        if not work.ahead:
            return None
        return EarlyRead(work, parts.backend, parts.trust, parts.reporter, parts.kill_grace, parts.time)

    async def _perform(
        self, entry: InFlightOperation, verified: VerifiedGrant, parameters: dict[str, Any]
    ) -> TaskResult:
        """Run it, and wait. Raises SecurityRefusal if the grant expired while the disk was slow."""
        task = _task(verified, parameters)
        if entry.early_read is not None:
            await entry.early_read.settle(task)
        if entry.stopped is not None:
            return not_begun(entry.stopped)
        if self._boot() > verified.begin_by:
            raise SecurityRefusal("expired_grant", "its lifetime ended before the operation could begin")
        relay = ProgressRelay(
            self._parts.bus, verified.grant.pool, verified.grant.operation_id, verified.grant.principal
        )
        begun = entry.early_read.take(relay) if entry.early_read is not None else None
        entry.running = begun or RunningOperation(self._parts.backend, task, relay, self._parts.kill_grace)
        self._parts.changed()
        backend, operation_id = verified.grant.target.backend, verified.grant.operation_id
        try:
            with self._parts.meters.execution.time(operation_id, backend=backend):
                return await entry.running.wait()
        finally:
            relay.close()

    async def _watch(self, verified: VerifiedGrant, done: TaskResult) -> None:
        """Report a host's codes which are signs of an attack as security events."""
        if kind := ALARMS.get(done.code):
            refusal = SecurityRefusal(
                kind, f"{verified.operation.name} on {verified.grant.target.id} ended with {done.code}"
            )
            await self._parts.reporter.report(refusal, verified.grant.operation_id, verified.grant.principal)

    async def _refuse(self, claimed: SentClaim, answer: ClaimReply, error: WritError | OSError, began: float) -> None:
        """End the operation, of which nothing ran, and report the security event."""
        work = claimed.work
        if isinstance(error, SecurityRefusal):
            await self._parts.reporter.report(error, work.operation_id, work.principal)
        code = error.code if isinstance(error, WritError) else "spool_failed"
        done = TaskResult(outcome="failed", code=code, message=f"nothing was run: {error}")
        await self._send_receipt(_receipt_subject(claimed, answer), done, None, began)

    async def _send_receipt(
        self, subject: ReceiptSubject, done: TaskResult, operation: Operation | None, began: float
    ) -> None:
        seconds = self._boot() - began
        body = receipt_message(self._parts.identity, subject, done, operation, seconds)
        parcel = Parcel(subject=subjects.receipt(self._parts.identity.pool), body=body)
        durable = operation is None or not operation.read_only
        with self._parts.meters.stages.time(subject.operation_id, stage="tell"), tracing.span("tell"):
            await self._parts.outbox.post(subject.key, parcel, durable=durable)
        if subject.key != subject.attempt_key:
            self._parts.spool.clear(subject.attempt_key)
        self._count(subject.operation_id, done, operation.name if operation else "", seconds)

    def _count(self, operation_id: str, done: TaskResult, operation: str, seconds: float) -> None:
        meters = self._parts.meters
        meters.count_end(operation, done.outcome)
        meters.seconds.observe(seconds, operation_id, operation=operation)
        outcome = "ok" if done.outcome == "succeeded" else "refused" if done.effect == "none" else "failed"
        fields = {"operation": operation, "ended": done.outcome, "effect": done.effect}
        meters.observe(
            HandledMessage(endpoint="operation", outcome=outcome, code=done.code, seconds=seconds, fields=fields)
        )


def _key(work: Dispatched) -> str:
    return f"{work.operation_id}.{work.attempt}"


def _claim_sent(claimed: SentClaim) -> ClaimSent:
    return ClaimSent(
        operation_id=claimed.work.operation_id,
        attempt=claimed.work.attempt,
        principal=claimed.work.principal,
        instance=claimed.claim.instance,
        claim_digest=digest(claimed.signed),
        key=claimed.signed.key,
    )


def _receipt_subject(claimed: SentClaim, answer: ClaimReply | None) -> ReceiptSubject:
    """Return the attempt, with the grant that was received, valid or not."""
    return ReceiptSubject(
        operation_id=claimed.work.operation_id,
        attempt=claimed.work.attempt,
        principal=claimed.work.principal,
        instance=claimed.claim.instance,
        grant_digest=digest(answer.grant) if answer and answer.grant else None,
        claim_digest=digest(claimed.signed),
        outputs=answer is None or answer.outputs,
        target=claimed.work.target,
        attaches=answer is not None and answer.attaches,
    )


def _task(verified: VerifiedGrant, parameters: dict[str, Any]) -> Task:
    return Task(
        operation_id=verified.grant.operation_id,
        attempt=verified.attempt,
        operation=verified.operation,
        target=verified.grant.target,
        parameters=parameters,
        timeout=verified.grant.timeout,
        baseline=verified.baseline,
    )


def _delay(delivery: Delivery) -> float:
    return min(0.25 * float(1 << min(delivery.attempt, 10)), LONGEST_DELAY)


async def _acknowledge(acknowledgement: Coroutine[None, None, None]) -> None:
    """Acknowledge the delivery. If the server misses it, the delivery comes again and is recognised."""
    try:
        await acknowledgement
    except WritError as error:
        _log.warning("agent.not_settled", error=str(error))
