"""An agent's reply to a cancel, a probe or a dry run counts only under the signature of that agent, or of its pool."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from tests.executor.agent_requests import preview_of, serve_agent
from tests.executor.conftest import POOL, World

from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.signed_replies import signed_reply, with_finding
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_client.queries.operation_queries import Queries
from writ_contracts import subjects
from writ_contracts.agents import SIGNATURE_HEADER, CancelReply, ProbeFinding, ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import Untrusted
from writ_contracts.inventory import AgentKey, Agents
from writ_contracts.journal import Finished, SecurityEvent
from writ_contracts.life import GrantedLife
from writ_contracts.people.previews import PreviewDetails
from writ_contracts.target_tests import TargetReport
from writ_contracts.wire import decode, encode
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import open_signed, read, sign

RESTART = {"parameters": {"service_name": "nginx"}}
STRANGER, COLLEAGUE = Key(generate_seed()), Key(generate_seed())
REPORT = encode(ReadReply(visit=TargetReport(target="web-1", pool=POOL, instance="i-1", agent_version="0")))
STOPPED, EFFECT = encode(CancelReply(result="stopped")), encode(ReadReply(verdict="took_effect"))
Forgery = Callable[[World, Message, bytes], EndpointReply]


@pytest.fixture(autouse=True)
def shared_pool(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another agent, with a key of its own, serve the pool, too."""
    keys = [AgentKey(pool=POOL, key=key.public) for key in (world.hands.key, COLLEAGUE)]
    monkeypatch.setattr(world, "_agents", lambda: Agents(agents=keys))


def identity(world: World, key: Key | None = None, instance: str = "") -> AgentIdentity:
    return AgentIdentity(key=key or world.hands.key, pool=POOL, instance=instance or world.hands.instance)


def unsigned(_: World, __: Message, reply: bytes) -> EndpointReply:
    return EndpointReply(reply)


def unreadable(_: World, __: Message, reply: bytes) -> EndpointReply:
    return EndpointReply(reply, {SIGNATURE_HEADER: "{}"})


def by_a_stranger(world: World, message: Message, reply: bytes) -> EndpointReply:
    return signed_reply(identity(world, STRANGER), message, reply)


def by_a_colleague(world: World, message: Message, reply: bytes) -> EndpointReply:
    return signed_reply(identity(world, COLLEAGUE), message, reply)


def by_another_instance(world: World, message: Message, reply: bytes) -> EndpointReply:
    return signed_reply(identity(world, instance="i-other"), message, reply)


def to_another_request(world: World, message: Message, reply: bytes) -> EndpointReply:
    return signed_reply(identity(world), structs.replace(message, data=message.data + b" "), reply)


def with_another_content(world: World, message: Message, reply: bytes) -> EndpointReply:
    honest = signed_reply(identity(world), message, encode(CancelReply(result="not_running")))
    return structs.replace(honest, data=reply)


EVERYWHERE = [unsigned, unreadable, by_a_stranger, to_another_request, with_another_content]
FOR_THE_CLAIMANT = [by_a_colleague, by_another_instance]


async def serve(world: World, forgery: Forgery, reply: bytes) -> None:
    """Let the agent's subjects be answered by a forger."""

    async def forge(message: Message) -> EndpointReply:
        return forgery(world, message, reply)

    subject = subjects.cancel(POOL, world.hands.instance)
    endpoints = [
        Endpoint(name="look", subject=subjects.host_read(POOL), handler=forge),
        Endpoint(name="cancel", subject=subject, handler=forge),
    ]
    await world.bus.serve(Service(name="forger", version="0", description="", endpoints=endpoints))


async def claimed(world: World) -> str:
    """Have the agent claim a restart; return the operation id."""
    number = (await world.ask("service_restart", **RESTART)).operation_id or ""
    await world.hands.claim(await world.work(number))
    return number


async def cancelled(world: World, number: str) -> str:
    """Return the outcome of a cancel of the operation."""
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": number})
    return await world.outcome(cancel.operation_id or "")


async def forgeries(world: World) -> list[tuple[str, str | None]]:
    found = await world.events(subjects.SECURITY)
    return [(one.kind, one.operation_id) for one in found if isinstance(one, SecurityEvent)]


@pytest.mark.parametrize("forgery", [*EVERYWHERE, *FOR_THE_CLAIMANT])
async def test_forged_reply_to_a_cancel_confirms_no_stop_and_is_recorded(world: World, forgery: Forgery) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, forgery, STOPPED)
    number = await claimed(world)
    assert await cancelled(world, number) == "unknown"
    assert await forgeries(world) == [("bad_signature", number)]


async def test_signed_reply_of_the_claimant_confirms_the_stop(world: World) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve_agent(world)
    assert await cancelled(world, await claimed(world)) == "succeeded"
    assert await forgeries(world) == []


async def probed(world: World, number: str) -> None:
    """Probe the operation once. Raises the executor's error."""
    life = await world.life(number)
    assert isinstance(life, GrantedLife)
    probes = world.executors[0].sweep._probes
    await probes._host_reads.probe(life, lambda: probes._shows_its_effect(life.requested))


@pytest.mark.parametrize("forgery", EVERYWHERE)
async def test_forged_reply_to_a_probe_ends_nothing_and_is_recorded(world: World, forgery: Forgery) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, forgery, EFFECT)
    number = await claimed(world)
    with pytest.raises(Untrusted):
        await probed(world, number)
    assert (await world.life(number)).open
    assert await forgeries(world) == [("bad_signature", number)]


async def test_signed_reply_of_another_agent_of_the_pool_to_a_probe_ends_it(world: World) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, found(by=COLLEAGUE), b"")
    number = await claimed(world)
    await probed(world, number)
    assert (await world.life(number)).outcome == "succeeded"
    assert await forgeries(world) == []


def found(by: Key | None = None, **changed: Any) -> Forgery:
    """Return replies under the agent's signature, with a finding under this key that has this changed."""

    def reply(world: World, message: Message, _: bytes) -> EndpointReply:
        ask = decode(message.data, ReadRequest)
        reply = with_finding(identity(world), ask, read(ask.look, ReadGrant), ReadReply(verdict="took_effect"))
        assert reply.finding is not None
        if changed or by:
            finding = structs.replace(read(reply.finding, ProbeFinding), **changed)
            reply = structs.replace(reply, finding=sign(by or world.hands.key, finding))
        return signed_reply(identity(world), message, encode(reply))

    return reply


def without_finding(world: World, message: Message, _: bytes) -> EndpointReply:
    return signed_reply(identity(world), message, EFFECT)


async def test_finding_of_a_probe_is_on_record_with_the_outcome(world: World) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, found(), b"")
    number = await claimed(world)
    await probed(world, number)
    *_, end = await world.events(subjects.operation_filter("alice", number))
    assert isinstance(end, Finished)
    assert end.probe is not None
    assert open_signed(end.probe, ProbeFinding, {world.hands.key.public}, "").operation_id == number


@pytest.mark.parametrize(
    "forgery",
    [
        without_finding,
        found(STRANGER),
        found(operation_id="a" * 26),
        found(verdict="no_effect"),
        found(attempt=2),
        found(pool="other"),
    ],
    ids=["none", "stranger", "operation", "verdict", "attempt", "pool"],
)
async def test_forged_finding_of_a_probe_ends_nothing_and_is_recorded(world: World, forgery: Forgery) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, forgery, b"")
    number = await claimed(world)
    with pytest.raises(Untrusted):
        await probed(world, number)
    assert (await world.life(number)).open
    assert await forgeries(world) == [("bad_signature", number)]


async def report_of(world: World) -> TargetReport:
    """Return the report of a target test by one of the pool's agents. Raises Untrusted."""
    return await Queries(world.bus, "alice").backend_test("web-1")


@pytest.mark.parametrize("forgery", EVERYWHERE)
async def test_forged_report_of_a_target_test_is_not_shown_and_is_recorded(world: World, forgery: Forgery) -> None:
    await world.executor(sweep=1000.0, lease=1000.0)
    await serve(world, forgery, REPORT)
    with pytest.raises(Untrusted):
        await report_of(world)
    assert await forgeries(world) == [("bad_signature", None)]


@pytest.mark.parametrize("forged", ["unsigned", "by a stranger", "other details"])
async def test_dry_run_shows_no_preview_that_the_agent_did_not_sign(world: World, forged: str) -> None:
    details = PreviewDetails(salt="0" * 64, values={"diff": "as it is"})

    async def forge(message: Message) -> bytes:
        preview = preview_of(decode(message.data, ReadRequest), {"made_up": True})
        told = structs.replace(preview, details_digest=keyed_digest(details.salt, details.values))
        key = STRANGER if forged == "by a stranger" else world.hands.key
        sent = structs.replace(details, values={"diff": "made up"}) if forged == "other details" else details
        signed = None if forged == "unsigned" else sign(key, told)
        return encode(ReadReply(observed=told.shown, preview=signed, details=sent))

    await world.executor(sweep=1000.0, lease=1000.0)
    endpoints = [Endpoint(name="look", subject=subjects.host_read(POOL), handler=forge)]
    await world.bus.serve(Service(name="forger", version="0", description="", endpoints=endpoints))
    number = (await world.ask("service_restart", dry_run=True, **RESTART)).operation_id or ""
    assert await world.outcome(number) == "failed"
    assert await forgeries(world) == [("bad_signature", number)]
