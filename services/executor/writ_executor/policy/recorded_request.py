"""The question to policy about an operation that is in the journal: the same as at its request, asked again later."""

from typing import Any

from writ_contracts.decisions import Subject
from writ_contracts.journal import Requested


def subject_of(requested: Requested, parameters: dict[str, Any], parameters_key: str) -> Subject:
    """What policy needs, from the record and the caller's own (whole) parameters."""
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
    )
