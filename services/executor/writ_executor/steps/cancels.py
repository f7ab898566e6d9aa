"""Cancel requests to the agent of an operation, until it answers. The outcome comes by its receipt, like any other."""

from typing import Literal

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import CancelReply, CancelRequest
from writ_contracts.life import CancellingLife
from writ_contracts.wire import decode, encode
from writ_executor.agents.signed_replies import SignedReplies
from writ_executor.policy.answers import exception_of

SECONDS = 12.0
CancelResult = Literal["stopped", "not_confirmed", "not_running"]


class Cancels:
    """Sends recorded cancels to agents."""

    def __init__(self, bus: Bus, replies: SignedReplies) -> None:
        self._bus = bus
        self._replies = replies
        self._open: set[str] = set()

    async def request(self, life: CancellingLife) -> CancelResult:
        """Send the cancel once and return the agent's reply. Raises Unreachable, TimedOut, or Untrusted for a forged
        reply; the sweep repeats it.
        """
        request = encode(
            CancelRequest(
                operation_id=life.cancel.operation_id,
                decision=life.cancel.decision,
                parameters=life.cancel.parameters,
                parameters_key=life.cancel.parameters_key,
            )
        )
        subject = subjects.cancel(life.requested.pool, life.started.instance)
        message = await self._bus.request(subject, request, timeout=SECONDS)
        await self._replies.check_claimants(life, request, message)
        reply = decode(message.data, CancelReply)
        if reply.error is not None:
            raise exception_of(reply.error)
        return reply.result

    async def request_again(self, life: CancellingLife) -> None:
        """Do as `request` does, for the sweep, unless an earlier request is still open."""
        operation_id = life.requested.operation_id
        if operation_id in self._open:
            return
        self._open.add(operation_id)
        try:
            await self.request(life)
        finally:
            self._open.discard(operation_id)
