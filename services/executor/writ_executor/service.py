"""The executor as a service: which message goes to which part, and one answer and one record on every path."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from writ_bus.grammar import is_inbox
from writ_bus.port import Bus, Endpoint, EndpointReply, Message, Service
from writ_contracts import subjects, wire
from writ_contracts.agents import Acknowledged, ClaimAnswer, Heartbeat, Progress
from writ_contracts.audit import AuditStanding, JournalAnswer
from writ_contracts.backends import BackendTestAnswer
from writ_contracts.errors import Invalid, WritError
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.notices import Noted
from writ_contracts.operations import Catalogue
from writ_contracts.registry import CHANNELS, Role, Style
from writ_contracts.requests import (
    Failure,
    OperationAnswer,
    OperationsAnswer,
    ResultAnswer,
    SimulateAnswer,
    TargetsAnswer,
)
from writ_contracts.requests import RequestAnswer as RequestAnswer
from writ_executor import __version__
from writ_executor.composition import compose
from writ_executor.config import Config
from writ_executor.metrics import Measures, pools_of
from writ_executor.requests.views import failure
from writ_runtime.clocks import SYSTEM, Clocks, ServerClock, describe
from writ_runtime.health import Attention, Check
from writ_runtime.logs import Log
from writ_runtime.metrics import Handled, Metrics, Observer
from writ_runtime.watched_file import Watched

CONCURRENCY = 256
"""Requests of one kind that are worked on at once; more wait their turn."""

NAMED = 10
"""Pools without an agent, or agents with a wrong clock, that are named in one line."""

log = Log("writ.executor")
Handler = Callable[[Message], Awaitable[Any]]


class Executor:
    """All of it, over one bus."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        key: bytes,
        catalogue: Catalogue,
        inventory: Watched[Inventory],
        agents: Watched[Agents],
        measured: Metrics,
        clocks: Clocks = SYSTEM,
    ) -> None:
        self._bus = bus
        self.time = ServerClock(bus, clocks)
        self.time.shown(measured)
        self._observe = Observer(log, measured)
        self._files = (inventory, agents)
        self._urgent = tuple(operation.name for operation in catalogue.values() if operation.control)
        self._measures, self._inventory = Measures(measured, catalogue, self.time.now), inventory
        components = compose(config, bus, key, catalogue, inventory, agents, self._measures, measured, self.time)
        self.index, self.background, self.presence, self.follower = (
            components.index,
            components.background,
            components.presence,
            components.follower,
        )
        self.recorder, self.admission, self.sweep = components.recorder, components.admission, components.sweep
        self.intake, self.claims, self.receipts, self.queries = (
            components.intake,
            components.claims,
            components.receipts,
            components.queries,
        )
        self.notices, self._audit_services, self._generations = (
            components.notices,
            components.audit_services,
            components.generations,
        )
        self._restored, self._policy, self._guard = components.restored, components.policy, components.guard
        measured.before(self._update_gauges)

    async def serve(self) -> None:
        """Catch up with the journal, then answer; what goes on for ever is in `run`."""
        await self.time.start()
        await self.follower.start(restored=await self._restored.is_due())
        await self.admission.measure_fill()
        await self._restored.settle()
        await self._bus.subscribe(subjects.heartbeat("x").replace(".x", ".*"), self._heartbeat)
        await self._bus.subscribe(subjects.AUDIT_STANDING, self._standing)
        await self._bus.subscribe(subjects.progress("x").replace(".x", ".*"), self._progress, queue="q-executor")
        await self._bus.serve(
            Service(
                name="executor",
                version=__version__,
                description="Takes requests, has them decided, records and dispatches them.",
                endpoints=self._endpoints(),
            )
        )

    async def run(self) -> None:
        """Follow the journal, look for what is overdue, watch the files; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follower.follow(), name="follow")
            group.create_task(self.sweep.run(), name="sweep")
            group.create_task(self.time.follow(), name="clock")
            group.create_task(self._guard.watch(), name="guard")
            for file in self._files:
                group.create_task(file.follow(), name="watch")

    async def stop(self) -> None:
        """Let what has begun come to its end, and leave a snapshot."""
        await self.background.settle()
        await self.follower.save()

    def _update_gauges(self) -> None:
        agents = self.presence.agents_of(pools_of(self._inventory.value))
        self._measures.see(self.index.open(), agents, self.time.now())
        self._measures.see_journal(self.admission.fill, self.follower.damaged)

    def checks(self) -> dict[str, Check]:
        """What `/readyz` looks at, by name. Agents and outcomes are told: the executor itself is ready all the same."""
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
        }

    async def _pools_check(self) -> str | None:
        agents = self.presence.agents_of(pools_of(self._inventory.value))
        silent = [pool for pool, instances in agents.items() if not instances]
        if not silent or self.presence.new:
            return None
        more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
        return Attention(f"no agent of pool {', '.join(silent[:NAMED])}{more}")

    async def _agent_clocks_check(self) -> str | None:
        skewed = [(agent.instance, agent.skew) for agent in self.presence.all_agents() if agent.skew is not None]
        if not skewed:
            return None
        named = ", ".join(f"{instance} {describe(skew)} the NATS server's" for instance, skew in skewed[:NAMED])
        return Attention(f"clocks of agents' hosts: {named}" + (" and more" if len(skewed) > NAMED else ""))

    async def _success_check(self) -> str | None:
        problem = self._measures.success.problem()
        return Attention(problem) if problem else None

    async def _bus_check(self) -> str | None:
        return None if self._bus.connected else "not connected to NATS"

    async def _journal_check(self) -> str | None:
        if problem := self._guard.problem or await self._generations.problem():
            return problem
        last = (await self._bus.journal.usage()).last_sequence
        if not await self.follower.reached(last, timeout=1.0):
            return f"{last - self.index.sequence} events behind the journal"
        if self.admission.fill >= 1:
            return f"the journal is {self.admission.fill:.0%} full"
        full = self.admission.full()
        return Attention(full) if full else None

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
        handlers: dict[str, tuple[Handler, Callable[[Failure], Any]]] = {
            "request": (self.intake.handle_request, lambda error: RequestAnswer(error=error)),
            "query_operation": (self.queries.operation, lambda error: OperationAnswer(error=error)),
            "query_operations": (self.queries.operations, lambda error: OperationsAnswer(error=error)),
            "query_result": (self.queries.result, lambda error: ResultAnswer(error=error)),
            "query_simulate": (self.queries.simulate, lambda error: SimulateAnswer(error=error)),
            "query_targets": (self.queries.targets, lambda error: TargetsAnswer(error=error)),
            "query_journal": (self.queries.journal, lambda error: JournalAnswer(error=error)),
            "query_backend_test": (self.queries.backend_test, lambda error: BackendTestAnswer(error=error)),
            "claim": (self.claims.handle_claim, lambda error: ClaimAnswer(error=error)),
            "receipt": (self.receipts.handle_receipt, lambda error: Acknowledged(error=error)),
            "report": (self.receipts.handle_report, lambda error: Acknowledged(error=error)),
            "notice_policy": (self.notices.of_policy, lambda error: Noted(error=error)),
            "notice_keeper": (self.notices.of_provisioner, lambda error: Noted(error=error)),
            "notice_audit": (self.notices.of_audit, lambda error: Noted(error=error)),
        }
        served = [one for one in CHANNELS if Role.EXECUTOR in one.receivers and one.style is Style.REQUEST]
        return [
            Endpoint(
                name=one.name,
                subject=one.subject(),
                handler=self._handler_of(one.name, *handlers[one.name]),
                concurrency=CONCURRENCY,
                urgent=self._urgent if one.name == "request" else (),
            )
            for one in served
        ]

    def _handler_of(
        self, name: str, handler: Handler, refused: Callable[[Failure], Any]
    ) -> Callable[[Message], Awaitable[EndpointReply]]:
        """The outermost frame of every handler: one answer on every path, one record of what became of it."""

        async def answered(message: Message) -> EndpointReply:
            began = time.perf_counter()
            try:
                body = await handler(message)
                outcome, code = ("refused", body.error.code) if body.error else ("ok", "")
            except WritError as error:
                outcome, code = "refused", error.code
                body = refused(failure(error))
            except Exception as error:  # noqa: BLE001 - a defect: its text stays here
                log.error("handler.crashed", endpoint=name, exception=error)
                outcome, code = "failed", "internal"
                body = refused(Failure(code="internal", message="a defect in the executor; its log has the details"))
            seconds = time.perf_counter() - began
            self._observe(Handled(endpoint=name, outcome=outcome, code=code, seconds=seconds, fields=_fields(body)))
            return _encoded(body, message)

        return answered

    async def _heartbeat(self, message: Message) -> None:
        try:
            heartbeat = wire.decode(message.data, Heartbeat)
            if heartbeat.pool != subjects.parse_pool(message.subject):
                raise Invalid(f"a heartbeat of pool {heartbeat.pool} on {message.subject}")
        except Invalid as error:
            log.warning("heartbeat.refused", error=str(error))
            return
        self.presence.record(heartbeat)

    async def _standing(self, message: Message) -> None:
        try:
            self._audit_services.record(wire.decode(message.data, AuditStanding))
        except Invalid as error:
            log.warning("standing.refused", error=str(error))

    async def _progress(self, message: Message) -> None:
        try:
            progress = wire.decode(message.data, Progress)
            if self.receipts.may_tell(progress, subjects.parse_pool(message.subject)):
                subject = subjects.progress_event(progress.principal, progress.operation_id)
                await self._bus.publish(subject, wire.encode(progress))
        except WritError as error:
            log.warning("progress.not_relayed", error=str(error))

    def violation(self, kind: str, subject: str) -> None:
        """The server refused us a subject: a defect or somebody's doing; recorded.

        Not so an answer: it may go out for as long as the connection is there that the question came by.
        """
        if kind == "publish" and is_inbox(subject.upper()):  # the server's word comes in lower case
            log.warning("answer.too_late", subject=subject)
            return
        detail = f"NATS refused this executor {kind} to {subject}"
        self.background.spawn("violation", self.recorder.security("permission_violation", detail))


def _fields(body: Any) -> dict[str, object]:
    operation_id = getattr(body, "operation_id", None)
    return {"operation_id": operation_id} if operation_id else {}


def _encoded(body: Any, message: Message) -> EndpointReply:
    """In the requester's own encoding."""
    content_type = message.headers.get("Content-Type", wire.JSON).partition(";")[0].strip().lower()
    if content_type == wire.MSGPACK and message.subject.startswith(("writ.request.", "writ.query.")):
        return EndpointReply(msgspec.msgpack.encode(body), {"Content-Type": wire.MSGPACK})
    return EndpointReply(wire.encode(body), {"Content-Type": wire.JSON})
