"""The inventory for the executor: the pool of a target, and its view for requesters."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Inventory, Target
from writ_contracts.operations import Catalogue, Operation, has_operation
from writ_contracts.requests import TargetView
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.agents.presence import AgentPresence
from writ_runtime.files.watched_file import WatchedFile

SETTLING = 5.0
"""Seconds after an edit within which two services may have read different files of ten thousand targets."""


class Targets:
    """Targets by id, from a file which may change at any time. Policy has its own copy, which decides."""

    def __init__(
        self, inventory: WatchedFile[Inventory], catalogue: Catalogue, presence: AgentPresence, lacks: HostLacks
    ) -> None:
        self._inventory = inventory
        self._catalogue = catalogue
        self._presence = presence
        self._lacks = lacks
        self._made_of: Inventory | None = None
        self._by_id: dict[str, Target] = {}
        self._before: dict[str, Target] = {}

    def begin_refresh(self) -> None:
        """Begin to read a changed file while policy reads the same one for this request."""
        self._inventory.begin()

    async def find(self, target_id: str) -> Target:
        """Return the target in the present file, or in the last one while a large one is read. Raises Invalid
        (`unknown_target`).
        """
        target = await self._present(target_id)
        if target is None:
            raise Invalid(f"there is no target {target_id!r} in the inventory", code="unknown_target")
        return target

    async def is_granted(self, target_id: str, granted: Target) -> bool:
        """Return whether a grant is for this target as the present file has it, or the one before within moments of an
        edit: policy may have read that later.
        """
        if await self._present(target_id) != granted:
            await self._inventory.refresh()
        lately = self._before.get(target_id) if self._inventory.age < SETTLING else None
        return granted in (self._all().get(target_id), lately)

    async def role_of(self, target_id: str) -> str | None:
        """Return the target's role, None where the inventory does not have it any more."""
        target = await self._present(target_id)
        return None if target is None else target.role

    async def _present(self, target_id: str) -> Target | None:
        """Return the target. Only the present file decides that there is none."""
        await self._inventory.refresh(waits=False)
        if target_id not in self._all():
            await self._inventory.refresh()
        return self._all().get(target_id)

    async def require(self, target_id: str, operation: Operation) -> None:
        """Raises Invalid (`unsupported`) if the pool has agents and none of them offers the operation.

        A refusal is always based on the present file; an acceptance does not wait for it.
        """
        if self._is_without(target_id, operation):
            await self._inventory.refresh()
            if pool := self._is_without(target_id, operation):
                raise Invalid(f"no agent of pool {pool} offers {operation.name}", code="unsupported")

    def _is_without(self, target_id: str, operation: Operation) -> str:
        """Return the target's pool if none of its agents offers the operation, else ""."""
        target = self._all().get(target_id)
        if target is None or operation.control:
            return ""
        offering = [operation.name in agent.operations for agent in self._presence.agents(target.pool)]
        return target.pool if offering and not any(offering) else ""

    def _announced(self, pool: str) -> frozenset[str] | None:
        agents = self._presence.agents(pool)
        return frozenset(name for agent in agents for name in agent.operations) if agents else None

    async def views(self, after: str | None = None) -> Iterator[TargetView]:
        """Yield the targets of the present file behind `after`, by id, for requesters."""
        await self._inventory.refresh(waits=False)
        all_of_them = self._all()
        ids = sorted(all_of_them)
        page = islice(ids, bisect_right(ids, after) if after else 0, None)
        return (self._view(all_of_them[target_id]) for target_id in page)

    def _all(self) -> dict[str, Target]:
        if self._made_of is not self._inventory.value:
            self._made_of = self._inventory.value
            self._before = self._by_id
            self._by_id = {target.id: target for target in self._made_of.targets}
        return self._by_id

    def _view(self, target: Target) -> TargetView:
        announced = self._announced(target.pool)
        offered = (name for name, item in self._catalogue.items() if has_operation(target, item))
        operations = sorted(name for name in offered if announced is None or name in announced)
        lacking = self._lacks.failures(target)
        return TargetView(
            id=target.id,
            role=target.role,
            backend=target.backend,
            pool=target.pool,
            tags=target.tags,
            operations=operations,
            agents=len(self._presence.agents(target.pool)),
            lacking={name: lacking[name] for name in operations if name in lacking},
        )
