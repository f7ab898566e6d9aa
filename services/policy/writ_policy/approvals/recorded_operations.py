"""Read an operation with its approvals from the journal, for policy's own endpoints."""

from collections.abc import Callable, Collection, Mapping

from writ_bus.port import Journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.policy.stops import overlap
from writ_contracts.subjects import operation_filter
from writ_policy.approvals.verdicts import PendingOperation
from writ_policy.decisions.recorded_approvals import counted, exact_of
from writ_policy.starts import ForgedStart, read_recorded
from writ_policy.state.snapshot import PolicySnapshot
from writ_runtime.journal.stop_history import StopHistory, frozen_seconds
from writ_trust.statements import open_signed


class RecordedOperations:
    """Reads operations by principal and id."""

    def __init__(self, journal: Journal, keys: Mapping[str, int], clock: Callable[[], float]) -> None:
        """Read from `journal`.

        `keys`: policy's keys, each with the last event of the journal that it may have signed. `clock` returns the time
        of the journal's server.
        """
        self._journal = journal
        self._keys = keys
        self._clock = clock
        self._stops = StopHistory(journal)

    @property
    def keys(self) -> Collection[str]:
        """Policy's own keys, including former ones."""
        return self._keys.keys()

    async def of(self, principal: str, operation_id: str, snapshot: PolicySnapshot) -> PendingOperation:
        """Return the present state of the operation. Raises Invalid (`not_found`) if policy did not decide on it, or if
        its principal was removed.
        """
        standing, _ = await self.with_records(principal, operation_id, snapshot)
        return standing

    async def with_records(
        self, principal: str, operation_id: str, snapshot: PolicySnapshot
    ) -> tuple[PendingOperation, list[Record]]:
        """Return the same with the operation's records. The first record has the exact bytes of `requested`."""
        records = await self._journal.read(operation_filter(principal, operation_id))
        try:
            recorded = read_recorded(records, principal, operation_id)
            trusted = [key for key, until in self._keys.items() if recorded.life.first_sequence <= until]
            decision = open_signed(recorded.requested.decision, Decision, trusted, snapshot.installation)
        except (ForgedStart, Untrusted) as error:
            raise Invalid(f"{principal} has no operation {operation_id} to decide on", code="not_found") from error
        asker = snapshot.principals.get(principal)
        if asker is None:
            raise Invalid(f"{principal}, who requested {operation_id}, is no longer a principal", code="not_found")
        exact = exact_of(recorded, records)
        approvals = counted(recorded.life.approvals, exact, snapshot)
        standing = PendingOperation(
            life=recorded.life,
            exact=exact,
            decision=decision,
            asker=asker,
            approvers=approvals.approvers,
            signed=approvals.signed,
            proven=approvals.proven,
            requested_at=recorded.requested_at,
            frozen=await self._frozen(decision, recorded.requested_at, snapshot),
        )
        return standing, records

    async def stopped(self, since: float, now: float) -> float:
        """Return the seconds in which any stop was in force: the most by which a time to decide is extended."""
        return overlap(await self._stops.periods(), since, now)

    async def _frozen(self, decision: Decision, since: float, snapshot: PolicySnapshot) -> float:
        target, principal = snapshot.targets.get(decision.target), snapshot.principals.get(decision.principal)
        names = [decision.principal, decision.acts_for, principal.person if principal else None]
        return frozen_seconds(
            await self._stops.periods(),
            decision.target,
            target.role if target else None,
            [name for name in names if name],
            decision.operation,
            since=since,
            now=self._clock(),
        )
