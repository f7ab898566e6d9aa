"""The reach of a stop: the changing operations that it holds up, by target, role, principal and operation.

One function for policy, which refuses them at their start, and executors, which list the ones that already run.
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct


class Reach(Struct, frozen=True, eq=False, kw_only=True):
    """All that is given must fit; an empty list fits everything. `targets` are globs of ids (`*`, `?`)."""

    targets: Sequence[str] = ("*",)
    roles: Collection[str] = ()
    principals: Collection[str] = ()
    operations: Collection[str] = ()

    def covers(self, target: str, role: str | None, principals: Collection[str], operation: str) -> bool:
        """Return true if it holds up an operation on this target. `principals`: who requests, and for which human.

        A target whose role is not known is held up by a stop of any role: a stop errs on the side of holding.
        """
        return (
            any(fnmatchcase(target, pattern) for pattern in self.targets)
            and (not self.roles or role is None or role in self.roles)
            and (not self.principals or any(one in self.principals for one in principals))
            and (not self.operations or operation in self.operations)
        )
