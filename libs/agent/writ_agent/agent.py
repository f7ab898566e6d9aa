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
from writ_agent.preflight.known_lacks import KnownLacks
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
from writ_bus.port import Bus, Endpoint, Handler, Service, Subscription
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
        self._settings = settings
        self.time = ServerClock(bus, clocks)
        self.time.shown(metrics)
        identity = structs.replace(identity, started=clocks.wall())
        trust = VerificationContext(
            policy_keys=policy_keys,
            installation=identity.key.installation,
            pool=identity.pool,
            backend=backend.name,
            operations=frozenset(backend.operations),
            catalogue=catalogue,
            ceiling=ceiling,
        )
        self._heartbeats = Heartbeats(bus, settings.heartbeat, self._heartbeat)
        outbox = Outbox(bus, spool, lambda _: self._heartbeats.changed())
        meters = Meters(metrics, catalogue, self._free_slots)
        self._known_lacks = KnownLacks(clocks.boot, self._heartbeats.changed)
        reporter = SecurityReporter(outbox, identity, meters)
        self._parts = WorkerParts(
            bus=bus,
            backend=backend,
            trust=trust,
            identity=identity,
            spool=spool,
            people=people,
            outbox=outbox,
            reporter=reporter,
            host_reads=HostReads(backend, trust, identity, reporter, meters, self.time.now, self._known_lacks),
            meters=meters,
            in_flight=InFlightOperations(spool.begun),
            time=self.time,
            kill_grace=settings.kill_grace,
            slots=settings.slots,
            waiting=settings.waiting,
            changed=self._heartbeats.changed,
        )
        self._worker = Worker(self._parts)
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions: list[Subscription] = []
        self._pulling: Subscription | None = None

    async def start(self) -> None:
        """Recover the operations of an earlier process, then take work."""
        parts, pool = self._parts, self._parts.identity.pool
        await self.time.start()
        self._tasks.append(tasks.keep("clock", self.time.follow))
        await recover(parts)
        self._subscriptions.append(await parts.bus.serve(self._service()))
        people = PeopleNoticeHandler(parts.trust, parts.people, parts.reporter, self._heartbeats.changed)
        baselines = self._worker.early_baselines
        for subject, handle in (
            (subjects.people_notice(pool), people.handle),
            (subjects.baseline_notice(pool), baselines.handle),
        ):
            await self._hear(subject, handle)
        self._pulling = await parts.bus.pull(
            subjects.consumer(pool), subjects.JOURNAL_STREAM, self._worker.handle, slots=self._settings.slots
        )
        # The first heartbeat makes executors count this agent as online, so it is sent once the agent takes work.
        self._tasks.append(tasks.keep("heartbeats", self._heartbeats.run))

    async def _hear(self, subject: str, handle: Handler) -> None:
        """Subscribe to notices, without which an agent works too. The `leaf.conf` of a site may not permit them yet."""
        try:
            self._subscriptions.append(await self._parts.bus.subscribe(subject, handle))
        except Forbidden as error:
            _log.warning("notices.not_heard", subject=subject, error=str(error))

    async def stop(self) -> None:
        """Claim nothing more, give running operations `stop_grace`, end the rest, then send the receipts."""
        self._worker.stopping = True
        self._heartbeats.changed()
        if self._pulling is not None:
            closing = tasks.start(self._finish(self._pulling), "finish operations")
            await asyncio.wait({closing}, timeout=self._settings.stop_grace)
            await asyncio.gather(*(entry.stop("shutdown") for entry in self._parts.in_flight))
            await asyncio.wait({closing}, timeout=self._settings.kill_grace)
        self._worker.early_baselines.close()
        for subscription in self._subscriptions:
            await subscription.close()
        await self._parts.outbox.flush(5.0)
        await self._parts.outbox.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._heartbeats.send()

    async def _finish(self, pulling: Subscription) -> None:
        await pulling.close()
        await self._worker.detached.finish()

    async def spool_check(self) -> str | None:
        """Report the spool for `/readyz`."""
        return self._parts.spool.problem

    async def bus_check(self) -> str | None:
        """Report the bus for `/readyz`."""
        return None if self._parts.bus.connected else "not connected to NATS"

    def _service(self) -> Service:
        parts, pool, instance = self._parts, self._parts.identity.pool, self._parts.identity.instance
        cancels = CancelEndpoint(
            parts.trust, parts.identity, parts.in_flight, self._unacknowledged, parts.reporter, parts.meters
        )
        return Service(
            name=f"agent-{pool}",
            version=self._settings.version,
            description=f"Carries out operations of pool {pool}",
            endpoints=[
                Endpoint(
                    name="look",
                    subject=subjects.host_read(pool),
                    handler=parts.host_reads.handle,
                    queue="look",
                    concurrency=ENDPOINT_SLOTS,
                ),
                Endpoint(name="cancel", subject=subjects.cancel(pool, instance), handler=cancels.handle),
            ],
            metadata={"pool": pool, "instance": instance, "backend": parts.backend.name},
        )

    def _heartbeat(self) -> Heartbeat:
        parts, ended = self._parts, self._unacknowledged()
        lacks, tested = self._known_lacks.shown()
        return Heartbeat(
            pool=parts.identity.pool,
            instance=parts.identity.instance,
            running=sorted([*parts.in_flight.ids, *(ended - set(parts.in_flight.ids))][:MOST_RUNNING]),
            free_slots=self._free_slots(),
            operations=sorted(parts.backend.operations),
            version=self._settings.version,
            leaving=self._worker.stopping,
            skew=self.time.notable_skew(),
            plugins=digests_of(parts.trust.catalogue.plugins),
            level=LEVEL,
            trusts=sorted(parts.trust.policy_keys)[:MOST_TRUSTED],
            people=self._known_people(),
            started=parts.identity.started,
            lacks=lacks,
            tested=tested,
        )

    def _known_people(self) -> int | None:
        people = self._parts.people
        if not people.pinned:
            return None
        return people.value.name.number if people.value is not None else 0

    def _unacknowledged(self) -> set[str]:
        """Return ended operations whose receipt no executor has acknowledged yet."""
        return {key.partition(".")[0] for key in self._parts.outbox.pending if not key.startswith("report.")}

    def _free_slots(self) -> int:
        if self._worker.stopping:
            return 0
        return max(0, self._settings.slots - (len(self._parts.in_flight) - len(self._worker.detached)))
