"""The part of a snapshot that one principal sees: all of it, or only what its rules reach."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions.reach import PrincipalReach


class VisiblePolicy(Struct, frozen=True, eq=False):
    """The visible policy and targets. `reach`: the limit, or None if the principal sees everything."""

    policy: Policy
    targets: Mapping[str, Target]
    reach: PrincipalReach | None = None

    def target(self, target_id: str) -> Target:
        """Return the target. Raises Invalid (`unknown_target`), in the same way for one out of reach and for one that
        does not exist.
        """
        return find_target(self.targets, target_id)


class VisibleTargets(Mapping[str, Target]):
    """The targets that a principal sees. Each is checked when it is read."""

    def __init__(self, targets: Mapping[str, Target], reach: PrincipalReach) -> None:
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
