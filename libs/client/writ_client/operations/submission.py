"""Sending a request until its decision is recorded."""

from writ_bus import tracing
from writ_bus.port import Bus
from writ_client.operations.time_left import SUBMIT_SECONDS
from writ_client.queries.service_calls import request_reply
from writ_contracts import subjects
from writ_contracts.requests import Request, RequestReply

CHECK_SECONDS = 80.0
"""For one attempt to change the policy: policy checks a document for up to 60 s, and a repetition would wait behind."""
CHECKED = frozenset({"policy_publish", "policy_rollback"})


async def send_request(
    bus: Bus, principal: str, operation: str, request: Request, timeout: float | None = None
) -> RequestReply:
    """Return the reply; `timeout` in seconds, by default SUBMIT_SECONDS. Raises as `request_reply`."""
    with tracing.span(f"submit {operation}", tracing.root(request.correlation_id or ""), principal=principal):
        answer = await request_reply(
            bus,
            subjects.request(principal, operation),
            request,
            RequestReply,
            timeout=SUBMIT_SECONDS if timeout is None else timeout,
            attempt_seconds=CHECK_SECONDS if operation in CHECKED else None,
            effect=True,
        )
        tracing.note({"operation_id": answer.operation_id})
    return answer
