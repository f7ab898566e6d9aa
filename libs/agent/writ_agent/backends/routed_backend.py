"""Routing between a backend's own operations and handlers of plugins. Each operation has exactly one handler."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from writ_agent.backends.port import (
    Backend,
    Baselines,
    Handler,
    Leftovers,
    Listings,
    Previews,
    ProbeResult,
    Probes,
    Progress,
    Queues,
    TargetTester,
    TargetTestResult,
    Task,
    TaskResult,
    cannot_list,
    cannot_test_targets,
    lacks,
)
from writ_agent.backends.target_health import TargetHealth
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target


class RoutedBackend:
    """A backend with plugin handlers beside its own operations. A capability missing in the handler is
    `unsupported`.
    """

    def __init__(self, backend: Backend, handlers: Mapping[str, Handler]) -> None:
        """Raises Invalid if a plugin brings an operation of the backend."""
        if twice := sorted(set(backend.operations) & set(handlers)):
            raise Invalid(f"a plugin and the backend {backend.name} both carry out {', '.join(twice)}")
        self.name = backend.name
        self.operations = frozenset({*backend.operations, *handlers})
        self.check = backend.check
        self._backend = backend
        self._handlers = handlers
        self._running: dict[str, Handler] = {}

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        handler = self._of(task)
        self._running[task.operation_id] = handler
        try:
            return await handler.run(task, progress)
        finally:
            self._running.pop(task.operation_id, None)

    async def stop(self, operation_id: str, grace: float) -> bool:
        handler = self._running.get(operation_id)
        return handler is None or await handler.stop(operation_id, grace)

    def queued_seconds(self, operation_id: str) -> float:
        """Return the wait in the handler's queue, if it has one."""
        match self._running.get(operation_id, self._backend):
            case Queues() as handler:
                return handler.queued_seconds(operation_id)
            case _:
                return 0.0

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Read the baseline by the operation's handler."""
        match self._of(task):
            case Baselines() as handler:
                return await handler.baseline(task)
            case _:
                raise lacks(task, "baseline")

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Probe by the operation's handler."""
        match self._of(task):
            case Probes() as handler:
                return await handler.probe(task, baseline)
            case _:
                raise lacks(task, "probe")

    async def preview(self, task: Task) -> dict[str, Any]:
        match self._of(task):
            case Previews() as handler:
                return await handler.preview(task)
            case _:
                raise lacks(task, "preview")

    async def listing(self, target: Target, source: str) -> list[str]:
        """List by the backend: a listing is about the target, not about an operation."""
        match self._backend:
            case Listings() as backend:
                return await backend.listing(target, source)
            case _:
                raise cannot_list(source)

    @property
    def target_health(self) -> TargetHealth:
        """Return the backend's results per target."""
        return self._backend.target_health if isinstance(self._backend, TargetTester) else TargetHealth()

    async def test_target(self, target: Target) -> TargetTestResult:
        """Test the target by the backend. Plugin operations, carried out by the agent itself, are always available."""
        match self._backend:
            case TargetTester() as backend:
                found = await backend.test_target(target)
                return (
                    structs.replace(found, operations=[*found.operations, *self._handlers]) if not found.code else found
                )
            case _:
                raise cannot_test_targets(self.name)

    async def settle(self, task: Task) -> TaskResult | None:
        """Settle by the operation's handler; None if it works by processes of this host."""
        match self._of(task):
            case Leftovers() as handler:
                return await handler.settle(task)
            case _:
                return None

    def _of(self, task: Task) -> Handler:
        return self._handlers.get(task.operation.name, self._backend)
