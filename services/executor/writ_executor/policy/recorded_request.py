"""The question to policy about an operation in the journal: the same as at its request."""

from typing import Any

from writ_contracts.decisions import Subject
from writ_contracts.journal import Requested


def subject_of(requested: Requested, parameters: dict[str, Any], parameters_key: str) -> Subject:
    """Return the subject of a decision, from the record and the requester's whole parameters."""
    return Subject(
        operation_id=requested.operation_id,
        principal=requested.principal,
        key=requested.key,
        operation=requested.operation,
        target=requested.target,
        parameters=parameters,
        parameters_key=parameters_key,
        dry_run=requested.dry_run,
        idempotency_key=requested.idempotency_key,
        statement=requested.statement,
        recorded=True,
        salt=requested.salt,
        presence=requested.presence,
        reason=requested.reason,
    )
