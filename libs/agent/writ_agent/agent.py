"""An agent: one process which carries out the operations of one pool. This module composes it, starts it and stops it.

`start` recovers, then pulls. `stop` pulls no more, lets running operations end within its grace, ends the rest, and
sends the receipts.
"""

import asyncio
from collections.abc import Collection

from msgspec import Struct, structs

from writ_agent.backends.port import Backend
from writ_agent.ceiling import NO_CEILING, Ceiling
from writ_agent.people_notices import PeopleNoticeHandler
from writ_agent.preflight.host_reads import ENDPOINT_SLOTS, HostReads
from writ_agent.reporting.heartbeats import Heartbeats
from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.outbox import Outbox
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.security_reports import SecurityReporter
from writ_agent.reporting.spool import Spool
from writ_agent.verification import VerificationContext
from writ_agent.work.cancels import CancelEndpoint
from writ_agent.work.in_flight import InFlightOperations
from writ_agent.work.recovery import recover
from writ_agent.work.worker import Worker, WorkerParts
from writ_bus import tasks
from writ_bus.errors import Forbidden
from writ_bus.port import Bus, Endpoint, Service, Subscription
from writ_contracts import subjects
from writ_contracts.agents import MOST_RUNNING, MOST_TRUSTED, Heartbeat
from writ_contracts.operations import Catalogue
from writ_contracts.plugins import digests_of
from writ_contracts.version import LEVEL
from writ_runtime.clocks import SYSTEM, Clocks, ServerClock
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics

_log = Log("writ.agent")


class AgentSettings(Struct, frozen=True, kw_only=True):
    """Settings of an agent. Times in seconds."""

    version: str
    slots: int = 8
    waiting: int = 0
    """Operations that may wait for their hosts without a slot: for backends that do little work themselves."""
    heartbeat: float = 5.0
    kill_grace: float = 3.0
    stop_grace: float = 10.0


class Agent:
    """One agent. Call `start` once and `stop` once."""

    def __init__(  # long: one list of parts, each given those before it
        self,
        settings: AgentSettings,
        identity: AgentIdentity,
        policy_keys: Collection[str],
        *,
        bus: Bus,
        backend: Backend,
        catalogue: Catalogue,
        spool: Spool,
        people: KnownDirectory,
        metrics: Metrics,
        clocks: Clocks = SYSTEM,
        ceiling: Ceiling = NO_CEILING,
    ) -> None:
        self.time = ServerClock(bus, clocks)
        self.time.shown(metrics)
        identity = structs.replace(identity, started=clocks.wall())
        self._settings, self._identity, self._bus, self._backend = settings, identity, bus, backend
        self._spool = spool
        self._people = people
        trust = VerificationContext(
            policy_keys=policy_keys,
            installation=identity.key.installation,
            pool=identity.pool,
            backend=backend.name,
            operations=frozenset(backend.operations),
            catalogue=catalogue,
            ceiling=ceiling,
        )
        self._in_flight = InFlightOperations(spool.begun)
        self._heartbeats = Heartbeats(bus, settings.heartbeat, self._heartbeat)
        self._meters = Meters(metrics, catalogue, self._free_slots)
        self._outbox = Outbox(bus, spool, lambda _: self._heartbeats.changed())
        self._reporter = SecurityReporter(self._outbox, identity, self._meters)
        self._host_reads = HostReads(backend, trust, identity, self._reporter, self._meters, self.time.now)
        self._cancels = CancelEndpoint(
            trust, identity, self._in_flight, self._unacknowledged, self._reporter, self._meters
        )
        self._parts = self._put_together(trust)
        self._worker = Worker(self._parts)
        self._beating: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._serving: Subscription | None = None
        self._people_notices: Subscription | None = None
        self._baseline_notices: Subscription | None = None
        self._pulling: Subscription | None = None

    async def start(self) -> None:
        """Recover the operations of an earlier process, then take work."""
        await self.time.start()
        self._measuring = tasks.keep("clock", self.time.follow)
        await recover(self._parts)
        self._serving = await self._bus.serve(self._service())
        self._people_notices = await self._subscribe_to_people_notices()
        self._baseline_notices = await self._subscribe_to_baseline_notices()
        durable = subjects.consumer(self._identity.pool)
        self._pulling = await self._bus.pull(
            durable, subjects.JOURNAL_STREAM, self._worker.handle, slots=self._settings.slots
        )
        # The first heartbeat makes executors count this agent as online, so it is sent once the agent takes work.
        self._beating = tasks.keep("heartbeats", self._heartbeats.run)

    async def _subscribe_to_people_notices(self) -> Subscription | None:
        notices = PeopleNoticeHandler(self._parts.trust, self._people, self._reporter, self._heartbeats.changed)
        try:
            return await self._bus.subscribe(subjects.people_notice(self._identity.pool), notices.handle)
        except Forbidden as error:  # NATS has the permissions of an earlier release: directories come with grants
            _log.warning("people.not_heard", error=str(error))
            return None

    async def _subscribe_to_baseline_notices(self) -> Subscription | None:
        subject = subjects.baseline_notice(self._identity.pool)
        try:
            return await self._bus.subscribe(subject, self._worker.early_baselines.handle)
        except Forbidden as error:  # NATS has the permissions of an earlier release: they are read after `dispatched`
            _log.warning("baselines.not_heard", error=str(error))
            return None

    async def stop(self) -> None:
        """Claim nothing more, give running operations `stop_grace`, end the rest, then send the receipts."""
        self._worker.stopping = True
        self._heartbeats.changed()
        if self._pulling is not None:
            closing = tasks.start(self._finish(self._pulling), "finish operations")
            await asyncio.wait({closing}, timeout=self._settings.stop_grace)
            await asyncio.gather(*(entry.stop("shutdown") for entry in self._in_flight))
            await asyncio.wait({closing}, timeout=self._settings.kill_grace)
        self._worker.early_baselines.close()
        for subscription in (self._serving, self._people_notices, self._baseline_notices):
            if subscription is not None:
                await subscription.close()
        await self._outbox.flush(5.0)
        await self._outbox.close()
        going_on = [task for task in (self._beating, self._measuring) if task is not None]
        for task in going_on:
            task.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)
        await self._heartbeats.send()

    async def _finish(self, pulling: Subscription) -> None:
        await pulling.close()
        await self._worker.detached.finish()

    async def spool_check(self) -> str | None:
        """Report the spool for `/readyz`."""
        return self._spool.problem

    async def bus_check(self) -> str | None:
        """Report the bus for `/readyz`."""
        return None if self._bus.connected else "not connected to NATS"

    def _put_together(self, trust: VerificationContext) -> WorkerParts:
        return WorkerParts(
            bus=self._bus,
            backend=self._backend,
            trust=trust,
            identity=self._identity,
            spool=self._spool,
            people=self._people,
            outbox=self._outbox,
            reporter=self._reporter,
            host_reads=self._host_reads,
            meters=self._meters,
            in_flight=self._in_flight,
            time=self.time,
            kill_grace=self._settings.kill_grace,
            slots=self._settings.slots,
            waiting=self._settings.waiting,
            changed=self._heartbeats.changed,
        )

    def _service(self) -> Service:
        pool, instance = self._identity.pool, self._identity.instance
        return Service(
            name=f"agent-{pool}",
            version=self._settings.version,
            description=f"Carries out operations of pool {pool}",
            endpoints=[
                Endpoint(
                    name="look",
                    subject=subjects.host_read(pool),
                    handler=self._host_reads.handle,
                    queue="look",
                    concurrency=ENDPOINT_SLOTS,
                ),
                Endpoint(name="cancel", subject=subjects.cancel(pool, instance), handler=self._cancels.handle),
            ],
            metadata={"pool": pool, "instance": instance, "backend": self._backend.name},
        )

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            pool=self._identity.pool,
            instance=self._identity.instance,
            running=sorted([*self._in_flight.ids, *(self._unacknowledged() - set(self._in_flight.ids))][:MOST_RUNNING]),
            free_slots=self._free_slots(),
            operations=sorted(self._backend.operations),
            version=self._settings.version,
            leaving=self._worker.stopping,
            skew=self.time.notable_skew(),
            plugins=digests_of(self._parts.trust.catalogue.plugins),
            level=LEVEL,
            trusts=sorted(self._parts.trust.policy_keys)[:MOST_TRUSTED],
            people=self._known_people(),
            started=self._identity.started,
            requests=self._bus.work_filter == subjects.dispatched_filter(self._identity.pool),
            baseline_notices=self._baseline_notices is not None,
            signs_replies=True,
        )

    def _known_people(self) -> int | None:
        if not self._people.pinned:
            return None
        return self._people.value.name.number if self._people.value is not None else 0

    def _unacknowledged(self) -> set[str]:
        """Return ended operations whose receipt no executor has acknowledged yet."""
        return {key.partition(".")[0] for key in self._outbox.pending if not key.startswith("report.")}

    def _free_slots(self) -> int:
        if self._worker.stopping:
            return 0
        return max(0, self._settings.slots - (len(self._in_flight) - len(self._worker.detached)))
