"""Reads of a host without changes: a baseline before a claim, and reads at an executor's request.

Each needs a read grant signed by policy.
"""

import time
from collections.abc import Callable
from typing import Any

from writ_agent.backends.bounded_call import bounded
from writ_agent.backends.port import Backend, Baselines, Probes, Task, lacks
from writ_agent.preflight.known_lacks import KnownLacks
from writ_agent.preflight.listings import list_under
from writ_agent.preflight.signed_preview import signed_preview
from writ_agent.preflight.target_test import target_report, timed_test
from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.security_reports import ALARMS, SecurityReporter
from writ_agent.reporting.signed_replies import signed_reply, with_finding
from writ_agent.verification import (
    SecurityRefusal,
    VerificationContext,
    verify_baseline_grant,
    verify_requested_grant,
    verify_test_grant,
)
from writ_bus.port import EndpointReply, Message
from writ_contracts.agents import BaselineNotice, ReadReply, ReadRequest
from writ_contracts.bounds import check_values
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import WritError
from writ_contracts.failures import failure_of, outcome_of
from writ_contracts.journal import Dispatched
from writ_contracts.operations import Operation
from writ_contracts.requests import Failure
from writ_contracts.wire import canonical, decode, encode
from writ_runtime.logs import Log
from writ_runtime.metrics import HandledMessage
from writ_runtime.turns import Turns

BASELINE_SECONDS = 5.0
LONGEST_READ = 60.0
READS_AT_ONCE, READS_WAITING = 4, 16
"""Of one target. More wait, and may time out: every principal's simulations cause them, and the host has other work."""
ENDPOINT_SLOTS = 256
LISTING_SHARE = 0.9
"""The share of a listing's or test's time for the read itself; the rest is for the reply."""
MAX_BASELINE_BYTES = 4096
MAX_OBSERVED_BYTES = 1_000_000
MOST_REMEMBERED = 4096
"""Security events of requests that are not reported again."""
_log = Log("writ.agent")


class HostReads:
    """Baselines for the worker, and the endpoint `look`."""

    def __init__(
        self,
        backend: Backend,
        trust: VerificationContext,
        identity: AgentIdentity,
        reporter: SecurityReporter,
        meters: Meters,
        now: Callable[[], float],
        known_lacks: KnownLacks,
    ) -> None:
        """`now`: the journal server's time, by which policy signs read grants. `known_lacks` gets what target tests
        find.
        """
        self._known_lacks = known_lacks
        self._now = now
        self._backend = backend
        self._identity = identity
        self._turns = Turns(READS_AT_ONCE, READS_WAITING)
        self._trust = trust
        self._reporter = reporter
        self._meters = meters
        self._reported: dict[tuple[str | None, str], None] = {}

    async def baseline(self, work: Dispatched) -> dict[str, Any]:
        """Return the target's state before the operation; empty if it cannot or may not be read."""
        try:
            return await self._baseline(work, work.attempt)
        except SecurityRefusal as refused:
            await self._reporter.report(refused, work.operation_id, work.principal)
            return {}

    async def early_baseline(self, notice: BaselineNotice) -> dict[str, Any]:
        """Return the same of an operation that is not dispatched yet."""
        try:
            return await self._baseline(notice, attempt=1)
        except SecurityRefusal as refused:
            await self._reporter.report(refused, None)  # nothing on record names the operation so far
            return {}

    async def _baseline(self, work: Dispatched | BaselineNotice, attempt: int) -> dict[str, Any]:
        """Return the state, or nothing. Raises SecurityRefusal."""
        try:
            verified = verify_baseline_grant(self._trust, work, self._now())
            if verified is None or not isinstance(self._backend, Baselines):
                return {}
            task = task_of(*verified, work.parameters, attempt, BASELINE_SECONDS)
            observed = await bounded(BASELINE_SECONDS, self._backend.baseline(task))
            check_values(observed)
            return observed if len(canonical(observed)) <= MAX_BASELINE_BYTES else {}
        except SecurityRefusal:
            raise
        except (WritError, TimeoutError) as error:
            _log.info("agent.no_baseline", operation_id=work.operation_id, reason=str(error))
            return {}
        except Exception as error:  # noqa: BLE001 - a defect of the backend must not repeat the delivery without end
            _log.error("agent.baseline_broke", operation_id=work.operation_id, exception=error)
            return {}

    async def handle(self, message: Message) -> EndpointReply:
        """Serve one ReadRequest. Every path ends in a signed ReadReply."""
        began = time.monotonic()
        reply, operation_id = await self._verified_read(message)
        code = reply.error.code if reply.error else ""
        outcome = outcome_of(code) if code else "ok"
        fields = {"operation_id": operation_id}
        self._meters.observe(
            HandledMessage(endpoint="look", outcome=outcome, code=code, seconds=time.monotonic() - began, fields=fields)
        )
        return signed_reply(self._identity, message, encode(reply))

    async def _verified_read(self, message: Message) -> tuple[ReadReply, str]:
        try:
            ask = decode(message.data, ReadRequest)
        except WritError as error:
            return ReadReply(error=failure_of(error)), ""
        try:
            if ask.action == "visit":
                grant = verify_test_grant(self._trust, ask, self._now())
                async with self._turns.turn(grant.target.id):
                    return await self._test(grant, min(max(ask.timeout, 0.1), LONGEST_READ)), grant.operation_id
            grant, operation = verify_requested_grant(self._trust, ask, self._now())
        except SecurityRefusal as refused:
            # The read grant is unverified, so the report names no operation.
            await self._reporter.report(refused, None)
            return ReadReply(error=failure_of(refused)), ""
        except WritError as error:
            return ReadReply(error=failure_of(error)), ""
        return await self._read(ask, grant, operation), grant.operation_id

    async def _read(self, ask: ReadRequest, grant: ReadGrant, operation: Operation) -> ReadReply:
        seconds = min(max(ask.timeout, 0.1), LONGEST_READ)
        task = task_of(grant, operation, ask.parameters, ask.attempt, seconds)
        try:
            reply = await bounded(seconds, self._read_in_turn(ask, grant, task, seconds))
            check_values(reply.observed)
        except TimeoutError:
            return ReadReply(error=Failure(code="timeout", message=f"not read within {seconds:g} s", retry=True))
        except WritError as error:
            await self._watch(error.code, f"{ask.action} of {grant.operation} on {grant.target.id}", grant.operation_id)
            return ReadReply(error=failure_of(error))
        except Exception as error:  # noqa: BLE001 - a defect of the backend is answered, and logged whole
            _log.error("agent.read_broke", operation_id=grant.operation_id, exception=error)
            return ReadReply(error=Failure(code="internal", message="a defect in the agent; its log has the details"))
        if len(canonical(reply.observed)) > MAX_OBSERVED_BYTES:
            return ReadReply(error=Failure(code="oversize", message="the result is too large for one message"))
        return reply

    async def _read_in_turn(self, ask: ReadRequest, grant: ReadGrant, task: Task, seconds: float) -> ReadReply:
        async with self._turns.turn(grant.target.id):
            if ask.action == "listing":
                return await self._list(ask, grant, task, seconds * LISTING_SHARE)
            if ask.action == "preview":
                return await signed_preview(self._backend, self._identity, ask, task, self._now())
            reply = await read_host(self._backend, ask, task)
            return with_finding(self._identity, ask, grant, reply) if ask.action == "probe" else reply

    async def _test(self, grant: ReadGrant, seconds: float) -> ReadReply:
        found = await timed_test(self._backend, grant.target, seconds * LISTING_SHARE)
        await self._watch(found[0].code, f"a test of {grant.target.id}", None)
        if not found[0].code:
            self._known_lacks.record(grant.target, found[0].fails)
        return ReadReply(visit=target_report(self._trust, self._identity, grant, found))

    async def _watch(self, code: str, what: str, operation_id: str | None) -> None:
        """Report a host's codes which are signs of an attack as security events: each once for a request, since the
        preview of a pending one is tried again and again.
        """
        kind = ALARMS.get(code)
        if kind is None or (operation_id, kind) in self._reported:
            return
        if operation_id is not None:
            self._reported[operation_id, kind] = None
            if len(self._reported) > MOST_REMEMBERED:
                del self._reported[next(iter(self._reported))]
        await self._reporter.report(SecurityRefusal(kind, f"{what} ended with {code}"), operation_id)

    async def _list(self, ask: ReadRequest, grant: ReadGrant, task: Task, seconds: float) -> ReadReply:
        listings, codes = await list_under(self._backend, self._identity, ask.look, grant, task, seconds)
        for code in codes:
            await self._watch(code, f"a listing for {grant.operation} on {grant.target.id}", grant.operation_id)
        return ReadReply(listings=listings)


async def read_host(backend: Backend, ask: ReadRequest, task: Task) -> ReadReply:
    """Read by the backend's capability for the action. Raises Invalid (`unsupported`)."""
    match ask.action, backend:
        case "baseline", Baselines():
            return ReadReply(observed=await backend.baseline(task))
        case "probe", Probes():
            probed = await backend.probe(task, ask.baseline)
            return ReadReply(observed=probed.observed, verdict=probed.verdict)
        case _:
            raise lacks(task, ask.action)


def task_of(grant: ReadGrant, operation: Operation, parameters: dict[str, Any], attempt: int, seconds: float) -> Task:
    """Return the task permitted by a read grant."""
    return Task(
        operation_id=grant.operation_id,
        attempt=attempt,
        operation=operation,
        target=grant.target,
        parameters=parameters,
        timeout=seconds,
        diff="diff" in grant.actions,
    )
