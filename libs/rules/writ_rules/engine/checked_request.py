"""A request by its operation, target, principal and parameters, checked in one way for the service and for files."""

from collections.abc import Mapping
from typing import Any

from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Operation, has_operation, not_offered
from writ_rules.engine.clauses.case import DecisionRequest


def checked_request(
    operation: Operation,
    target: Target,
    principal: Principal,
    parameters: Mapping[str, Any],
    *,
    at: float,
    dry_run: bool = False,
    person: str = "",
) -> DecisionRequest:
    """Return the request with the catalogue's defaults.

    Raises Invalid if the target does not offer the operation, or the operation does not accept the parameters.
    """
    if not has_operation(target, operation):
        raise not_offered(target, operation)
    effective = operation.check(parameters)
    return DecisionRequest(
        operation=operation,
        target=target,
        principal=principal,
        parameters={name: effective[name] for name in parameters if name in effective},
        effective=effective,
        at=at,
        dry_run=dry_run,
        person=person,
    )
