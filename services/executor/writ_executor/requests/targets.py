"""The inventory as the executor needs it: which pool serves a target, and what requesters may see of it."""

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Inventory, Target
from writ_contracts.operations import Catalogue, Operation, offers
from writ_contracts.requests import TargetView
from writ_executor.agents.presence import Presence
from writ_runtime.watched_file import Watched


class Targets:
    """Targets by id, from a file that may change while we run. Policy has its own copy, and the last word."""

    def __init__(self, inventory: Watched[Inventory], catalogue: Catalogue, presence: Presence) -> None:
        self._inventory = inventory
        self._catalogue = catalogue
        self._presence = presence
        self._made_of: Inventory | None = None
        self._by_id: dict[str, Target] = {}

    def begin_refresh(self) -> None:
        """A request has come: what the file has now is read while policy reads the same."""
        self._inventory.begin()

    async def find(self, target_id: str) -> Target:
        """The target as the file has it now. Raises Invalid (`unknown_target`)."""
        await self._inventory.refresh()
        target = self._all().get(target_id)
        if target is None:
            raise Invalid(f"there is no target {target_id!r} in the inventory", code="unknown_target")
        return target

    async def require(self, target_id: str, operation: Operation) -> None:
        """Raises Invalid (`unsupported`) where agents of the target's pool are there and none of them has it. Nobody is
        refused by what the file said before; who is not, need not wait until it is read.
        """
        if self._is_without(target_id, operation):
            await self._inventory.refresh()
            if pool := self._is_without(target_id, operation):
                raise Invalid(f"no agent of pool {pool} has {operation.name}", code="unsupported")

    def _is_without(self, target_id: str, operation: Operation) -> str:
        """The target's pool, where that is so."""
        target = self._all().get(target_id)
        announced = self._announced(target.pool) if target and not operation.control else None
        lacks = announced is not None and operation.name not in announced
        return target.pool if target and lacks else ""

    def _announced(self, pool: str) -> frozenset[str] | None:
        agents = self._presence.agents(pool)
        return frozenset(name for agent in agents for name in agent.operations) if agents else None

    async def views(self) -> list[TargetView]:
        """All of them, for requesters, as the file has them now."""
        await self._inventory.refresh()
        return [self._view(target) for _, target in sorted(self._all().items())]

    def _all(self) -> dict[str, Target]:
        if self._made_of is not self._inventory.value:
            self._made_of = self._inventory.value
            self._by_id = {target.id: target for target in self._made_of.targets}
        return self._by_id

    def _view(self, target: Target) -> TargetView:
        announced = self._announced(target.pool)
        offered = (name for name, item in self._catalogue.items() if offers(target.capabilities, target.backend, item))
        return TargetView(
            id=target.id,
            role=target.role,
            backend=target.backend,
            pool=target.pool,
            tags=target.tags,
            operations=sorted(name for name in offered if announced is None or name in announced),
            agents=len(self._presence.agents(target.pool)),
        )
