"""The reads of backends which carry out operations by hostops; they differ only in the way to the host."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from writ_agent.backends.hostops_requests import (
    Action,
    HostopsResult,
    allowed,
    listing_request,
    names_of,
    probed_of,
    read_result,
    request,
    secrets_of,
)
from writ_agent.backends.port import ProbeResult, Task, cannot_list
from writ_contracts.inventory import Target
from writ_hostops.listings import LISTINGS


class HostopsBackend(ABC):
    """Baseline, preview, probe and listing by hostops. A subclass adds `run`, `stop` and the way to the host."""

    async def baseline(self, task: Task) -> dict[str, Any]:
        return (await self._read("baseline", task)).state

    async def preview(self, task: Task) -> dict[str, Any]:
        return (await self._read("preview", task)).output

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        return probed_of(await self._read("probe", task, baseline))

    async def listing(self, target: Target, source: str) -> list[str]:
        if source not in LISTINGS:
            raise cannot_list(source)
        message = listing_request(source, self.declared(target))
        return names_of(read_result("listing", await self.read_host(target, message, (), message["timeout"])))

    @abstractmethod
    async def read_host(
        self, target: Target, message: Mapping[str, Any], secrets: Collection[str], patience: float
    ) -> Mapping[str, Any] | None:
        """Return hostops' reply to a read; None if it ended without one. Raises Unreachable after `patience` seconds.

        No `secrets` may appear in a log.
        """

    def declared(self, target: Target) -> dict[str, Any]:
        return allowed(target)

    async def _read(self, action: Action, task: Task, baseline: Mapping[str, Any] | None = None) -> HostopsResult:
        """Read the host. Raises WritError for a refusal by hostops."""
        message = request(action, task, self.declared(task.target), baseline)
        return read_result(action, await self.read_host(task.target, message, secrets_of(task), task.timeout), task)
