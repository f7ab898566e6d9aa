"""An executor and an audit service that the test scripts: real messages, no policy, no agents.

They keep operations as lives, and publish events as the stream republishes them. `mute` leaves events out, as a
reconnect would; `script` holds the next replies instead of the usual ones.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from writ_bus.port import Bus, Endpoint, EndpointReply, Message, Responder, Service
from writ_contracts import journal, life, requests, subjects
from writ_contracts.agents import Progress
from writ_contracts.errors import Invalid
from writ_contracts.history import audit, views
from writ_contracts.ids import operation_id
from writ_contracts.requests import Failure, OperationView, RequestReply, Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import JSON, decode, encode, encode_as
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

Reaction = RequestReply | Failure | Callable[[], Awaitable[RequestReply]]
POLICY = Key(generate_seed())
PAGE = 50
"""Targets in one reply."""

SIGNED = Signed(payload=msgspec.Raw(b'{"type":"writ.test.v1"}'), key="U" + "A" * 55, signature="x" * 86)


class ScriptedApi:
    """`outcome` is how every operation ends at once; None leaves it dispatched until `end`."""

    def __init__(self, bus: Bus, outcome: str | None = "succeeded") -> None:
        self.bus = bus
        self.outcome = outcome
        self.outcomes: dict[str, str | None] = {}
        """Of operations on these targets."""
        self.targets = [requests.TargetView(id="a", role="development", backend="local", pool="local-a", agents=1)]
        self.script: deque[Reaction] = deque()
        self.requests: list[tuple[str, requests.Request]] = []
        self.content_types: list[str] = []
        self.lives: dict[str, list[tuple[int, journal.OperationEvent]]] = {}
        self.results: dict[str, dict[str, object]] = {}
        self.recorded: dict[str, object] = {"state": "active"}
        self.waiting: requests.WaitingReason | None = None
        self.queries: Counter[str] = Counter()
        self.most_open: int | None = None
        """More operations than these at once are refused."""
        self.at_once = False
        """Dispatch operations with their requests."""
        self.mute = False
        self.audit_away = False
        self.audit_lacks = 0
        """It refuses fields of searches that its release does not have."""
        self.silent_policy = False
        self.security: list[journal.SecurityEvent] = []
        self._changed = asyncio.Condition()
        self._sequence = 0

    async def serve(self, audit: Bus | None = None) -> None:
        """Listen; over NATS the audit half needs the audit service's own connection."""
        responders = {"operation": self._operation, "operations": self._operations, "result": self._result}
        responders |= {"simulate": self._simulate, "targets": self._targets}
        await self._serve_on(audit or self.bus, "audit", {"trace": self._trace, "search": self._search})
        endpoints = [Endpoint(name="request", subject="writ.request.*.*", handler=self._request)]
        endpoints += [
            Endpoint(name=kind, subject=f"writ.query.*.{kind}", handler=handler) for kind, handler in responders.items()
        ]
        await self.bus.serve(Service(name="executor", version="0.0.0", description="scripted", endpoints=endpoints))

    async def _serve_on(self, bus: Bus, name: str, responders: dict[str, Responder]) -> None:
        endpoints = [
            Endpoint(name=kind, subject=f"writ.query.*.{kind}", handler=handler) for kind, handler in responders.items()
        ]
        await bus.serve(Service(name=name, version="0.0.0", description="scripted", endpoints=endpoints))

    async def _request(self, message: Message) -> EndpointReply:
        principal, operation = subjects.parse_request(message.subject)
        self.content_types.append(content_type := message.headers.get("Content-Type", JSON))
        request = decode(message.data, requests.Request, content_type=content_type)
        async with self._changed:
            self.requests.append((operation, request))
            self._changed.notify_all()
        data, content_type = encode_as(await self._reply(principal, operation, request), content_type)
        return EndpointReply(data, {"Content-Type": content_type})

    async def _reply(self, principal: str, operation: str, request: requests.Request) -> RequestReply:
        if self.script:
            reaction = self.script.popleft()
            if isinstance(reaction, Failure):
                return RequestReply(error=reaction)
            return reaction if isinstance(reaction, RequestReply) else await reaction()
        if self.most_open is not None and len(self._open()) >= self.most_open:
            return RequestReply(error=Failure(code="too_many_open", message=f"{self.most_open} are open"))
        return await self.accept(principal, operation, request)

    async def accept(self, principal: str, operation: str, request: requests.Request) -> RequestReply:
        """Requested, dispatched, and with `outcome` to its end; the same key again changes nothing."""
        number = operation_id(principal, request.idempotency_key or "")
        if number not in self.lives:
            await self.happen(self._requested(number, principal, operation, request))
            if not self.at_once:
                await self.happen(_dispatched(number, principal, operation, request.target))
            outcome = self.outcomes.get(request.target, self.outcome)
            if outcome is not None:
                await self.end(number, outcome)
        folded = life.fold(self.lives[number])
        return RequestReply(
            operation_id=number, correlation_id="c1", state=folded.state, outcome=folded.outcome, verdict=ALLOWED
        )

    async def ask(self, principal: str, operation: str, request: requests.Request, reason: str) -> RequestReply:
        """Requested, and it waits for an approval."""
        number = operation_id(principal, request.idempotency_key or "")
        await self.happen(self._requested(number, principal, operation, request))
        self.waiting = requests.WaitingReason(kind="approval", text=f"waits for an approval: {reason}")
        verdict = Verdict(decision="require_approval", rules=["ask"], reason=reason, code="approval_needed")
        return RequestReply(operation_id=number, correlation_id="c1", state="awaiting_approval", verdict=verdict)

    def _requested(self, number: str, principal: str, operation: str, request: requests.Request) -> journal.Requested:
        return journal.Requested(
            **(_head(number) | {"correlation_id": request.correlation_id or "c1"}),
            principal=principal,
            operation=operation,
            target=request.target,
            pool="local-a",
            risk="change",
            idempotent=True,
            key="",
            parameters=request.parameters,
            hidden=[],
            effective={},
            parameters_digest="",
            fingerprint="",
            verdict=ALLOWED,
            decision=_signed(),
            timeout=60,
            start_by=time.time() + 60,
            dry_run=request.dry_run,
            reason=request.reason,
            dispatched=journal.DispatchedAtOnce(start_by=time.time() + 60, decision_digest="")
            if self.at_once
            else None,
        )

    async def happen(self, event: journal.OperationEvent) -> None:
        """Record it, and publish it unless mute."""
        self._sequence += 1
        events = self.lives.setdefault(event.operation_id, [])
        events.append((self._sequence, event))
        requested = events[0][1]
        assert isinstance(requested, journal.Requested | journal.Refused)
        kind = str(event.__struct_config__.tag)
        subject = subjects.operation_event(requested.principal, event.operation_id, kind)
        if not self.mute:
            headers = {"Nats-Sequence": str(self._sequence)}
            await self.bus.publish(subject.replace("writ.journal.", "writ.event.", 1), encode(event), headers)

    async def progress(self, number: str, message: str, silent: str = "") -> None:
        """Publish an agent's progress, as an executor relays it."""
        requested = self.lives[number][0][1]
        assert isinstance(requested, journal.Requested)
        event = Progress(operation_id=number, principal=requested.principal, message=message, silent=silent)
        await self.bus.publish(subjects.progress_event(requested.principal, number), encode(event))

    async def start(self, number: str) -> None:
        """An agent has it."""
        started = journal.Granted(
            **_head(number),
            attempt=1,
            instance="agent-1",
            deadline=time.time() + 60,
            claim=SIGNED,
            grant=SIGNED,
            decision=SIGNED,
        )
        await self.happen(started)

    async def end(self, number: str, outcome: str) -> None:
        """Start it if it has not, and end it."""
        if life.fold(self.lives[number]).state is life.State.DISPATCHED:
            await self.start(number)
        if outcome == "unknown":
            await self.happen(journal.Unknown(**_head(number), code="lost", message="the agent fell silent"))
        else:
            kind = msgspec.convert(outcome, journal.Outcome)
            await self.happen(journal.Finished(**_head(number), outcome=kind, output=self.recorded))

    def view(self, number: str) -> OperationView:
        """Return the operation as its requester sees it; raises Invalid (`not_found`)."""
        folded = life.fold(self.lives.get(number, []))
        view = views.view(folded, views.latest(folded))
        if view is None:
            raise Invalid(f"no operation {number}", code="not_found")
        return msgspec.structs.replace(view, waiting=None if view.outcome else self.waiting)

    async def _operation(self, message: Message) -> bytes:
        operation_id = decode(message.data, requests.OperationQuery).operation_id
        async with self._changed:
            self.queries["operation"] += 1
            self._changed.notify_all()
        try:
            return encode(requests.OperationReply(operation=self.view(operation_id)))
        except Invalid as error:
            return encode(requests.OperationReply(error=Failure(code=error.code, message=str(error))))

    async def _operations(self, message: Message) -> bytes:
        return encode(requests.OperationsReply(operations=self._open()))

    def _open(self) -> list[OperationView]:
        return [view for view in map(self.view, self.lives) if view.outcome is None]

    async def _result(self, message: Message) -> bytes:
        operation_id = decode(message.data, requests.OperationQuery).operation_id
        if operation_id in self.results:
            return encode(requests.ResultReply(output=self.results[operation_id]))
        return encode(requests.ResultReply(error=Failure(code="not_found", message="it is not kept")))

    async def _simulate(self, message: Message) -> bytes:
        responders = decode(message.data, requests.SimulateQuery)
        denied = responders.target == "forbidden"
        entry = {"rule": "r1", "effect": "allow", "matched": not denied, "clause": "targets", "wanted": "a", "got": "b"}
        verdict = DENIED if denied else ALLOWED
        return encode(requests.SimulateReply(verdict=verdict, trace=[entry], parameters=responders.parameters))

    async def _targets(self, message: Message) -> bytes:
        self.queries["targets"] += 1
        if self.silent_policy:
            return encode(
                requests.TargetsReply(error=Failure(code="policy_silent", message="policy does not answer", retry=True))
            )
        after = decode(message.data, requests.TargetsQuery).after or ""
        left = [one for one in sorted(self.targets, key=lambda one: one.id) if one.id > after]
        return encode(requests.TargetsReply(targets=left[:PAGE], more=len(left) > PAGE))

    async def _trace(self, message: Message) -> bytes:
        responders = decode(message.data, audit.TraceQuery)
        self.queries["trace"] += 1
        if self.audit_away:
            return encode(audit.TraceReply(error=Failure(code="full", message="not now")))
        events = [
            audit.TraceEvent(
                sequence=sequence,
                subject="",
                kind=str(event.__struct_config__.tag),
                at=event.at,
                body=_plain(event),
            )
            for number, events in self.lives.items()
            for sequence, event in events
            if responders.operation_id in (None, number) and responders.correlation_id in (None, event.correlation_id)
        ]
        if responders.security is not None:
            events = []
        events += [
            audit.TraceEvent(sequence=0, subject="", kind="security", at=event.at, body=_plain(event))
            for event in self.security
            if responders.correlation_id in (None, event.correlation_id)
        ]
        return encode(audit.TraceReply(events=events, as_of=self._sequence))

    async def _search(self, message: Message) -> bytes:
        responders = decode(message.data, audit.SearchQuery)
        views = [self.view(number) for number in reversed(self.lives)]
        rows = [
            audit.SearchRow(
                operation_id=view.operation_id,
                first_sequence=1,
                principal=view.principal,
                operation=view.operation,
                target=view.target,
                state=view.state,
                outcome=view.outcome,
                code=view.code,
                requested_at=view.requested_at,
                updated_at=view.updated_at,
                correlation_id=view.correlation_id,
                dry_run=view.dry_run,
            )
            for view in views
            if responders.correlation_id in (None, view.correlation_id)
            and responders.operation in (None, view.operation)
            and view.operation_id.startswith(responders.operation_prefix or "")
            and view.correlation_id.startswith(responders.correlation_prefix or "")
            and responders.before is None
        ]
        return encode(audit.SearchReply(rows=rows, behind=self.audit_lacks))

    async def until_queried(self, kind: str) -> None:
        """Wait for a query of that kind, for example from a process that has just started."""
        await self.until_queries(kind, 1)

    async def until_queries(self, kind: str, count: int) -> None:
        """Wait for so many queries of a kind."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.queries[kind] >= count)

    async def wait_for_requests(self, count: int = 1) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)


ALLOWED = Verdict(decision="allow", rules=["dev"], reason="rule dev allows it", code="allow", policy="p@1")
DENIED = Verdict(decision="deny", rules=["no"], reason="rule no denies it", code="denied", policy="p@1")


def _plain(event: Any) -> dict[str, Any]:
    return msgspec.json.decode(encode(event), type=dict[str, Any])


def _head(number: str) -> dict[str, Any]:
    return {"id": f"e{time.monotonic_ns()}", "at": time.time(), "correlation_id": "c1", "operation_id": number}


def _dispatched(number: str, principal: str, operation: str, target: str) -> journal.Dispatched:
    return journal.Dispatched(
        **_head(number),
        principal=principal,
        operation=operation,
        target=target,
        pool="local-a",
        attempt=1,
        parameters={},
        start_by=time.time() + 60,
        timeout=60,
    )


def _signed() -> Signed:
    return sign(
        POLICY,
        requests.RequestStatement(
            principal="p",
            operation="o",
            target="t",
            parameters_digest="0" * 64,
            idempotency_key="k",
            dry_run=False,
            issued_at=1.0,
        ),
    )
