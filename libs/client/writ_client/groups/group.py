"""One operation of the catalogue by a typed method: its parameters by name, and the options of a request."""

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict

from writ_client.operations.operation_wait import OnEvent
from writ_contracts.requests import OperationView


class RunOptions(TypedDict, total=False):
    """Options of every operation. `wait`: seconds until TimedOut is raised, as the `timeout` of `Writ.run`."""

    reason: str
    dry_run: bool
    idempotency_key: str | None
    correlation_id: str | None
    sign: bool
    wait: float | None
    on_event: OnEvent


class OperationRunner(Protocol):
    """A client which runs operations. Type checkers take any arguments of `run` then, also those of `Writ.run`."""

    async def run(self, *arguments: Any, **options: Any) -> OperationView: ...

    async def with_output(self, view: OperationView) -> OperationView: ...


class OperationGroup:
    """The operations on one kind of thing. Raises the errors of `Writ.run`; a denial is an outcome of the view."""

    def __init__(self, client: OperationRunner) -> None:
        self._client = client

    async def _run(
        self, operation: str, target: str, parameters: Mapping[str, Any], options: RunOptions
    ) -> OperationView:
        """The operation when it has ended, with its whole output."""
        passed: dict[str, Any] = {"timeout" if name == "wait" else name: value for name, value in options.items()}
        return await self._client.with_output(await self._client.run(operation, target, parameters, **passed))


def without_none(**values: Any) -> dict[str, Any]:
    """Return the parameters other than None: for the others the catalogue has a default."""
    return {name: value for name, value in values.items() if value is not None}
