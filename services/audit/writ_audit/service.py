"""Compose the audit service with its health checks and metrics."""

import asyncio
import os
from collections.abc import Mapping

from writ_audit.config import AuditConfig
from writ_audit.decision_samples import DecisionSamples
from writ_audit.handlers import service
from writ_audit.hidden_values import HiddenValueSearch
from writ_audit.index import AuditIndex
from writ_audit.index_follower import IndexFollower
from writ_audit.metrics import AuditMeasures
from writ_audit.notifications.delivery import Deliveries
from writ_audit.notifications.notifiers import BUILT_IN
from writ_audit.notifications.settings import read_notifications
from writ_audit.people_file import PeopleFile
from writ_audit.permission import ReadPermission
from writ_audit.read_quota import ReadQuota
from writ_audit.reading import AuditQueryEndpoint
from writ_audit.recorded_reads import RecordedReads
from writ_audit.reports import ReportEndpoint
from writ_audit.server_log.follower import ServerLog
from writ_audit.server_log.key_owners import KeyOwners
from writ_audit.servers import Servers
from writ_bus.errors import BusError
from writ_bus.port import Bus, Serving
from writ_bus.tasks import unending
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.history.audit import AuditStanding
from writ_contracts.ids import encode_id
from writ_contracts.version import LEVEL, VERSION
from writ_contracts.wire import encode
from writ_runtime.clocks import ServerClock
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.state_file import StateFile
from writ_runtime.health import Check
from writ_runtime.journal.journal_guard import FILE, JournalGuard, JournalMark
from writ_runtime.journal.journal_notices import NoticeSender
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.journal.watched_bus import WatchedBus
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer
from writ_runtime.plugins.entry_points import load_notifiers

_log = Log("writ.audit")
TELL_EVERY = 5.0
MOST_BEHIND = 1_000
"""The service is not ready if the index is more than so many events behind."""


class Audit:
    """One replica: it follows the journal and serves queries."""

    def __init__(self, config: AuditConfig, bus: Bus, measured: Metrics) -> None:
        self._time = ServerClock(bus)
        self._bus = bus = WatchedBus(bus, self._time.now)
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = AuditIndex(config.state_dir / "audit.sqlite")
        if self._index.rebuilt:
            _log.warning("index.rebuilt", reason=self._index.rebuilt)
        file, lost = StateFile(config.state_dir / FILE, JournalMark), config.journal_lost
        self._guard = JournalGuard(bus.journal, measured, self._journal_replaced, file=file, lost=lost)
        self._servers = Servers(measured)
        self._time.shown(measured)
        measures = AuditMeasures(measured, lambda: self._follower.lag, lambda: self._follower.position)
        self._security = SecurityEvents(bus.journal, self._time.now, measures.alarmed)
        self._notifier = NoticeSender(subjects.NOTICE_AUDIT, measures.notice_dropped)
        keys = PolicyKeys(config.policy_key, config.keyring)
        self._people = PeopleFile(
            config.people, config.people_key, config.state_dir, config.installation, self._security
        )
        self._samples = self._make_samples(config, keys, measures)
        self._follower = IndexFollower(
            bus.journal,
            self._index,
            self._guard,
            measures.indexed,
            lambda current: measures.read(current=current),
            self._security,
            keys.events,
            self._samples.offer,
            seen=0 if lost else self._guard.mark.sequence,  # the mark may be of the lost journal
        )
        self._reports = ReportEndpoint(bus.journal, self._follower, self._security, config.installation)
        self._server_log = self._make_server_log(config, measures)
        self._deliveries = self._make_deliveries(config, measured)
        reads = RecordedReads(bus.journal, self._time.now, ReadQuota(config.journal_share, bus.journal.usage))
        permission = ReadPermission(bus, keys.live, config.installation, self._notifier.queue, reads)
        reading = AuditQueryEndpoint(bus.journal, self._index, self._follower, permission, HiddenValueSearch(bus))
        self._service = service(VERSION, reading, Observer(Log("writ.audit"), measured))
        self._serving: Serving | None = None
        self._instance = encode_id(os.urandom(16))

    def _make_samples(self, config: AuditConfig, keys: PolicyKeys, measures: AuditMeasures) -> DecisionSamples:
        counted, time, people = measures.decided_again, self._time, self._people.value
        return DecisionSamples(config, self._bus, keys, self._security, counted, time.now, self._index, people, time)

    def _make_server_log(self, config: AuditConfig, measures: AuditMeasures) -> ServerLog:
        owners = KeyOwners(config.principals, config.agents, config.nats_config)
        return ServerLog(config.nats_log, owners, self._security, measures.refused, config.state_dir)

    def _make_deliveries(self, config: AuditConfig, measured: Metrics) -> Deliveries:
        """Return the deliveries of notifications. Raises ConfigError if the file of notifications is not usable."""
        targets, link = (
            ([], "")
            if config.notifications is None
            else read_notifications(config.notifications, {**load_notifiers(), **BUILT_IN})
        )
        return Deliveries(self._bus.journal, targets, link, config.state_dir, measured, self._time.now)

    def _journal_replaced(self, why: str) -> None:
        self._security.report("journal_replaced", f"reported by audit: {why}", None, None)

    async def serve(self) -> None:
        await self._time.start()
        await self._reports.listen(self._bus)
        self._serving = await self._bus.serve(self._service)

    async def follow(self) -> None:
        """Keep the index in step with the journal and record refusals, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(unending("index", self._follower.run()))
            group.create_task(unending("notices", self._notifier.run(self._bus)))
            group.create_task(unending("security events", self._security.run()))
            group.create_task(unending("clock", self._time.follow()))
            group.create_task(unending("people", self._people.run()))
            group.create_task(unending("copies of files", self._samples.keep_copies()))
            group.create_task(unending("second decisions", self._samples.run()))
            group.create_task(unending("reports", self._reports.watch()))
            group.create_task(unending("server log", self._server_log.run()))
            group.create_task(unending("storage", self._bus.watch()))
            group.create_task(unending("servers", self._servers.watch(self._bus)))
            group.create_task(unending("position", self._report_position()))
            group.create_task(unending("notifications", self._deliveries.run()))

    async def _report_position(self) -> None:
        """Report presence and position of the index to executors. It is no error if nobody listens, since the next
        report follows.
        """
        while True:
            position, lag = self._follower.position, self._follower.lag
            standing = AuditStanding(position=position, lag=lag, instance=self._instance, level=LEVEL)
            try:
                await self._bus.publish(subjects.AUDIT_STANDING, encode(standing))
            except WritError as error:
                _log.debug("standing.lost", error=str(error))
            await asyncio.sleep(TELL_EVERY)

    async def stop(self) -> None:
        """Stop to accept queries, and finish the pending ones."""
        if self._serving is not None:
            await self._serving.close()

    def close(self) -> None:
        self._index.close()

    def checks(self) -> Mapping[str, Check]:
        """Return the health checks of this service."""
        return {
            "journal": self._journal_check,
            "index": self._index_check,
            "clock": self._time.check,
            "notifications": self._deliveries.check,
            "nats_log": self._server_log.check,
            "copies": self._servers.check,
        }

    async def _journal_check(self) -> str | None:
        if not self._bus.connected:
            return "not connected to NATS"
        try:
            await self._bus.journal.usage()
        except BusError as error:
            return f"the journal does not reply ({error.code})"
        return self._bus.storage_problem or self._guard.problem

    async def _index_check(self) -> str | None:
        lag = self._follower.lag
        behind = f"{lag} events behind the journal" if lag > MOST_BEHIND else None
        return self._follower.problem or behind
