"""What hosts lacked in their latest target tests, for heartbeats: simulations name it. Bounded, in memory."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping

from msgspec import Struct

from writ_agent.backends.port import Failing
from writ_contracts.bounds import cut
from writ_contracts.inventory import Target
from writ_contracts.target_tests import (
    KNOWN_SECONDS,
    MOST_LACKS,
    MOST_SURVEYED,
    HostLack,
    SurveyedTarget,
)
from writ_contracts.wire import encode
from writ_trust.digests import entry_digest

MOST_BYTES = 32_768
"""Of a heartbeat, which each agent sends every few seconds to each executor."""
ROW_BYTES = 256
"""A SurveyedTarget has no more bytes, for its lacks are few."""


class _TestFinding(Struct, frozen=True):
    """The finding of a test. `at`: the boot clock."""

    entry: str
    at: float
    lacks: tuple[HostLack, ...]


class KnownLacks:
    """The findings of this agent's target tests, by target. A later test of the target replaces an earlier one."""

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None] = lambda: None) -> None:
        """`clock`: the boot clock. `changed` is called after each test."""
        self._clock = clock
        self._changed = changed
        self._found: OrderedDict[str, _TestFinding] = OrderedDict()

    def record(self, target: Target, fails: Mapping[str, Failing]) -> None:
        """Record the finding of a test that reached the host. `fails`: the operations that cannot succeed there."""
        names: dict[Failing, list[str]] = defaultdict(list)
        for name, failing in sorted(fails.items()):
            names[failing].append(name)
        lacks = tuple(
            HostLack(code=cut(one.code), message=cut(one.message), operations=operations, dry_run=one.dry_run)
            for one, operations in names.items()
        )
        self._found.pop(target.id, None)
        self._found[target.id] = _TestFinding(entry_digest(target), self._clock(), lacks)
        if len(self._found) > MOST_SURVEYED:
            self._found.popitem(last=False)
        self._changed()

    def shown(self) -> tuple[list[HostLack], list[SurveyedTarget]]:
        """Return the lacks and the tested targets, the latest first, as far as they fit into a heartbeat."""
        places: dict[bytes, int] = {}
        lacks: list[HostLack] = []
        tested: list[SurveyedTarget] = []
        size = 0
        for name, found in reversed(self._found.items()):
            age = self._clock() - found.at
            new = {data: lack for lack in found.lacks if (data := encode(lack)) not in places}
            needed = ROW_BYTES + sum(map(len, new))
            if age > KNOWN_SECONDS or size + needed > MOST_BYTES or len(lacks) + len(new) > MOST_LACKS:
                continue
            size += needed
            places.update({data: len(lacks) + place for place, data in enumerate(new)})
            lacks += new.values()
            at = [places[encode(lack)] for lack in found.lacks]
            tested.append(SurveyedTarget(target=name, entry=found.entry, age=round(age, 1), lacks=at))
        return lacks, tested
