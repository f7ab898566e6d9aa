"""The failure with which an accepted operation would end, as far as the target's entry and its last test show it.

Whatever else an agent checks on the host is not known before the run.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from writ_contracts.declared_places import undeclared
from writ_contracts.inventory import Target
from writ_contracts.operations import Operation
from writ_contracts.requests import ExpectedFailure
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.steps.host_reads import no_preview


def expected_failure(
    lacks: HostLacks, target: Target, operation: Operation, parameters: Mapping[str, Any], *, dry_run: bool
) -> ExpectedFailure | None:
    """Return the failure; None where none is known. A dry run reads the host only for operations with a preview."""
    if dry_run and not operation.preview:
        return None
    failure = lacks.failure(target, operation, dry_run=dry_run) or _of_entry(target, operation, parameters)
    if failure is None or not dry_run:
        return failure
    return structs.replace(failure, message=no_preview(failure.message))


def _of_entry(target: Target, operation: Operation, parameters: Mapping[str, Any]) -> ExpectedFailure | None:
    found = undeclared(target, operation, parameters)
    return None if found is None else ExpectedFailure(code=found[0], message=found[1])
