"""The in-flight operations of this process and the begun ones, so nothing begins twice and everything can be
stopped.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from writ_agent.work.early_read import EarlyRead
from writ_agent.work.running import Cause, RunningOperation
from writ_contracts.journal import Dispatched

REMEMBERED = 20_000


class InFlightOperation:
    """One operation, from its claim until its receipt is spooled."""

    def __init__(self, work: Dispatched) -> None:
        self.work = work
        self.owners = {work.principal}
        """Principals that may cancel it without a signature. Before the grant those in the event."""
        self.early_read: EarlyRead | None = None
        self.running: RunningOperation | None = None
        self.stopped: Cause | None = None

    async def drop_early_read(self) -> bool:
        """End an unused early read. Return true if its end is certain."""
        return await self.early_read.drop() if self.early_read is not None else True

    async def stop(self, cause: Cause) -> bool:
        """End it, or prevent its begin. Return true if its end is certain."""
        if self.running is None:
            self.stopped = cause  # checked in the same step of the event loop that would begin it
            return await self.drop_early_read()
        return await self.running.stop(cause)

    @property
    def known(self) -> bool:
        """Return true if nothing of it began, or its outcome is known."""
        return self.running is None or self.running.known


class InFlightOperations:
    """The in-flight operations by id."""

    def __init__(self, begun: Iterable[str] = ()) -> None:
        """`begun`: operations begun by earlier processes of this agent, each as `<operation id>.<attempt>`."""
        self._now: dict[str, InFlightOperation] = {}
        self._begun = RecentKeys()
        for key in begun:
            self._remember(*key.split(".", 1))

    def __iter__(self) -> Iterator[InFlightOperation]:
        return iter(list(self._now.values()))

    def __len__(self) -> int:
        return len(self._now)

    @property
    def ids(self) -> Iterable[str]:
        return self._now.keys()

    def find(self, operation_id: str) -> InFlightOperation | None:
        return self._now.get(operation_id)

    def begun(self, work: Dispatched, *, idempotent: bool) -> bool:
        """Return true if this attempt was granted here before. Of an operation that is not idempotent any attempt
        counts.
        """
        known = f"{work.operation_id}.{work.attempt}" if idempotent else work.operation_id
        return known in self._begun

    def begin(self, work: Dispatched) -> None:
        """Remember a granted operation."""
        self._remember(work.operation_id, str(work.attempt))

    def _remember(self, operation_id: str, attempt: str) -> None:
        self._begun.add(operation_id)
        self._begun.add(f"{operation_id}.{attempt}")

    def changes(self, target: str) -> bool:
        """Return whether a change of this target runs here."""
        return any(entry.running is not None and entry.running.changes(target) for entry in self)

    def take(self, work: Dispatched) -> InFlightOperation:
        entry = self._now[work.operation_id] = InFlightOperation(work)
        return entry

    def drop(self, entry: InFlightOperation) -> None:
        self._now.pop(entry.work.operation_id, None)


class RecentKeys:
    """The latest of many keys."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def add(self, key: str) -> None:
        """Remember the key, and forget the oldest beyond the limit."""
        self._keys[key] = None
        if len(self._keys) > REMEMBERED:
            self._keys.popitem(last=False)
