"""Construction of requests: always with an idempotency key, and signed.

Plain functions: time, salt and keys are arguments.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from writ_client.people.approvals import Signer
from writ_client.refused_arguments import refuse_bad_key, refuse_long_reason
from writ_contracts.people.credentials import PresenceEvidence
from writ_contracts.requests import ClientInfo, Request, RequestStatement
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key
from writ_trust.requester_presence import signed_bytes
from writ_trust.statements import sign

REUSED_SECONDS = 240.0
"""Policy accepts a statement for 300 s after it was signed."""


def new_key() -> str:
    """Return a new idempotency key (128 random bits)."""
    return secrets.token_hex(16)


def new_salt() -> str:
    """Return a key for a statement's digest of its parameters: random, since a short secret's bare hash can be
    guessed.
    """
    return secrets.token_hex(32)


def unsigned(
    target: str,
    parameters: Mapping[str, Any],
    *,
    idempotency_key: str,
    reason: str = "",
    dry_run: bool = False,
    correlation_id: str | None = None,
    client: ClientInfo | None = None,
) -> Request:
    """Return a request the NATS server alone authenticates. Raises Invalid for a reason or key of another form."""
    refuse_long_reason(reason)
    refuse_bad_key(idempotency_key)
    return Request(
        target=target,
        parameters=dict(parameters),
        reason=reason,
        dry_run=dry_run,
        idempotency_key=idempotency_key,
        correlation_id=correlation_id,
        client=client,
    )


def signed(request: Request, key: Key, principal: str, operation: str, *, salt: str, now: float) -> Request:
    """Return the request with the principal's own signature; valid for five minutes from `now` (Unix seconds)."""
    statement = RequestStatement(
        principal=principal,
        operation=operation,
        target=request.target,
        parameters_digest=keyed_digest(salt, request.parameters),
        idempotency_key=request.idempotency_key or "",
        dry_run=request.dry_run,
        issued_at=now,
        reason=request.reason or None,
    )
    return structs.replace(request, statement=sign(key, statement), salt=salt)


class RequestProof:
    """The signature and the proof of presence of one request, kept for its repetition: a busy executor refuses it
    without a record, and a person need not touch the security key once more.
    """

    def __init__(self) -> None:
        self._made: tuple[float, Request] | None = None

    async def of(
        self, request: Request, key: Key, principal: str, operation: str, by: Signer | None, now: float
    ) -> Request:
        """Return the request signed and proven, as before if it was made less than `REUSED_SECONDS` ago. The other
        arguments must be those of the first call. `now`: Unix seconds.
        """
        if self._made is None or not 0 <= now - self._made[0] < REUSED_SECONDS:
            made = signed(request, key, principal, operation, salt=new_salt(), now=now)
            self._made = now, await proven(made, by)
        return self._made[1]


async def proven(request: Request, by: Signer | None) -> Request:
    """Return the signed request with the proof of one's presence, where one is given."""
    if by is None or request.statement is None:
        return request
    evidence = await by.sign(signed_bytes(request.statement))
    return structs.replace(request, presence=PresenceEvidence(credential=by.id, evidence=evidence))
