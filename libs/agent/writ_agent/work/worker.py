"""One dispatched operation's way through an agent: deliver, look, claim, verify, intend, run, tell.

`handle` and `_claim_and_run` are the whole of it, to be read aloud; whatever leaves early has told somebody why.
"""

from collections.abc import Callable, Coroutine

from msgspec import Struct

from writ_agent.backends.port import Backend, Done, Task
from writ_agent.preflight.host_reads import HostReads
from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.outbox import Outbox
from writ_agent.reporting.progress import ProgressRelay
from writ_agent.reporting.receipts import Identity, Run, receipt_message
from writ_agent.reporting.security_reports import ALARMS, Reporter
from writ_agent.reporting.spool import Asked, Intent, Parcel, Spool
from writ_agent.verification import Claimed, Order, Refused, Trust, verify_grant
from writ_agent.work.claims import ask, make_claim
from writ_agent.work.early_read import Ahead
from writ_agent.work.in_flight import Hand, Hands, Memory
from writ_agent.work.running import Running, not_begun
from writ_bus import tracing
from writ_bus.port import Bus, Delivery
from writ_contracts import subjects
from writ_contracts.agents import ClaimAnswer
from writ_contracts.errors import Invalid, TimedOut, WritError
from writ_contracts.journal import Dispatched
from writ_contracts.operations import Operation
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_runtime.clocks import ServerClock
from writ_runtime.faults import fault
from writ_runtime.logs import Log, bound
from writ_runtime.metrics import Handled
from writ_trust.statements import digest

LONGEST_DELAY = 10.0
BUSY_DELAY = 1.0
_log = Log("writ.agent")


class Parts(Struct, frozen=True, kw_only=True):
    """What a worker works with. `changed` is called when an operation begins or ends."""

    bus: Bus
    backend: Backend
    trust: Trust
    identity: Identity
    spool: Spool
    outbox: Outbox
    reporter: Reporter
    host_reads: HostReads
    meters: Meters
    hands: Hands
    time: ServerClock
    kill_grace: float
    changed: Callable[[], None]


class Worker:
    """Handles deliveries, several at a time. With `stopping` it claims nothing more."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._nonces = Memory()
        self.stopping = False

    async def handle(self, delivery: Delivery) -> None:
        """From the delivery to the receipt in the outbox."""
        fault("agent.pulled")
        work = self._read(delivery)
        if work is None or self._parts.hands.begun(work, idempotent=self._is_idempotent(work)):
            await _settle(delivery.ack())
        elif self.stopping or self._parts.hands.find(work.operation_id) or _key(work) in self._parts.outbox.pending:
            await _settle(delivery.nak(LONGEST_DELAY / 2))
        elif not self._only_reads(work) and self._parts.hands.changes(work.target):
            # This host slept past a deadline, say: executors think that what runs here is lost, and send the next one.
            _log.warning("agent.target_busy", operation_id=work.operation_id, target=work.target)
            await _settle(delivery.nak(BUSY_DELAY))
        else:
            hand = self._parts.hands.take(work)
            try:
                with bound(operation_id=work.operation_id):
                    await self._carry_out(hand, delivery)
            finally:
                self._parts.hands.drop(hand)
                self._parts.changed()

    async def _carry_out(self, hand: Hand, delivery: Delivery) -> None:
        try:
            await self._claim_and_run(hand, delivery)
        finally:
            await hand.let_go()

    async def _claim_and_run(self, hand: Hand, delivery: Delivery) -> None:
        stages = self._parts.meters.stages
        with stages.time(hand.work.operation_id, stage="look"), tracing.span("look"):
            baseline = await self._parts.host_reads.baseline(hand.work)
        claimed = make_claim(self._parts.identity, hand.work, baseline, self._boot())
        hand.ahead = self._read_ahead(hand.work)
        with stages.time(hand.work.operation_id, stage="claim"):
            answer = await self._claim(claimed, delivery)
        if answer is None:
            return
        fault("agent.claimed")
        self._parts.hands.begin(hand.work)
        await _settle(delivery.ack())
        began = self._boot()
        try:
            order = verify_grant(self._parts.trust, claimed, answer, used=self._nonces, now=self._boot())
            self._nonces.add(order.grant.nonce)
            hand.owners = {order.grant.principal, order.grant.acts_for or order.grant.principal}
            await self._intend(order, answer.grant)
            with stages.time(hand.work.operation_id, stage="run"), tracing.span("run"):
                done = await self._perform(hand, order)
            fault("agent.ran")
            await self._watch(order, done)
            await self._tell(_run(claimed, answer), done, order.operation, began)
        except (WritError, OSError) as error:
            await self._refuse(claimed, answer, error, began)

    def _boot(self) -> float:
        return self._parts.time.clocks.boot()

    def _read(self, delivery: Delivery) -> Dispatched | None:
        """The event, unless it is none for this pool: then it is dropped loudly, since it would come for ever."""
        message = delivery.message
        try:
            work = decode(message.data, Dispatched)
        except Invalid as error:
            _log.error("agent.unreadable_event", subject=message.subject, error=str(error))
            return None
        named = subjects.parse_event(message.subject)
        if named is None or (named.principal, named.operation_id) != (work.principal, work.operation_id):
            _log.error("agent.misplaced_event", subject=message.subject, operation_id=work.operation_id)
            return None
        return work

    async def _claim(self, claimed: Claimed, delivery: Delivery) -> ClaimAnswer | None:
        """The answer that should be a grant. If there is none, whoever must know has been told."""
        key = _key(claimed.work)
        try:
            if not self._only_reads(claimed.work):  # what only reads may be asked for again, whoever forgot it
                await self._parts.spool.keep(key, _asked(claimed), durable=False)
            answer = await ask(self._parts.bus, claimed, delivery, lambda: self.stopping, self._boot)
        except TimedOut as error:
            # It may be granted to us, and will not run: say so, and let the next delivery find out.
            done = Done(outcome="failed", code="not_begun", message=f"nothing was run: {error}")
            await self._tell(_run(claimed, None), done, None, claimed.sent_at)
            await _settle(delivery.nak(LONGEST_DELAY))
            return None
        except (WritError, OSError) as error:
            _log.warning("agent.not_claimed", error=str(error))
            self._parts.spool.clear(key)
            await _settle(delivery.nak(_delay(delivery)))
            return None
        if answer.error is None:
            return answer
        self._parts.spool.clear(key)
        _log.info("agent.claim_declined", code=answer.error.code, retry=answer.error.retry)
        await _settle(delivery.nak(_delay(delivery)) if answer.error.retry else delivery.ack())
        return None

    def _is_idempotent(self, work: Dispatched) -> bool:
        operation = self._parts.trust.catalogue.get(work.operation)
        return operation is not None and operation.idempotent

    def _only_reads(self, work: Dispatched) -> bool:
        operation = self._parts.trust.catalogue.get(work.operation)
        return operation is not None and operation.read_only

    async def _intend(self, order: Order, signed: Signed | None) -> None:
        """On disk before the effect. What changes nothing need not wait for the disk. Raises OSError."""
        grant = order.grant
        intent = Intent(
            operation_id=grant.operation_id,
            attempt=order.attempt,
            principal=grant.principal,
            instance=grant.instance,
            operation=grant.operation,
            grant_digest=order.grant_digest,
            grant=signed,
        )
        key = f"{grant.operation_id}.{order.attempt}"
        await self._parts.spool.keep(key, intent, durable=not order.operation.read_only)
        fault("agent.intent")

    def _read_ahead(self, work: Dispatched) -> Ahead | None:
        parts = self._parts
        if not work.ahead:
            return None
        return Ahead(work, parts.backend, parts.trust, parts.reporter, parts.kill_grace, parts.time)

    async def _perform(self, hand: Hand, order: Order) -> Done:
        """Run it, and wait. Raises Refused if the disk took so long that the grant is no longer good."""
        task = _task(order)
        if hand.ahead is not None:
            await hand.ahead.settle(task)
        if hand.stopped is not None:
            return not_begun(hand.stopped)
        if self._boot() > order.begin_by:
            raise Refused("expired_grant", "its lifetime ended before the operation could begin")
        relay = ProgressRelay(self._parts.bus, order.grant.pool, order.grant.operation_id, order.grant.principal)
        begun = hand.ahead.take() if hand.ahead is not None else None
        hand.running = begun or Running(self._parts.backend, task, relay, self._parts.kill_grace)
        self._parts.changed()
        try:
            return await hand.running.wait()
        finally:
            relay.close()

    async def _watch(self, order: Order, done: Done) -> None:
        """Some failures on a host are attempts that people should hear of."""
        if kind := ALARMS.get(done.code):
            seen = Refused(kind, f"{order.operation.name} on {order.grant.target.id} ended with {done.code}")
            await self._parts.reporter.tell(seen, order.grant.operation_id, order.grant.principal)

    async def _refuse(self, claimed: Claimed, answer: ClaimAnswer, error: WritError | OSError, began: float) -> None:
        """Nothing was run: end the operation, and tell of what should not happen."""
        work = claimed.work
        if isinstance(error, Refused):
            await self._parts.reporter.tell(error, work.operation_id, work.principal)
        code = error.code if isinstance(error, WritError) else "spool_failed"
        done = Done(outcome="failed", code=code, message=f"nothing was run: {error}")
        await self._tell(_run(claimed, answer), done, None, began)

    async def _tell(self, run: Run, done: Done, operation: Operation | None, began: float) -> None:
        seconds = self._boot() - began
        body = receipt_message(self._parts.identity, run, done, operation, seconds)
        parcel = Parcel(subject=subjects.receipt(self._parts.identity.pool), body=body)
        durable = operation is None or not operation.read_only
        with self._parts.meters.stages.time(run.operation_id, stage="tell"), tracing.span("tell"):
            await self._parts.outbox.post(f"{run.operation_id}.{run.attempt}", parcel, durable=durable)
        self._count(run.operation_id, done, operation.name if operation else "", seconds)

    def _count(self, operation_id: str, done: Done, operation: str, seconds: float) -> None:
        meters = self._parts.meters
        meters.ended.add(operation=operation, outcome=done.outcome)
        meters.seconds.observe(seconds, operation_id, operation=operation)
        outcome = "ok" if done.outcome == "succeeded" else "refused" if done.effect == "none" else "failed"
        fields = {"operation": operation, "ended": done.outcome, "effect": done.effect}
        meters.observe(Handled(endpoint="operation", outcome=outcome, code=done.code, seconds=seconds, fields=fields))


def _key(work: Dispatched) -> str:
    return f"{work.operation_id}.{work.attempt}"


def _asked(claimed: Claimed) -> Asked:
    work = claimed.work
    return Asked(
        operation_id=work.operation_id,
        attempt=work.attempt,
        principal=work.principal,
        instance=claimed.claim.instance,
        claim_digest=digest(claimed.signed),
    )


def _run(claimed: Claimed, answer: ClaimAnswer | None) -> Run:
    """It names the grant that came, whether it held or not."""
    return Run(
        operation_id=claimed.work.operation_id,
        attempt=claimed.work.attempt,
        principal=claimed.work.principal,
        instance=claimed.claim.instance,
        grant_digest=digest(answer.grant) if answer and answer.grant else None,
        claim_digest=digest(claimed.signed),
        outputs=answer is None or answer.outputs,
    )


def _task(order: Order) -> Task:
    return Task(
        operation_id=order.grant.operation_id,
        attempt=order.attempt,
        operation=order.operation,
        target=order.grant.target,
        parameters=order.parameters,
        timeout=order.grant.timeout,
        baseline=order.baseline,
    )


def _delay(delivery: Delivery) -> float:
    return min(0.25 * float(1 << min(delivery.attempt, 10)), LONGEST_DELAY)


async def _settle(told: Coroutine[None, None, None]) -> None:
    """Acked or not: where the server does not hear it, the delivery comes again and finds what was done."""
    try:
        await told
    except WritError as error:
        _log.warning("agent.not_settled", error=str(error))
