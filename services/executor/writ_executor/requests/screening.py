"""The checks of an understood request before policy decides: the same for real and simulated requests."""

from collections.abc import Mapping
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.operations import Operation
from writ_executor.admission.admission import Admission
from writ_executor.agents.targets import Targets
from writ_executor.control.operations import ControlOperations
from writ_executor.journal.lookup import OperationTable
from writ_executor.requests.visible import TargetVisibility

COMMANDS = {
    "approval_decide": "writ approvals approve",
    "audit_read": "writ audit search",
    "backend_test": "writ target test",
}
"""Control operations that only name a permission: people use it by these commands."""


class RequestScreening:
    """Refuses whatever this installation could not carry out now."""

    def __init__(
        self,
        targets: Targets,
        visible: TargetVisibility,
        admission: Admission,
        controls: ControlOperations,
        lives: OperationTable,
        *,
        dry_run_only: bool,
    ) -> None:
        self._targets = targets
        self._visible = visible
        self._admission = admission
        self._controls = controls
        self._lives = lives
        self._dry_run_only = dry_run_only

    def dry(self, dry_run: bool) -> bool:
        """Return whether the request counts as a dry run. All do where the installation allows nothing else."""
        return dry_run or self._dry_run_only

    async def screen(
        self, principal: str, key: str, operation: Operation, target: str, parameters: Mapping[str, Any]
    ) -> str | None:
        """Check the request. Raises Invalid (`unsupported`, `unknown_target`, `not_found`), Full. `key`: the sender's.

        Return the owner of the operation that a control operation acts on; None for any other request.
        """
        owner = await self._owner(operation, parameters)
        try:
            await self._targets.require(target, operation)
        except Invalid:
            await self._visible.require(principal, key, target)
            raise
        self._admission.room(principal, operation)
        return owner

    async def _owner(self, definition: Operation, parameters: Mapping[str, Any]) -> str | None:
        if not definition.control:
            return None
        if definition.name not in self._controls.offered:
            raise Invalid(_not_offered(definition.name), code="unsupported")
        if "operation_id" not in parameters:
            return None
        principal, _ = await self._lives.find_any(str(parameters["operation_id"]))
        return principal


def _not_offered(operation: str) -> str:
    command = COMMANDS.get(operation)
    if command is None:
        return f"{operation} is not offered by this installation"
    return f"{operation} names a permission, and is no operation to request: use `{command}`"
