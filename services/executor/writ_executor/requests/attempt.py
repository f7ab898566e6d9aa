"""A request while it is being understood. At each point there is enough to record it, with its error."""

import os
from typing import Any

from msgspec import Struct

from writ_bus import tracing
from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts import wire
from writ_contracts.errors import Invalid
from writ_contracts.ids import TargetId, encode_id, operation_id
from writ_contracts.operations import Operation
from writ_contracts.requests import MAX_REQUEST_BYTES, Request


class Attempt(Struct, frozen=True, kw_only=True):
    """The known facts of a request so far, enough to record it with any error."""

    principal: str
    operation: str
    key: str
    operation_id: str
    correlation_id: str
    request: Request | None = None
    claimed: str = ""
    fingerprint: str = ""
    definition: Operation | None = None
    parameters: dict[str, Any] = {}

    @property
    def target(self) -> str:
        """Return the target, even if the rest of the request was not understood."""
        return self.request.target if self.request else self.claimed

    @property
    def dry_run(self) -> bool:
        """Return whether only a preview is requested."""
        return self.request is not None and self.request.dry_run


def new_attempt(principal: str, operation: str, message: Message) -> Attempt:
    """Return the attempt before anything of the message is decoded."""
    trace = tracing.current() or tracing.root()
    return Attempt(
        principal=principal,
        operation=operation,
        key=sender_key(message),
        operation_id=encode_id(os.urandom(16)),
        correlation_id=trace.correlation_id,
    )


def chosen_id(attempt: Attempt, request: Request) -> str:
    """Return the id from the idempotency key, or the random one without a key."""
    if request.idempotency_key is None:
        return attempt.operation_id
    return operation_id(attempt.principal, request.idempotency_key)


class _Claimed(Struct, frozen=True):
    target: TargetId = ""


def claimed_target(message: Message) -> str:
    """Return the target of an otherwise invalid request; "" if it cannot be read either."""
    content_type = message.headers.get("Content-Type", wire.JSON)
    try:
        return wire.decode(message.data, _Claimed, content_type=content_type, limit=MAX_REQUEST_BYTES).target
    except Invalid:
        return ""


def request_of(attempt: Attempt) -> Request:
    """Return the decoded request."""
    if attempt.request is None:
        raise Invalid("the request was not understood")
    return attempt.request


def definition_of(attempt: Attempt) -> Operation:
    """Return the found operation."""
    if attempt.definition is None:
        raise Invalid("the operation is not known", code="unknown_operation")
    return attempt.definition
