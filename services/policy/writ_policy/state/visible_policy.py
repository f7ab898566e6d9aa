"""The part of a world which one principal sees: all of it, or only what its rules reach."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_rules.engine.compile import Policy
from writ_rules.engine.reach import Reach


class VisiblePolicy(Struct, frozen=True, eq=False):
    """The policy and the targets. `reach`: the limit, None where the principal sees everything."""

    policy: Policy
    targets: Mapping[str, Target]
    reach: Reach | None = None

    def target(self, target_id: str) -> Target:
        """Return the target. Raises Invalid (`unknown_target`), for one out of reach as for none at all."""
        return find_target(self.targets, target_id)


class VisibleTargets(Mapping[str, Target]):
    """The targets which a principal sees, judged one by one as they are read."""

    def __init__(self, targets: Mapping[str, Target], reach: Reach) -> None:
        self._targets, self._reach = targets, reach

    def __getitem__(self, target_id: str) -> Target:
        target = self._targets[target_id]
        if not self._reach.sees(target):
            raise KeyError(target_id)
        return target

    def __iter__(self) -> Iterator[str]:
        return (target_id for target_id, target in self._targets.items() if self._reach.sees(target))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def find_target(targets: Mapping[str, Target], target_id: str) -> Target:
    """Return the target. Raises Invalid (`unknown_target`)."""
    try:
        return targets[target_id]
    except KeyError:
        raise Invalid(f"no target {target_id!r} in the inventory", code="unknown_target") from None
