"""The reach of a stop: the changing operations it holds up, by target, role, principal and operation.

One function for policy, which refuses them at their start, and executors, which list those already running.
"""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct


class Reach(Struct, frozen=True, eq=False, kw_only=True):
    """Each non-empty list must fit; an empty list fits everything. `targets` are globs of ids (`*`, `?`)."""

    targets: Sequence[str] = ("*",)
    roles: Collection[str] = ()
    principals: Collection[str] = ()
    operations: Collection[str] = ()

    def covers(self, target: str, role: str | None, principals: Collection[str], operation: str) -> bool:
        """Return true if it holds up an operation on this target. `principals`: the requester, and the human it acts
        for.

        A target whose role is not known is held up by a stop of any role: a stop errs on the side of holding.
        """
        return (
            any(fnmatchcase(target, pattern) for pattern in self.targets)
            and (not self.roles or role is None or role in self.roles)
            and (not self.principals or any(one in self.principals for one in principals))
            and (not self.operations or operation in self.operations)
        )


class StopPeriod(Struct, frozen=True, eq=False, kw_only=True):
    """A stop from `since` until its end or its lift (Unix seconds of the journal's clock; None: it lasts)."""

    reach: Reach
    since: float
    until: float | None = None


def overlap(periods: Iterable[StopPeriod], since: float, now: float) -> float:
    """Return for how many seconds between the two instants at least one of the stops lasted."""
    total, reached = 0.0, since
    for period in sorted(periods, key=lambda one: one.since):
        begin, end = max(period.since, reached), min(now if period.until is None else period.until, now)
        if end > begin:
            total, reached = total + end - begin, end
    return total
