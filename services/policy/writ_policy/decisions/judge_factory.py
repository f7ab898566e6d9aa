"""Bring the inputs of decisions up to date before each decision."""

from collections.abc import Callable

from msgspec import structs

from writ_contracts.errors import Unreachable
from writ_contracts.ids import WRIT_TARGET
from writ_policy.decisions.agent_plugins import AgentPlugins
from writ_policy.decisions.rulings import Judge
from writ_policy.state.control_follower import ControlFollower
from writ_policy.state.sources import PolicySources
from writ_policy.versions.stored_versions import Versions
from writ_runtime.journal.journal_guard import JournalGuard
from writ_runtime.recent_digests import RecentDigests


class JudgeFactory:
    """Makes a Judge for each decision."""

    def __init__(
        self,
        sources: PolicySources,
        versions: Versions,
        follower: ControlFollower,
        plugins: AgentPlugins,
        guard: JournalGuard,
        *,
        dry_run_only: bool,
        clock: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._versions = versions
        self._follower = follower
        self._plugins = plugins
        self._guard = guard
        self._dry_run_only = dry_run_only
        self._clock = clock
        self.digests = RecentDigests()

    async def at(self, control_sequence: int, stored_policies: int = 0, target: str = WRIT_TARGET) -> Judge:
        """Return a judge that has read at least this control event and this stored version.

        Raises Unreachable (`behind`) if this replica cannot: another one may have. Only the present inventory decides
        that a target does not exist.
        """
        if not await self._follower.reach(control_sequence):
            sequence = self._follower.state.sequence
            raise Unreachable(
                f"this replica has read control events up to {sequence}, and {control_sequence} is needed",
                code="behind",
            )
        if not await self._versions.reach(stored_policies):
            raise Unreachable(f"this replica has not read version {stored_policies} of the policy yet", code="behind")
        if (why := self._versions.taken_back or self._versions.blocked or self._guard.problem) is not None:
            raise Unreachable(why[:500], code="behind")
        snapshot = await self._sources.refresh()  # last, without an await after it: no event may arrive in between
        if target not in snapshot.targets:
            snapshot = await self._sources.refresh(waits=True)
        now, control = self._clock(), self._follower.state
        if control.sessions:
            snapshot = structs.replace(snapshot, sessions=control.sessions, now=now)
        return Judge(
            snapshot=snapshot,
            control=control,
            catalogue=self._plugins.catalogue,
            plugins=self._plugins,
            dry_run_only=self._dry_run_only,
            now=now,
            keyed_digest=self.digests.of,
        )

    def only_reads(self, operation: str) -> bool:
        """Return whether the operation changes nothing; False for one that is not in the catalogue."""
        found = self._plugins.catalogue.get(operation)
        return found is not None and found.read_only

    async def now(self) -> Judge:
        """Return a judge with all that this replica has read."""
        await self._follower.read()
        return await self.at(0)
