"""The stages of a request: received, decoded, checked. Each has enough to record the request, with an error."""

import os
from collections.abc import Mapping
from typing import Any, Self

from msgspec import Struct, structs

from writ_bus import tracing
from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts import wire
from writ_contracts.errors import Invalid
from writ_contracts.ids import TargetId, encode_id, operation_id
from writ_contracts.operations import Operation
from writ_contracts.requests import MAX_REQUEST_BYTES, Request
from writ_contracts.signing import Signed
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import request_fingerprint
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.journal.search_digests import hidden_digests
from writ_executor.journal.shared_keys import OperationKeys

STATEMENT_BYTES = 4_096
"""No genuine statement is longer."""


class Attempt(Struct, frozen=True, kw_only=True):
    """A request before it is decoded: its sender and its ids."""

    principal: str
    operation: str
    key: str
    operation_id: str
    correlation_id: str
    fingerprint: str = ""
    target: str = ""
    """The target as sent, even where the rest cannot be decoded."""

    def recorded(self, detail: AuditDetail) -> dict[str, Any]:
        """Return the fields of a `refused` event known at this stage, besides those of every refusal."""
        return {}


class DecodedAttempt(Attempt, frozen=True, kw_only=True):
    """A decoded request, whose operation and parameters are not checked yet."""

    request: Request
    keys: OperationKeys
    """For the operation's digests, also those that are recorded later: the key in use may be another by then."""
    texts: LargeParameters

    def unsigned_texts(self, definition: Operation) -> list[str]:
        """Return the large texts that nobody signed and that policy need not read, unless a rule constrains them."""
        if self.request.statement is not None:
            return []
        return [name for name in definition.by_digest if name in self.texts.texts]

    def is_unsigned(self, definition: Operation | None) -> bool:
        """Return whether these are all of its large texts."""
        return definition is not None and len(self.unsigned_texts(definition)) == len(self.texts.texts)

    def with_fingerprint(self) -> Self:
        """Return the attempt with its fingerprint, which takes a millisecond for a large one."""
        if self.fingerprint:
            return self
        return structs.replace(
            self, fingerprint=fingerprint(self.keys, self.operation, self.request, self.texts.digests)
        )

    def recorded(self, detail: AuditDetail) -> dict[str, Any]:
        return {
            "reason": self.request.reason,
            "dry_run": self.request.dry_run,
            "statement": _small(self.request.statement),
            "client": self.request.client,
        }


class CheckedAttempt(DecodedAttempt, frozen=True, kw_only=True):
    """A request for a known operation, with valid parameters, exactly as sent and signed by the principal."""

    definition: Operation
    parameters: dict[str, Any]

    def recorded(self, detail: AuditDetail) -> dict[str, Any]:
        shown, hidden = detail.refused(self.definition, self.parameters)
        digests = hidden_digests(self.keys, self.definition, shown, self.parameters)
        return {**super().recorded(detail), "parameters": shown, "hidden": hidden, "search_digests": digests}


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


class _ClaimedRequest(Struct, frozen=True):
    target: TargetId = ""


def claimed_target(message: Message) -> str:
    """Return the target of an otherwise invalid request; "" if it cannot be read either."""
    content_type = message.headers.get("Content-Type", wire.JSON)
    try:
        return wire.decode(message.data, _ClaimedRequest, content_type=content_type, limit=MAX_REQUEST_BYTES).target
    except Invalid:
        return ""


def read_request(message: Message) -> tuple[Request, int]:
    """Return the request, and the size of its rest for `LargeParameters`. Raises Invalid."""
    content_type = message.headers.get("Content-Type", wire.JSON)
    return wire.decode_packed(message.data, Request, content_type=content_type, limit=MAX_REQUEST_BYTES)


def fingerprint(keys: OperationKeys, operation: str, request: Request, digests: Mapping[str, str]) -> str:
    """Return the digest of the request, valid or not: the idempotency key of a refused request is used up as well.
    `digests`: those of its large texts.
    """
    try:
        return request_fingerprint(keys, operation, request.target, request.parameters, request.dry_run, digests)
    except RecursionError as error:  # this is called from deeper down than what decoded it
        raise Invalid("nested too deeply") from error


def decoded(attempt: Attempt, request: Request, keys: OperationKeys, others: int) -> DecodedAttempt:
    """Return the next stage of the attempt. The id is the one chosen by the idempotency key.

    A large request gets its fingerprint later, while policy decides. Raises Invalid if it is nested too deeply.
    """
    fields = {
        **structs.asdict(attempt),
        "operation_id": chosen_id(attempt, request),
        "correlation_id": request.correlation_id or attempt.correlation_id,
        "target": request.target,
    }
    texts = LargeParameters(keys.parameters, request.parameters, others)
    read = DecodedAttempt(**fields, request=request, keys=keys, texts=texts)
    return read if texts.texts and _is_flat(request.parameters) else read.with_fingerprint()


def checked(attempt: DecodedAttempt, definition: Operation) -> CheckedAttempt:
    """Return the next stage of the attempt. Raises Invalid for parameters which the operation does not accept."""
    parameters = attempt.request.parameters
    definition.check(parameters)
    return CheckedAttempt(**structs.asdict(attempt), definition=definition, parameters=parameters)


def _is_flat(parameters: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in parameters.values())


def _small(statement: Signed | None) -> Signed | None:
    """Return the statement, unless its size would keep the refusal itself out of the record."""
    small = statement is not None and len(bytes(statement.payload)) + len(statement.signature) <= STATEMENT_BYTES
    return statement if small else None
