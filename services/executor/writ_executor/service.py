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
from writ_contracts.bounds import first_names
from writ_contracts.errors import Invalid, WritError
from writ_contracts.history.audit import LARGEST_STANDING, AuditStanding, JournalReply
from writ_contracts.history.search_digests import SearchDigestsReply
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.journal import RefusedSummary
from writ_contracts.notices import NoticeReply
from writ_contracts.operations import Catalogue
from writ_contracts.people.previews import PreviewReply
from writ_contracts.plugins import digests_of
from writ_contracts.plural import plural
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
from writ_contracts.version import LEVEL
from writ_executor import __version__
from writ_executor.agents.presence import other_builds, other_levels, other_policy_keys
from writ_executor.agents.traffic import AgentTraffic
from writ_executor.composition import compose
from writ_executor.config import ExecutorConfig
from writ_executor.foundation import lay_foundation
from writ_executor.journal.own_violations import OwnViolations
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import ExecutorMeasures, pools_of
from writ_executor.policy.people_notices import PeopleNotices
from writ_executor.replicas import METADATA, NAME
from writ_runtime.clocks import SYSTEM, Clocks, ServerClock, describe
from writ_runtime.endpoint_frame import Handle, endpoint_handler
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.health import Attention, Check
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer
from writ_runtime.sender_warnings import SenderWarnings

CONCURRENCY = 256
"""Concurrent requests of one kind; more wait."""

NAMED = 10
"""Pools without an agent, or agents with a wrong clock, named in one line."""

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
        self._bus, self._is_stopping = bus, False
        self.time = ServerClock(bus, clocks)
        self.time.shown(measured)
        self._observe = Observer(log, measured)
        self._policy_keys = PolicyKeys(config.policy_key, config.keyring).live
        self._files, self._plugins = (inventory, agents), digests_of(catalogue.plugins)
        self._urgent = tuple(operation.name for operation in catalogue.values() if operation.control)
        self._measures, self._inventory = ExecutorMeasures(measured, catalogue, self.time.now), inventory
        measures = self._measures
        parts = compose(
            lay_foundation(config, bus, shared, catalogue, inventory, agents, measures, measured, self.time)
        )
        self.index, self.background, self.presence = parts.index, parts.background, parts.presence
        self.follower, self.recorder, self.admission = parts.follower, parts.recorder, parts.admission
        self.sweep, self.intake, self.claims = parts.sweep, parts.intake, parts.claims
        self.receipts, self.queries, self.notices = parts.receipts, parts.queries, parts.notices
        self.sought_values = parts.sought_values
        self._alarms, self._traffic, self._warnings = parts.alarms, AgentTraffic(), SenderWarnings(log)
        self._key_use, self._people_notices = parts.key_use, PeopleNotices(bus, parts.presence)
        self.replicas = parts.replicas
        self._audit_services = parts.audit_services
        self._restored, self._policy, self._guard = parts.restored, parts.policy, parts.guard
        self._storage, self._unwatched = parts.storage, parts.unwatched
        alarm = partial(parts.recorder.security, "permission_violation")
        self._violations = OwnViolations(bus.journal, alarm, self.time.now)
        measured.before(self._update_gauges)

    async def serve(self) -> None:
        """Catch up with the journal, then serve. The permanent tasks are in `run`."""
        await self.time.start()
        await self.follower.start(restored=await self._restored.is_due())
        await self.admission.measure_fill()
        await self._restored.settle()
        await self._bus.subscribe(subjects.heartbeat("x").replace(".x", ".*"), self._heartbeat)
        await self._bus.subscribe(subjects.AUDIT_STANDING, self._standing)
        await self._bus.subscribe(subjects.progress("x").replace(".x", ".*"), self._progress, queue="q-executor")
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
            group.create_task(unending("guard", self._guard.watch()))
            group.create_task(unending("storage", self._storage.watch(self._store_refusals)))
            for file in self._files:
                group.create_task(unending("files", file.follow()))

    async def _follow(self) -> None:
        """Follow the journal. At a stop the drain of the bus ends the tail, and the service then cancels this."""
        await self.follower.follow()
        if self._is_stopping:
            await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Let begun work end, write a snapshot, and record the refusals that were only counted."""
        await self.background.settle()
        await self.follower.save_known()
        self._is_stopping = True
        await self.admission.summarise(after=0.0)

    async def _store_refusals(self) -> None:
        """Record how much was refused because nothing was stored."""
        storage, subject = self._storage, subjects.refused_summary(WRIT_TARGET)
        refused = RefusedSummary(
            **self.recorder.stamp(),
            principal=WRIT_TARGET,
            count=storage.refused,
            since=storage.since,
            codes={"not_stored": storage.refused},
        )
        await self._unwatched.append_last(subject, refused)

    def _update_gauges(self) -> None:
        agents = self.presence.agents_of(pools_of(self._inventory.value))
        self._measures.see(self.index.open(), agents, self.time.now())
        self._measures.see_journal(self.admission.fill, self.follower.damaged, stored=self._storage.problem is None)
        self._measures.see_copied_keys(self._key_use.count())
        self._measures.see_quotas(self.admission.quotas.used_ratios())

    def checks(self) -> dict[str, Check]:
        """Return the checks of `/readyz` by name. Agents and outcomes are only reported: the executor is ready
        without them.
        """
        return {
            "bus": self._bus_check,
            "journal": self._journal_check,
            "inventory": self._inventory_check,
            "pools": self._pools_check,
            "success": self._success_check,
            "audit": self._audit_check,
            "decisions": self._decisions_check,
            "clock": self.time.check,
            "agent_clocks": self._agent_clocks_check,
            "agent_plugins": self._agent_plugins_check,
            "levels": self._levels_check,
            "policy_keys": self._policy_keys_check,
            "agent_keys": self._agent_keys_check,
            "agent_people": self._agent_people_check,
        }

    async def _pools_check(self) -> str | None:
        agents = self.presence.agents_of(pools_of(self._inventory.value))
        silent = [pool for pool, instances in agents.items() if not instances]
        if not silent or self.presence.new:
            return None
        return Attention(f"no agent of pool {first_names(silent, NAMED)}")

    async def _agent_clocks_check(self) -> str | None:
        skewed = [(agent.instance, agent.skew) for agent in self.presence.all_agents() if agent.skew is not None]
        if not skewed:
            return None
        named = ", ".join(f"{instance} {describe(skew)} the NATS server's" for instance, skew in skewed[:NAMED])
        return Attention(f"clocks of agents' hosts: {named}" + (" and more" if len(skewed) > NAMED else ""))

    async def _agent_plugins_check(self) -> str | None:
        others = other_builds(self.presence.all_agents(), self._plugins)
        if not others:
            return None
        more = " and more" if len(others) > NAMED else ""
        return Attention(f"agents with another build of a plugin than this executor: {', '.join(others[:NAMED])}{more}")

    async def _levels_check(self) -> str | None:
        agents = {agent.instance: agent.level for agent in self.presence.all_agents()}
        others = other_levels({**agents, **self._audit_services.levels()})
        more = " and more" if len(others) > NAMED else ""
        named = f"read messages of another level than this executor ({LEVEL}): {', '.join(others[:NAMED])}{more}"
        return Attention(named) if others else None

    async def _policy_keys_check(self) -> str | None:
        others = other_policy_keys(self.presence.all_agents(), self._policy_keys)
        more = " and more" if len(others) > NAMED else ""
        return Attention(f"agents with other keys of policy: {'; '.join(others[:NAMED])}{more}") if others else None

    async def _agent_keys_check(self) -> str | None:
        problem = self._key_use.problem()
        return Attention(problem[:1000]) if problem else None

    async def _agent_people_check(self) -> str | None:
        ahead = self._people_notices.ahead
        more = " and more" if len(ahead) > NAMED else ""
        named = f"{', '.join(sorted(ahead)[:NAMED])}{more}"
        return Attention(f"newer versions of people's credentials than policy's: {named}") if ahead else None

    async def _success_check(self) -> str | None:
        problem = self._measures.success.problem()
        return Attention(problem) if problem else None

    async def _bus_check(self) -> str | None:
        return None if self._bus.connected else "not connected to NATS"

    async def _journal_check(self) -> str | None:
        if problem := self._storage.problem or self._guard.problem:
            return problem
        last = (await self._bus.journal.usage()).last_sequence
        if not await self.follower.reached(last, timeout=1.0):
            return f"{plural(last - self.index.sequence, 'event')} behind the journal"
        if self.admission.fill >= 1:
            return f"the journal is {self.admission.fill:.0%} full"
        reason = self.admission.full() or self.follower.misled
        return Attention(reason) if reason else None

    async def _inventory_check(self) -> str | None:
        problem = next((file.problem for file in self._files if file.problem), None)
        return None if problem is None else Attention(f"the last good version is in force: {problem}"[:1000])

    async def _audit_check(self) -> str | None:
        problem = self._audit_services.problem()
        return Attention(problem) if problem else None

    async def _decisions_check(self) -> str | None:
        problem = self._policy.problem()
        return Attention(problem) if problem else None

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
            self.background.spawn("flood", self._alarms.raised(pool, "flood", detail))
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
            self.background.spawn("forged heartbeat", self._alarms.raised(pool, "key_mismatch", detail))
            return
        self.presence.record(heartbeat)
        await self._key_use.heartbeat(heartbeat, message)

    async def _standing(self, message: Message) -> None:
        try:
            self._audit_services.record(wire.decode(message.data, AuditStanding, limit=LARGEST_STANDING))
        except Invalid as error:
            self._warnings.warning("standing.refused", Role.AUDIT, error=str(error))

    async def _progress(self, message: Message) -> None:
        if not self._admits("progress", message):
            return
        try:
            progress = wire.decode(message.data, Progress, limit=LARGEST_PROGRESS)
            if self.receipts.is_of_running(progress, subjects.parse_pool(message.subject)):
                subject = subjects.progress_event(progress.principal, progress.operation_id)
                await self._bus.publish(subject, wire.encode(progress))
        except WritError as error:
            self._warnings.warning("progress.not_relayed", subjects.parse_pool(message.subject), error=str(error))

    def violation(self, kind: str, subject: str) -> None:
        """Record the server's refusal of a subject."""
        self.background.spawn("violation", self._violations.take(kind, subject, self.index.sequence))
