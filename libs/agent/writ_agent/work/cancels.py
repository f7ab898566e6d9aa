"""The endpoint `cancel`: stop a running operation if policy signed the cancel, and report if the stop is certain."""

import time
from collections.abc import Callable, Collection

from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.security_reports import SecurityReporter
from writ_agent.reporting.signed_replies import signed_reply
from writ_agent.verification import SecurityRefusal, VerificationContext, verify_cancel
from writ_agent.work.in_flight import InFlightOperations
from writ_bus.port import EndpointReply, Message
from writ_contracts.agents import CancelReply, CancelRequest
from writ_contracts.errors import WritError
from writ_contracts.failures import failure_of, outcome_of
from writ_contracts.wire import decode, encode
from writ_runtime.metrics import HandledMessage


class CancelEndpoint:
    """Answers each CancelRequest. `ended`: ids of ended operations whose receipt is on its way."""

    def __init__(
        self,
        trust: VerificationContext,
        identity: AgentIdentity,
        in_flight: InFlightOperations,
        ended: Callable[[], Collection[str]],
        reporter: SecurityReporter,
        meters: Meters,
    ) -> None:
        self._trust = trust
        self._identity = identity
        self._in_flight = in_flight
        self._ended = ended
        self._reporter = reporter
        self._meters = meters

    async def handle(self, message: Message) -> EndpointReply:
        """Handle a cancel. Every path ends in a signed CancelReply."""
        began = time.monotonic()
        try:
            ask = decode(message.data, CancelRequest)
            cancelled = await self._cancel(ask)
        except WritError as error:
            cancelled = CancelReply(error=failure_of(error))
        code = cancelled.error.code if cancelled.error else ""
        self._meters.observe(
            HandledMessage(
                endpoint="cancel",
                outcome=outcome_of(code) if code else "ok",
                code=code,
                seconds=time.monotonic() - began,
                fields={"result": cancelled.result},
            )
        )
        return signed_reply(self._identity, message, encode(cancelled))

    async def _cancel(self, ask: CancelRequest) -> CancelReply:
        entry = self._in_flight.find(ask.operation_id)
        if entry is None:  # a receipt on its way has the outcome, perhaps `unknown`
            return CancelReply(result="not_confirmed" if ask.operation_id in self._ended() else "not_running")
        try:
            verify_cancel(self._trust, ask, entry.owners)
        except SecurityRefusal as refused:
            await self._reporter.report(refused, ask.operation_id)
            raise
        stopped = await entry.stop("cancel") and entry.known
        return CancelReply(result="stopped" if stopped else "not_confirmed")
