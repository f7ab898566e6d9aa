"""Engines as services: Writ's over NATS, Cerbos over gRPC, and an undecided request over NATS, in turns."""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import nats
from msgspec import Struct, field

from bench.bare_nats import bare_server, until_answered
from bench.peers import by_cerbos, by_writ, model
from bench.peers.engine import Missing, Refused
from bench.peers.figures import ROUNDS, Gap, Row, best, compare
from bench.policy_service import ask, policy_service, question
from writ_bus.port import Bus
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.decisions import Subject
from writ_contracts.errors import WritError
from writ_contracts.ids import operation_id
from writ_contracts.operations import Catalogue, Risk
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES
from writ_installation.nats.server import free_port
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, writ_server

QUESTIONS = 1_000
WITHIN = 60.0
"""Seconds until the policy service must reply."""
BARE, WRIT = "bare NATS request", "Writ over NATS"
ANSWERS = {
    BARE: "300 bytes there and back, nothing decided",
    WRIT: "answers with a signed decision: rules, reason, effective parameters, every rule considered, policy's digest",
    by_cerbos.NAME: by_cerbos.ANSWER,
}
Ask = Callable[[Any], Awaitable[bool]]


class Service(Struct):
    """A measured service, its requests, and the times of its replies."""

    name: str
    ask: Ask
    requests: list[Any]
    load: float = 0.0
    rounds: list[list[float]] = field(default_factory=list)


class Effect(Struct):
    """The one compared field of a signed decision."""

    effect: str


async def measure(size: int) -> tuple[list[Row], list[Gap]]:
    """Measure all services at this number of rules. Raises Unequal."""
    rules = model.rules(size)
    questions = model.questions(rules, QUESTIONS)
    right = model.answers(rules, questions)
    services, gaps = [], []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, start in ((BARE, _bare), (WRIT, _writ), (by_cerbos.NAME, _cerbos)):
            try:
                services.append(await start(stack, folder, rules, questions))
            except (Missing, Refused) as error:
                gaps.append(Gap(engine=name, rules=size if isinstance(error, Refused) else 0, why=str(error)))
        for service in services:
            replies = [await service.ask(request) for request in service.requests]
            compare(service.name, replies, [True] * len(right) if service.name == BARE else right)
        for _ in range(ROUNDS):
            for service in services:
                service.rounds.append(await _times(service))
    return [_row(size, service, sum(right)) for service in services], gaps


async def _times(service: Service) -> list[float]:
    found = []
    for request in service.requests:
        began = time.perf_counter()
        await service.ask(request)
        found.append(time.perf_counter() - began)
    return found


def _row(size: int, service: Service, allowed: int) -> Row:
    p50, p99 = best(service.rounds)
    return Row(
        engine=service.name,
        rules=size,
        p50=p50,
        p99=p99,
        load=round(service.load, 3),
        requests=len(service.requests),
        allowed=0 if service.name == BARE else allowed,
    )


async def _bare(
    stack: AsyncExitStack, folder: Path, rules: Sequence[model.Rule], questions: Sequence[model.Question]
) -> Service:
    url = await stack.enter_async_context(bare_server(free_port()))
    client = await nats.connect(url, connect_timeout=10)
    stack.push_async_callback(client.close)
    await until_answered(client)

    async def request(data: bytes) -> bool:
        return bool((await client.request("bare.request", data, timeout=10)).data)

    return Service(BARE, request, [os.urandom(300) for _ in questions])


async def _writ(
    stack: AsyncExitStack, folder: Path, rules: Sequence[model.Rule], questions: Sequence[model.Question]
) -> Service:
    server = await stack.enter_async_context(writ_server(folder, principals=model.CALLERS))
    targets = [{"id": f"a-{role}", "role": role, "backend": "local", "docker": {}} for role in model.TARGETS]
    callers = [
        {"id": role, "kind": "human", "roles": [role], "key": server.keys[role].public} for role in model.CALLERS
    ]
    policy = by_writ.policy_file(rules)
    began = time.perf_counter()
    process = await stack.enter_async_context(
        policy_service(folder, server, policy, targets=targets, principals=callers)
    )
    bus = await server.bus("executor")
    catalogue = Catalogue(BUILT_IN)
    requests = [_question(server, catalogue, number, each) for number, each in enumerate(questions)]
    if not await _ready(bus, process, requests[0]):
        size = len(policy.encode())
        raise Refused(f"a policy file may have {MAX_DOCUMENT_BYTES:,} bytes, and these rules take {size:,}")

    async def request(data: bytes) -> bool:
        decided = await ask(bus, data)
        assert decided.decision is not None
        return msgspec.json.decode(decided.decision.payload, type=Effect).effect == "allow"

    return Service(WRIT, request, requests, time.perf_counter() - began)


def _question(server: WritServer, catalogue: Catalogue, number: int, each: model.Question) -> bytes:
    """Return the request of an executor. One that needs the principal's own signature, which no peer checks, is a
    simulation.
    """
    return question(
        Subject(
            operation_id=operation_id(each.caller, str(number)),
            principal=each.caller,
            key=server.keys[each.caller].public,
            operation=each.operation,
            target=f"a-{each.target}",
            parameters=by_writ.parameters(catalogue, each),
            parameters_key="ab" * 32,
            simulate=catalogue[each.operation].risk is Risk.ADMIN,
        )
    )


async def _ready(bus: Bus, process: asyncio.subprocess.Process, data: bytes) -> bool:
    """Return true once the service replies, and false if its process has ended."""

    async def answers() -> str | None:
        try:
            await ask(bus, data)
        except WritError:
            return "ended" if process.returncode is not None else None
        return "answers"

    return await eventually(answers, within=WITHIN, what="an answer of the policy service") == "answers"


async def _cerbos(
    stack: AsyncExitStack, folder: Path, rules: Sequence[model.Rule], questions: Sequence[model.Question]
) -> Service:
    loaded, seconds = stack.enter_context(by_cerbos.cerbos(folder / "cerbos", rules))

    async def request(prepared: Any) -> bool:
        return loaded.ask(prepared)

    return Service(by_cerbos.NAME, request, [loaded.prepare(each) for each in questions], seconds)
