"""The checks of an understood request before policy decides: the same for real and simulated requests."""

from collections.abc import Mapping
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.operations import Operation
from writ_executor.admission.admission import Admission
from writ_executor.agents.targets import Targets
from writ_executor.requests.visible import TargetVisibility
from writ_executor.rounds.accepted_operations import AcceptedOperations


class RequestScreening:
    """Refuses whatever this installation could not carry out now."""

    def __init__(
        self,
        targets: Targets,
        visible: TargetVisibility,
        admission: Admission,
        accepted: AcceptedOperations,
        *,
        dry_run_only: bool,
    ) -> None:
        self._targets = targets
        self._visible = visible
        self._admission = admission
        self._accepted = accepted
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
        owner = await self._accepted.owner(operation, parameters)
        try:
            await self._targets.require(target, operation)
        except Invalid:
            await self._visible.require(principal, key, target)
            raise
        self._admission.room(principal, operation)
        return owner
