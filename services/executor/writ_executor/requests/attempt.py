"""What is known of a request while it is being understood; enough to record it, whatever turns out to be wrong."""

import os
from typing import Any

import msgspec
from msgspec import Struct, json

from writ_bus import tracing
from writ_bus.port import Message
from writ_contracts import wire
from writ_contracts.errors import Invalid
from writ_contracts.ids import TargetId, encode_id, operation_id
from writ_contracts.operations import Operation
from writ_contracts.requests import MAX_REQUEST_BYTES, Request

REQUEST_INFO = "Nats-Request-Info"


class Attempt(Struct, frozen=True, kw_only=True):
    """What is known of a request so far; enough to record it, whatever turns out to be wrong with it."""

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
        """The target as claimed, also where the rest of the request was not understood."""
        return self.request.target if self.request else self.claimed

    @property
    def dry_run(self) -> bool:
        """Whether only a preview is asked for."""
        return self.request is not None and self.request.dry_run


def new_attempt(principal: str, operation: str, message: Message) -> Attempt:
    """Before anything of the message is understood."""
    trace = tracing.current() or tracing.root()
    return Attempt(
        principal=principal,
        operation=operation,
        key=sender_key(message),
        operation_id=encode_id(os.urandom(16)),
        correlation_id=trace.correlation_id,
    )


def chosen_id(attempt: Attempt, request: Request) -> str:
    """The id that the idempotency key gives, if there is one."""
    if request.idempotency_key is None:
        return attempt.operation_id
    return operation_id(attempt.principal, request.idempotency_key)


def sender_key(message: Message) -> str:
    """The user key that the NATS server says sent this (it overwrites a forged header); empty if it says none."""
    try:
        info = json.decode(message.headers.get(REQUEST_INFO, "{}"))
    except msgspec.DecodeError:
        return ""
    return str(info.get("user", "")) if isinstance(info, dict) else ""


class _Claimed(Struct, frozen=True):
    target: TargetId = ""


def claimed_target(message: Message) -> str:
    """The target of a request that has something else wrong with it; empty if that cannot be told either."""
    content_type = message.headers.get("Content-Type", wire.JSON)
    try:
        return wire.decode(message.data, _Claimed, content_type=content_type, limit=MAX_REQUEST_BYTES).target
    except Invalid:
        return ""


def request_of(attempt: Attempt) -> Request:
    """The request, once it was understood."""
    if attempt.request is None:
        raise Invalid("the request was not understood")
    return attempt.request


def definition_of(attempt: Attempt) -> Operation:
    """The operation, once it was found."""
    if attempt.definition is None:
        raise Invalid("the operation is not known", code="unknown_operation")
    return attempt.definition
