"""The outermost frame of every endpoint: one reply on every path, and one record of each message's outcome.

An error becomes a reply with its code; a defect becomes `internal`, and its text stays in the log of the service.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from msgspec import Struct

from writ_bus.port import EndpointReply, Message
from writ_contracts import wire
from writ_contracts.attached_bytes import attach
from writ_contracts.errors import WritError
from writ_contracts.failures import failure_of, outcome_of
from writ_contracts.requests import Failure
from writ_runtime.logs import Log
from writ_runtime.metrics import HandledMessage

OF_PRINCIPALS = frozenset({"request", "query", "approval", "scan"})
LogFields = Mapping[str, object]
Respond = Callable[[Message], Coroutine[None, None, EndpointReply]]


class Reply(Struct, frozen=True):
    """The body of a reply, further fields for the log, and bytes to attach to the body's JSON."""

    body: Any
    fields: LogFields = {}
    attached: bytes = b""


Observe = Callable[[HandledMessage], None]
Handle = Callable[[Message], Awaitable[Any]]
"""Gives the body of the reply (a Struct) or a Reply; raises WritError."""


def endpoint_handler(endpoint: str, handle: Handle, refused: Callable[..., Any], observe: Observe, log: Log) -> Respond:
    """Return the handler to be served. `refused(error=Failure)`: the body of a reply with an error."""

    async def respond(message: Message) -> EndpointReply:
        started = time.perf_counter()
        try:
            body = await handle(message)
        except WritError as error:
            body = refused(error=failure_of(error))
        except Exception as error:  # noqa: BLE001 - the last frame before the wire
            log.error("endpoint.crashed", endpoint=endpoint, exception=error)
            body = refused(error=Failure(code="internal", message="a defect in this service; its log has the details"))
        reply = body if isinstance(body, Reply) else Reply(body, _fields(message, body))
        failure: Failure | None = getattr(reply.body, "error", None)
        code = failure.code if failure else ""
        outcome = outcome_of(code) if failure else "ok"
        seconds = time.perf_counter() - started
        observe(HandledMessage(endpoint=endpoint, outcome=outcome, seconds=seconds, code=code, fields=reply.fields))
        data, content_type = wire.encode_as(reply.body, message.headers.get("Content-Type", wire.JSON))
        return EndpointReply(attach(data, reply.attached) if reply.attached else data, {"Content-Type": content_type})

    return respond


def _fields(message: Message, body: Any) -> LogFields:
    operation_id = getattr(body, "operation_id", None)
    return {**_principal(message.subject), **({"operation_id": operation_id} if operation_id else {})}


def _principal(subject: str) -> LogFields:
    """Return the principal named by a subject: NATS lets nobody else publish there."""
    tokens = subject.split(".")
    return {"principal": tokens[2]} if len(tokens) > 2 and tokens[1] in OF_PRINCIPALS else {}
