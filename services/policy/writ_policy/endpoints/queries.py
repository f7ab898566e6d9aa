"""The endpoints of the questions that principals ask: one answer in their own encoding, one record, on every path."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from writ_bus.port import Endpoint, EndpointReply, Message
from writ_contracts.errors import Denied, Full, Invalid, WritError
from writ_contracts.registry import channel
from writ_contracts.requests import Failure
from writ_contracts.subjects import parse_query
from writ_contracts.wire import JSON, encode_as
from writ_runtime.buckets import Buckets
from writ_runtime.logs import Log
from writ_runtime.metrics import Handled, Observer

CONCURRENCY = 4
"""Questions of one kind that are worked on at once: decisions come first."""
RATE, BURST = 200.0, 400.0
"""Questions of one principal that are answered, a second and at once."""

_log = Log("writ.policy")


def endpoint(name: str, handler: Callable[[Message], Awaitable[Any]], observe: Observer, buckets: Buckets) -> Endpoint:
    """The question of that name in the registry, answered by the handler, which raises WritError; `buckets`: how many a
    second of one principal are answered.
    """
    query_channel = channel(name)

    async def answered(message: Message) -> EndpointReply:
        started = time.perf_counter()
        outcome, code = "ok", ""
        try:
            principal, _ = parse_query(message.subject)
            if not buckets.take(principal, time.monotonic()):
                raise Full(f"{principal} asks more questions a second than are answered: wait", code="rate_limited")
            reply = await handler(message)
        except WritError as error:
            code, outcome = error.code, "refused" if isinstance(error, Invalid | Denied | Full) else "failed"
            reply = query_channel.answer(error=Failure(code=code, message=str(error)[:1000], retry=error.retry))
        except Exception as error:  # noqa: BLE001 - the last frame before the wire: a defect is told
            _log.error(f"{name}.crashed", exception=error)
            code, outcome = "internal", "failed"
            reply = query_channel.answer(error=Failure(code=code, message="a defect in policy: see its log"))
        seconds = time.perf_counter() - started
        observe(Handled(endpoint=name, outcome=outcome, seconds=seconds, code=code, fields=_principal_of(message)))
        data, content_type = encode_as(reply, message.headers.get("Content-Type", JSON))
        return EndpointReply(data, {"Content-Type": content_type})

    return Endpoint(name=name, subject=query_channel.subject(), handler=answered, concurrency=CONCURRENCY)


def _principal_of(message: Message) -> dict[str, str]:
    try:
        return {"principal": parse_query(message.subject)[0]}
    except Invalid:
        return {}
