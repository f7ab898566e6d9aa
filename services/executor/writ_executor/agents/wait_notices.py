"""What agents report that operations wait for, such as a host that does not reply. Soft state, in every replica.

Agents repeat a wait while it lasts (`writ_agent.reporting.progress`), so a replica that has just started knows it soon,
and a wait whose end got lost is forgotten.
"""

from collections.abc import Callable

from msgspec import Struct

from writ_contracts.agents import Progress
from writ_contracts.life import AcceptedLife, DispatchedLife, Life, State
from writ_contracts.requests import WaitingReason

LIFETIME = 12.0
"""Seconds after which a wait that is not repeated is forgotten: two repetitions may get lost."""
MOST = 10_000
"""Waits; an open operation has at most one. More are not noted."""


class ReportedWait(Struct, frozen=True):
    """The latest report of a wait, its arrival, and the attempt at the operation at that time."""

    progress: Progress
    at: float
    attempt: tuple[int, bool]
    """Its number, and whether it had started."""


class WaitNotices:
    """The present waits, by operation."""

    def __init__(self, known: Callable[[str], Life | None], clock: Callable[[], float]) -> None:
        """`known`: an open or lately ended operation. `clock`: the boot clock."""
        self._known = known
        self._clock = clock
        self._notices: dict[str, ReportedWait] = {}
        self._tidied = clock()

    def is_due(self, progress: Progress, pool: str) -> bool:
        """Return whether this pool has the operation, so that its progress is for its requester and nobody else."""
        life = self._known(progress.operation_id)
        if not isinstance(life, AcceptedLife):
            return False
        return (life.requested.pool, life.requested.principal) == (pool, progress.principal)

    def record(self, progress: Progress, pool: str) -> None:
        """Note the wait, or its end, as reported by an agent of this pool. A dispatch that comes again after the start,
        since its acknowledgement got lost, waits for nothing.
        """
        if not self.is_due(progress, pool):
            return
        attempt = self._attempt(progress.operation_id)
        _, has_started = attempt
        if has_started and not progress.claimed:
            return
        self._tidy()
        if not progress.is_wait:
            self._notices.pop(progress.operation_id, None)
        elif progress.operation_id in self._notices or len(self._notices) < MOST:
            self._notices[progress.operation_id] = ReportedWait(progress, self._clock(), attempt)

    def reason(self, operation_id: str) -> WaitingReason | None:
        """Return what an open operation waits for, by the reports of its agent. What it waited for before it started
        counts no longer once it has, nor does what a former attempt waited for.
        """
        notice = self._notices.get(operation_id)
        if notice is None or self._clock() - notice.at > LIFETIME or notice.attempt != self._attempt(operation_id):
            return None
        return WaitingReason(kind="host", text=notice.progress.message, silent=notice.progress.silent)

    def _attempt(self, operation_id: str) -> tuple[int, bool]:
        life = self._known(operation_id)
        number = life.dispatched.attempt if isinstance(life, DispatchedLife) else 0
        return number, life is not None and life.state in (State.STARTED, State.CANCELLING)

    def _tidy(self) -> None:
        now = self._clock()
        if now - self._tidied > LIFETIME:
            self._tidied = now
            self._notices = {name: one for name, one in self._notices.items() if now - one.at <= LIFETIME}
