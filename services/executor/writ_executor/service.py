"""The executor as a service: routing of messages to parts, with one answer and one record on every path."""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from writ_bus.port import Bus, Endpoint, Message, Service
from writ_bus.tasks import unending
from writ_contracts import subjects, wire
from writ_contracts.agents import (
    LARGEST_HEARTBEAT,
    LARGEST_PROGRESS,
    Acknowledgement,
    ClaimReply,
    Heartbeat,
    Progress,
)
from writ_contracts.errors import Invalid, WritError
from writ_contracts.history.audit import LARGEST_STANDING, AuditStanding, JournalReply
from writ_contracts.history.search_digests import SearchDigestsReply
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.notices import NoticeReply
from writ_contracts.operations import Catalogue
from writ_contracts.people.previews import PreviewReply
from writ_contracts.registry import CHANNELS, Role, Style
from writ_contracts.requests import (
    OperationReply,
    OperationsReply,
    RequestReply,
    ResultReply,
    SimulateReply,
    TargetsReply,
)
from writ_contracts.target_tests import BackendTestReply
from writ_executor import __version__
from writ_executor.agents.traffic import AgentTraffic
from writ_executor.composition import compose
from writ_executor.config import ExecutorConfig
from writ_executor.foundation import lay_foundation
from writ_executor.journal.own_violations import OwnViolations
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import ExecutorMeasures, pools_of
from writ_executor.policy.people_notices import PeopleNotices
from writ_executor.readiness import ExecutorReadiness
from writ_executor.replicas import METADATA, NAME
from writ_runtime.clocks import SYSTEM, Clocks, ServerClock
from writ_runtime.endpoint_frame import Handle, endpoint_handler
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.health import Check
from writ_runtime.journal.watched_bus import WatchedBus
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer
from writ_runtime.sender_warnings import SenderWarnings

CONCURRENCY = 256
"""Concurrent requests of one kind; more wait."""

log = Log("writ.executor")


class Executor:
    """The executor over one bus."""

    def __init__(
        self,
        config: ExecutorConfig,
        bus: Bus,
        shared: SharedKeys,
        catalogue: Catalogue,
        inventory: WatchedFile[Inventory],
        agents: WatchedFile[Agents],
        measured: Metrics,
        clocks: Clocks = SYSTEM,
    ) -> None:
        self.time = ServerClock(bus, clocks)
        self._bus, self._is_stopping = WatchedBus(bus, self.time.now), False
        self.time.shown(measured)
        self._observe = Observer(log, measured)
        self._urgent = tuple(operation.name for operation in catalogue.values() if operation.control)
        measures = ExecutorMeasures(measured, catalogue, self.time.now)
        self.base = base = lay_foundation(
            config, self._bus, shared, catalogue, inventory, agents, measures, measured, self.time
        )
        self.index, self.background, self.presence = base.index, base.background, base.presence
        self.follower, self.recorder, self.admission = base.follower, base.recorder, base.admission
        self.replicas = base.replicas
        parts = compose(base)
        self._after_event, self._restored = parts.after_event, parts.restored
        self.sweep, self.intake, self.claims = parts.sweep, parts.intake, parts.claims
        self.receipts, self.queries, self.notices = parts.receipts, parts.queries, parts.notices
        self.sought_values, self.wait_notices = parts.sought_values, parts.wait_notices
        self._traffic, self._warnings = AgentTraffic(), SenderWarnings(log)
        self._people_notices = PeopleNotices(self._bus, base.presence)
        self._readiness = ExecutorReadiness(base, self._people_notices)
        alarm = partial(base.recorder.security, "permission_violation")
        self._violations = OwnViolations(self._bus.journal, alarm, self.time.now)
        measured.before(self._update_gauges)

    async def serve(self) -> None:
        """Catch up with the journal, then serve. The permanent tasks are in `run`."""
        await self.time.start()
        await self.follower.start(restored=await self._restored.is_due())
        await self.admission.measure_fill()
        await self._restored.settle()
        await self._bus.subscribe(subjects.heartbeat("x").replace(".x", ".*"), self._heartbeat)
        await self._bus.subscribe(subjects.AUDIT_STANDING, self._standing)
        progress = subjects.progress("x").replace(".x", ".*")
        await self._bus.subscribe(progress, self._relay_progress, queue="q-executor")
        await self._bus.subscribe(progress, self._note_wait)
        await self._bus.serve(
            Service(
                name=NAME,
                version=__version__,
                description="Accepts requests, has policy decide them, records and dispatches them.",
                endpoints=self._endpoints(),
                metadata=METADATA,
            )
        )

    async def run(self) -> None:
        """Follow the journal, sweep, and watch the files, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(unending("journal", self._follow()))
            group.create_task(unending("sweep", self.sweep.run()))
            group.create_task(unending("replicas", self.replicas.follow()))
            group.create_task(unending("clock", self.time.follow()))
            group.create_task(unending("people", self._people_notices.run()))
            group.create_task(unending("guard", self.base.guard.watch()))
            group.create_task(unending("storage", self._bus.watch()))
            for file in (self.base.inventory, self.base.agents):
                group.create_task(unending("files", file.follow()))

    async def _follow(self) -> None:
        """Follow the journal. At a stop the drain of the bus ends the tail, and the service then cancels this."""
        await self.follower.follow(self._after_event)
        if self._is_stopping:
            await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Let begun work end, write a snapshot, and record the refusals that were only counted."""
        await self.background.settle()
        await self.follower.save_known()
        self._is_stopping = True
        await self.admission.summarise(after=0.0)

    def _update_gauges(self) -> None:
        base, measures = self.base, self.base.measures
        agents = base.presence.agents_of(pools_of(base.inventory.value))
        measures.see(base.index.open(), agents, base.time.now())
        measures.see_journal(base.admission.fill, base.follower.damaged, stored=self._bus.storage_problem is None)
        measures.see_copied_keys(base.key_use.count())
        measures.see_quotas(base.admission.quotas.used_ratios())

    def checks(self) -> dict[str, Check]:
        """Return the checks of `/readyz` by name."""
        return self._readiness.checks()

    def _endpoints(self) -> list[Endpoint]:
        handlers: dict[str, tuple[Handle, Callable[..., Any]]] = {
            "request": (self.intake.handle_request, RequestReply),
            "query_operation": (self.queries.operation, OperationReply),
            "query_operations": (self.queries.operations, OperationsReply),
            "query_result": (self.queries.result, ResultReply),
            "query_simulate": (self.queries.simulate, SimulateReply),
            "query_targets": (self.queries.targets, TargetsReply),
            "query_preview": (self.queries.preview, PreviewReply),
            "query_journal": (self.queries.journal, JournalReply),
            "query_backend_test": (self.queries.backend_test, BackendTestReply),
            "claim": (self.claims.handle_claim, ClaimReply),
            "receipt": (self.receipts.handle_receipt, Acknowledgement),
            "report": (self.receipts.handle_report, Acknowledgement),
            "notice_policy": (self.notices.of_policy, NoticeReply),
            "notice_keeper": (self.notices.of_provisioner, NoticeReply),
            "notice_audit": (self.notices.of_audit, NoticeReply),
            "search_digests": (self.sought_values.digests, SearchDigestsReply),
        }
        served = [one for one in CHANNELS if Role.EXECUTOR in one.receivers and one.style is Style.REQUEST]
        return [
            Endpoint(
                name=one.name,
                subject=one.subject(),
                handler=endpoint_handler(one.name, *handlers[one.name], self._observe, log),
                concurrency=CONCURRENCY,
                urgent=self._urgent if one.name == "request" else (),
            )
            for one in served
        ]

    def _admits(self, kind: str, message: Message) -> bool:
        """Return whether a message of an agent is read. Others are a flood of their pool, and a security event."""
        pool, now = subjects.parse_pool(message.subject), monotonic()
        if self._traffic.admits(kind, pool, len(message.data), now):
            return True
        if self._traffic.is_new_flood(pool, now):
            detail = f"pool {pool} sends more {kind} than its agents can: the rest is not read"
            self.background.spawn("flood", self.base.alarms.raised(pool, "flood", detail))
        return False

    async def _heartbeat(self, message: Message) -> None:
        if not self._admits("heartbeats", message):
            return
        try:
            heartbeat = wire.decode(message.data, Heartbeat, limit=LARGEST_HEARTBEAT)
        except Invalid as error:
            self._warnings.warning("heartbeat.refused", subjects.parse_pool(message.subject), error=str(error))
            return
        pool = subjects.parse_pool(message.subject)
        if heartbeat.pool != pool:  # NATS lets a pool's key publish on its own subject alone
            detail = f"a heartbeat of pool {pool} names pool {heartbeat.pool}"
            self.background.spawn("forged heartbeat", self.base.alarms.raised(pool, "key_mismatch", detail))
            return
        self.presence.record(heartbeat)
        await self.base.key_use.heartbeat(heartbeat, message)

    async def _standing(self, message: Message) -> None:
        try:
            self.base.audit_services.record(wire.decode(message.data, AuditStanding, limit=LARGEST_STANDING))
        except Invalid as error:
            self._warnings.warning("standing.refused", Role.AUDIT, error=str(error))

    async def _relay_progress(self, message: Message) -> None:
        """Relay progress to its requester. One replica receives each message here."""
        if not self._admits("progress", message):
            return
        try:
            progress = wire.decode(message.data, Progress, limit=LARGEST_PROGRESS)
            if progress.for_requester and self.wait_notices.is_due(progress, subjects.parse_pool(message.subject)):
                subject = subjects.progress_event(progress.principal, progress.operation_id)
                await self._bus.publish(subject, wire.encode(progress))
        except WritError as error:
            self._warnings.warning("progress.not_relayed", subjects.parse_pool(message.subject), error=str(error))

    async def _note_wait(self, message: Message) -> None:
        """Note what an operation waits for. Every replica receives each message here, so this is what one pool sends
        to all of them: more than one notes is no flood.
        """
        pool = subjects.parse_pool(message.subject)
        if not self._traffic.admits("noted progress", pool, len(message.data), monotonic()):
            return
        try:
            progress = wire.decode(message.data, Progress, limit=LARGEST_PROGRESS)
        except Invalid:
            return  # the replica that relays it reports it
        self.wait_notices.record(progress, pool)

    def violation(self, kind: str, subject: str) -> None:
        """Record the server's refusal of a subject."""
        self.background.spawn("violation", self._violations.take(kind, subject, self.index.sequence))
