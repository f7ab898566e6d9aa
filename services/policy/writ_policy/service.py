"""Compose the policy service with its background tasks and health checks."""

import asyncio
from collections.abc import Mapping
from typing import Final

from writ_bus.port import Bus, Journal, Service, Serving
from writ_bus.tasks import unending
from writ_contracts import subjects
from writ_contracts.bounds import cut_list
from writ_contracts.errors import WritError
from writ_contracts.history.archives import ARCHIVE
from writ_contracts.installation.keyring import in_words
from writ_contracts.journal import ControlEvent
from writ_contracts.notices import Notice, NoticeKind
from writ_contracts.operations import Catalogue
from writ_contracts.version import VERSION
from writ_policy.analysis_process.pool import CHECK_SECONDS, AnalysisPool
from writ_policy.approvals.approval_endpoint import ApprovalEndpoint
from writ_policy.approvals.pending import PendingApprovals
from writ_policy.approvals.recorded_operations import RecordedOperations
from writ_policy.config import PolicyConfig
from writ_policy.decisions.agent_plugins import agent_plugins
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.decisions.signer import DecisionSigner
from writ_policy.endpoints.analysis import AnalysisQueries
from writ_policy.endpoints.decisions import Clock, DecisionEndpoints
from writ_policy.endpoints.people import PeopleEndpoints
from writ_policy.endpoints.queries import QueryGroup, query_endpoints
from writ_policy.endpoints.scans import Scans
from writ_policy.endpoints.sessions import SessionQueries
from writ_policy.endpoints.versions import VersionQueries
from writ_policy.endpoints.visible import VisibleEndpoint
from writ_policy.highest_version import FILE as HIGHEST
from writ_policy.highest_version import EnforcedVersion, HighestVersion
from writ_policy.metrics import STORE, PolicyMeasures
from writ_policy.state import control_views
from writ_policy.state.control_follower import INTERVAL, ControlFollower
from writ_policy.state.credentials_file import CredentialsFile
from writ_policy.state.loading import Compiler
from writ_policy.state.missing_names import MissingNames
from writ_policy.state.sources import PolicySources
from writ_policy.versions.proposed_versions import ProposedVersions
from writ_policy.versions.stored_versions import Versions
from writ_policy.windows.open_windows import OpenWindows
from writ_runtime.clocks import ServerClock
from writ_runtime.files.people_directory import known_directory
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.state_file import StateFile
from writ_runtime.health import Attention, Check, Detail
from writ_runtime.journal.journal_guard import CHECK_EVERY, FILE, JournalGuard, JournalMark
from writ_runtime.journal.journal_notices import NoticeSender
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.journal.watched_bus import WatchedBus
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer
from writ_trust.control_events import is_decided
from writ_trust.keys import Key

LOST: Final = "version_lost"

_log = Log("writ.policy")

DRY_RUN_ONLY = "every operation is a dry run (SYSTEMMANAGER_ENABLE_DRY_RUN)"


class PolicyService:
    """One replica: it reads its files, follows versions and control events, and makes decisions."""

    def __init__(
        self,
        config: PolicyConfig,
        catalogue: Catalogue,
        key: Key,
        measured: Metrics,
        clock: Clock | None = None,
    ) -> None:
        """Prepare the service.

        `clock` returns the time of decisions, by default that of the journal's server. Raises ConfigError with all
        mistakes of the other files than the policy.
        """
        self.time = ServerClock(None)
        self.time.shown(measured)
        self._clock = clock or self.time.now
        self._config, self._catalogue, self._key = config, catalogue, key
        self._keys = PolicyKeys(
            "",
            config.keyring,
            own=key.public,
            former=config.former_events(),
            former_versions=config.former(),
        )
        self._plugins = agent_plugins(catalogue, config.listed_plugins())
        self._measured, self._observe = measured, Observer(Log("writ.policy"), measured)
        self._measures, self._compiler = PolicyMeasures(measured, catalogue), Compiler(catalogue, config.mode)
        self._notifier = NoticeSender(subjects.NOTICE_POLICY, self._measures.notice_dropped)
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._highest = HighestVersion(StateFile(config.state_dir / HIGHEST, EnforcedVersion), config.versions_lost)
        directory = known_directory(config.state_dir, config.people_key, config.installation)
        send_notice, measures = self._notifier.queue, self._measures
        people = CredentialsFile(config.people, directory, send_notice)
        self._analysis_pool = AnalysisPool()
        names = MissingNames(catalogue, config.mode, self._analysis_pool)
        self._sources = PolicySources(
            config, self._compiler, names, send_notice, measures.refused, measures.in_force, self._clock, people
        )
        self._proposal_pool = AnalysisPool(seconds=CHECK_SECONDS, nice=0)  # queries must not delay a publish
        self._bus: WatchedBus | None = None
        self._versions: Versions | None = None
        self._guard: JournalGuard | None = None
        self._follower: ControlFollower | None = None
        self._security: SecurityEvents | None = None
        self._serving: Serving | None = None

    async def serve(self, bus: Bus) -> None:
        """Read versions and control events, then serve.

        Raises errors of the bus. Raises ConfigError if there is no policy to decide by: an empty store and an unusable
        file, or a version that does not load.
        """
        self.time.over(bus)
        await self.time.start()
        bus = WatchedBus(bus, self.time.now)
        known = self._keys.versions
        versions = Versions(bus.policies, self._key, self._compiler, self._version_refused, known, self._highest)
        await versions.start()
        self._measures.compared(lost=versions.taken_back is not None)
        security = SecurityEvents(bus.journal, self._clock, self._measures.alarmed)
        guard = self._make_guard(bus, security)
        self._bus, self._versions, self._guard, self._security = bus, versions, guard, security
        await guard.compare()
        if versions.taken_back is not None:  # nothing is served: `/readyz` has the reason
            security.report(LOST, versions.taken_back, None, None)
            return
        follower = ControlFollower(
            bus.journal,
            self._keys.events,
            versions,
            installation=self._key.installation,
            versions_lost=self._config.versions_lost,
            on_forged=lambda why: security.report("broken_record", f"everything is stopped: {why}", None, None),
        )
        await self._sources.start(versions, lambda: follower.state.changes)
        await follower.read()
        self._follower = follower
        self._serving = await bus.serve(self._service(bus, versions, follower, guard, security))

    def _make_guard(self, bus: Bus, security: SecurityEvents) -> JournalGuard:
        def alarm(why: str) -> None:
            security.report("journal_replaced", f"reported by policy: {why}", None, None)

        file, lost = StateFile(self._config.state_dir / FILE, JournalMark), self._config.journal_lost
        return JournalGuard(bus.journal, self._measured, alarm, file=file, lost=lost, counts=self._is_archive)

    def _is_archive(self, event: ControlEvent, sequence: int) -> bool:
        """Return whether policy allowed this archive. Anyone who has NATS erase events can announce one, too."""
        trusted = [key for key, last in self._keys.events.items() if sequence <= last]
        return event.kind == ARCHIVE and is_decided(event, trusted, self._key.installation)

    def _service(
        self, bus: Bus, versions: Versions, follower: ControlFollower, guard: JournalGuard, security: SecurityEvents
    ) -> Service:
        dry, clock, keys = self._config.dry_run_only, self._clock, self._keys.events
        judging = JudgeFactory(self._sources, versions, follower, self._plugins, guard, dry_run_only=dry, clock=clock)
        scans = Scans(bus.scans, self._sources, self._key, self._keys.at, security, self._observe, clock)
        signer = DecisionSigner(self._key, self._measures.opened)
        windows = OpenWindows(bus.journal, keys, signer.open)
        handlers = DecisionEndpoints(
            bus.journal,
            judging,
            ProposedVersions(versions, self._compiler, self._config.mode, self._proposal_pool),
            scans,
            self._key,
            signer,
            self._keys,
            security,
            self._measures,
            self._observe,
            windows,
            bus,
            self.time.set_forward,
        )
        recorded = RecordedOperations(bus.journal, keys, clock)
        people = PeopleEndpoints(judging, self._observe, self._key, clock)
        own = [
            scans.endpoint(),
            ApprovalEndpoint(bus, judging, recorded, security, self._measures.rejected, self._observe).endpoint(),
            people.endpoint(),
            VisibleEndpoint(judging, self._observe).endpoint(),
        ]
        pending = PendingApprovals(bus.journal, judging, recorded, clock, self._key)
        queries: list[QueryGroup] = [pending, people, *self._queries(bus.journal, versions, judging, scans, windows)]
        return Service(
            name="policy",
            version=VERSION,
            description="Decides requests, grants claims, records approvals, answers queries about the policy.",
            endpoints=[*handlers.endpoints(), *own, *query_endpoints(queries, self._observe)],
        )

    def _queries(
        self, journal: Journal, versions: Versions, judging: JudgeFactory, scans: Scans, windows: OpenWindows
    ) -> list[QueryGroup]:
        """Return the queries about versions, about the policy's meaning and about sessions."""
        config, judge = self._config, judging.now
        about_versions = VersionQueries(config, self._sources, versions, judge, self._notifier.queue, windows)
        permit = about_versions.permit
        analysis = AnalysisQueries(config.mode, versions, judge, permit, scans, self._analysis_pool, journal)
        return [about_versions, analysis, SessionQueries(judge, permit)]

    def _version_refused(self, number: int, why: str | None) -> None:
        """Report a refused version. One that does not load is a mistake, not a security event. Its mistakes may quote
        the document, and go only to the log.
        """
        self._measures.refused(STORE)
        detail = f"stored version {number} of the policy is not used: {why or 'it does not load'}"
        kind: NoticeKind = "file_refused" if why is None else "version_refused"
        self._notifier.queue(Notice(kind=kind, detail=detail[:1000], version=number))

    async def follow(self) -> None:
        """Follow files and control events, and have notices recorded, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(unending("clock", self.time.follow()))
            if self._follower is not None:
                group.create_task(unending("files", self._sources.follow()))
                group.create_task(unending("journal", self._follower.follow()))
                group.create_task(unending("control events", self._watch_control(self._follower)))
                group.create_task(unending("keys", self._watch_keys()))
            if self._versions is not None and self._security is not None:
                group.create_task(unending("versions", self._watch_store(self._versions, self._security)))
            if self._guard is not None:
                group.create_task(unending("guard", self._guard.watch()))
            if self._bus is not None:
                group.create_task(unending("notices", self._notifier.run(self._bus)))
                group.create_task(unending("storage", self._bus.watch()))
            if self._security is not None:
                group.create_task(unending("security events", self._security.run()))

    async def _watch_store(self, versions: Versions, security: SecurityEvents) -> None:
        """Compare the stored versions with those read before. A loss is a security event."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            before = versions.taken_back
            try:
                await versions.check_store()
            except WritError as error:
                _log.warning("versions.not_compared", error=str(error))
            self._measures.compared(lost=versions.taken_back is not None)
            if before is None and versions.taken_back is not None:
                security.report(LOST, versions.taken_back, None, None)

    async def _watch_control(self, follower: ControlFollower) -> None:
        """Count stops and emergencies, and have the end of each emergency recorded.

        Every replica tries, and the journal accepts one event.
        """
        closed = set[str]()
        while True:
            control, now = follower.state, self._clock()
            self._measures.controlled(control, now)
            for one in (*control.emergencies, *control.reviewed):
                if one.id not in closed and one.person and not one.closed and (how := one.end(now)):
                    closed.add(one.id)
                    self._notifier.queue(Notice(kind="emergency_closed", detail=how, emergency=one.id))
            await asyncio.sleep(INTERVAL)

    async def _watch_keys(self) -> None:
        """Have each change of the keyring recorded. Every replica tries, and the journal accepts one event."""
        recorded = ""
        while True:
            if (ring := self._keys.ring).keys and self._keys.digest != recorded:
                recorded = self._keys.digest
                self._notifier.queue(Notice(kind="keys_changed", detail=in_words(ring), digest=recorded))
            await asyncio.sleep(INTERVAL)

    async def stop(self) -> None:
        """Stop to accept requests, and finish the pending ones."""
        if self._serving is not None:
            await self._serving.close()
        await self._analysis_pool.close()
        await self._proposal_pool.close()

    def checks(self) -> Mapping[str, Check]:
        """Return the health checks. An unusable file is reported, but its last good version still decides."""
        return {
            "policy": self._policy_check,
            "versions": self._versions_check,
            "journal": self._journal_check,
            "inventory": lambda: self._file_check("inventory"),
            "principals": lambda: self._file_check("principals"),
            "agents": lambda: self._file_check("agents"),
            "people": lambda: self._file_check("people"),
            "control": self._control_check,
            "keys": self._keys_check,
            "bus": self._bus_check,
            "clock": self.time.strict_check,
        }

    async def _file_check(self, name: str) -> str | None:
        problem = self._sources.problem(name)
        return None if problem is None else Attention(cut_list(f"the last good version is in force: {problem}"))

    async def _policy_check(self) -> str | None:
        if (problem := self._sources.problem("policy")) is not None:
            return Attention(cut_list(f"{self._in_force()} is in force: {problem}"))
        ignored = self._sources.ignored()
        return Detail(ignored) if ignored else None

    def _in_force(self) -> str:
        """Return which version decides while the policy file has a mistake."""
        current = self._versions.current if self._versions else None
        if current is None:
            return "the last good version"
        stored = current.stored
        return f"version {stored.number}, {'of a file' if stored.origin == 'file' else f'by {stored.author}'},"

    async def _versions_check(self) -> str | None:
        if self._versions is None:
            return "the stored versions are not known yet"
        if why := self._versions.taken_back or self._versions.blocked:
            return why
        if self._versions.problem:
            return Attention(self._versions.problem[:1000])
        excused = self._versions.current.policy.excused if self._versions.current else ()
        return Attention(f"publish a corrected version: {'; '.join(excused)}"[:1000]) if excused else None

    async def _journal_check(self) -> str | None:
        stored = self._bus.storage_problem if self._bus is not None else None
        return stored or (self._guard.problem if self._guard is not None else None)

    async def _control_check(self) -> str | None:
        """Return the stops and emergencies. They are no fault of the service, so the check only shows them."""
        summary = "" if self._follower is None else control_views.in_words(self._follower.state, self._clock())
        notes = [DRY_RUN_ONLY] * self._config.dry_run_only + [summary] * bool(summary)
        return Detail("; ".join(notes)) if notes else None

    async def _keys_check(self) -> str | None:
        return self._keys.retired() or (Attention(self._keys.problem[:1000]) if self._keys.problem else None)

    async def _bus_check(self) -> str | None:
        if self._bus is None or not self._bus.connected:
            return "not connected to NATS"
        if self._follower is None:
            return "not following the control events"
        return self._follower.lost or self._follower.problem
