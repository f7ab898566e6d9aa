"""What hosts lack, as the heartbeats of their agents name it. Soft state, for simulations and lists alone: no request
is refused by it.

A host that gains what it lacked is not tested again by itself. So a finding counts for KNOWN_SECONDS at most, until a
later test, until an operation succeeds, and only for the target's entry that was tested.
"""

from collections import OrderedDict
from collections.abc import Callable

from writ_contracts.inventory import Target
from writ_contracts.operations import Operation
from writ_contracts.requests import ExpectedFailure
from writ_contracts.target_tests import KNOWN_SECONDS, HostLack
from writ_executor.agents.presence import AgentPresence
from writ_trust.digests import entry_digest

MOST_SUCCEEDED = 4_096


class HostLacks:
    """The lacks of targets, by the latest test of an agent of their own pool."""

    def __init__(self, presence: AgentPresence, now: Callable[[], float]) -> None:
        """`now`: the journal's clock, in Unix seconds."""
        self._presence = presence
        self._now = now
        self._succeeded: OrderedDict[tuple[str, str], float] = OrderedDict()

    def succeeded(self, target: str, operation: str, at: float) -> None:
        """Record that an operation succeeded there, on whichever agent."""
        self._succeeded.pop((target, operation), None)
        self._succeeded[target, operation] = at
        if len(self._succeeded) > MOST_SUCCEEDED:
            self._succeeded.popitem(last=False)

    def failure(self, target: Target, operation: Operation, *, dry_run: bool) -> ExpectedFailure | None:
        """Return the failure with which the operation would end."""
        lacks, found_at = self._lacks(target)
        for lack in lacks:
            if operation.name in lack.operations and (lack.dry_run or not dry_run):
                return _failure(lack, found_at)
        return None

    def tested_at(self, target: Target) -> float | None:
        """Return the time of the latest test that counts; None without one."""
        return self._lacks(target)[1]

    def failures(self, target: Target) -> dict[str, ExpectedFailure]:
        """Return the failures of all operations that would fail there, by name."""
        lacks, found_at = self._lacks(target)
        return {name: _failure(lack, found_at) for lack in lacks for name in lack.operations}

    def _lacks(self, target: Target) -> tuple[list[HostLack], float | None]:
        """Return the lacks that the latest test found, and the time of the test; None without one that counts."""
        tests = self._presence.tests_of(target.pool, target.id)
        heartbeat, test, ago = min(tests, key=lambda one: one[2], default=(None, None, 0.0))
        if heartbeat is None or test is None or ago > KNOWN_SECONDS or test.entry != entry_digest(target):
            return [], None
        found_at = float(round(self._now() - ago))
        known = [heartbeat.lacks[place] for place in test.lacks if place < len(heartbeat.lacks)]
        return [lack for lack in known if not self._is_over(lack, target.id, found_at)], found_at

    def _is_over(self, lack: HostLack, target: str, found_at: float) -> bool:
        """Return whether an operation has succeeded since that could not."""
        return any(self._succeeded.get((target, name), 0.0) > found_at for name in lack.operations)


def _failure(lack: HostLack, found_at: float | None) -> ExpectedFailure:
    return ExpectedFailure(code=lack.code, message=lack.message, found_at=found_at)
