"""Each statement that agents sign is refused if its signature is wrong, and the forgery is a security event."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World

from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import (
    Acknowledgement,
    Heartbeat,
    ReadReply,
    ReceiptMessage,
    ReportMessage,
    SecurityReport,
)
from writ_contracts.decisions import Decision
from writ_contracts.ids import operation_id
from writ_contracts.journal import Requested, SecurityEvent
from writ_contracts.people.approvals import DecisionDemand, DecisionStep
from writ_contracts.people.previews import Preview
from writ_contracts.requests import Failure
from writ_contracts.wire import decode, encode
from writ_executor.agents import alarms
from writ_executor.steps.host_reads import HostReadRequests, TakenPreview
from writ_testing.eventually import eventually
from writ_testing.fakes.scripted_agent import ScriptedAgent
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

RESTART = {"parameters": {"service_name": "nginx"}}
STRANGER = Key(generate_seed())
ID = operation_id("alice", "one")


async def security(world: World) -> list[tuple[str, str | None]]:
    found = await world.events(subjects.SECURITY)
    return [(one.kind, one.pool) for one in found if isinstance(one, SecurityEvent)]


async def acknowledged(world: World, subject: str, body: ReceiptMessage | ReportMessage) -> str:
    """Return the code of the refusal, or ""."""
    answer = decode((await world.bus.request(subject, encode(body), timeout=20)).data, Acknowledgement)
    return answer.error.code if answer.error else ""


def report(pool: str = POOL) -> SecurityReport:
    return SecurityReport(kind="host_key_changed", pool=pool, instance="i-1", detail="seen")


async def forged_claim(world: World, key: Key) -> str:
    answer = await world.ask("service_restart", **RESTART)
    held = await ScriptedAgent(world.bus, POOL, key).claim(await world.work(answer.operation_id or ""))
    return held.answer.error.code if held.answer.error else ""


async def forged_receipt(world: World, key: Key) -> str:
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    receipt = ScriptedAgent(world.bus, POOL, key).receipt_for(work, await world.hands.claim(work))
    body = ReceiptMessage(receipt=receipt, principal="alice", full_output={})
    return await acknowledged(world, subjects.receipt(POOL), body)


async def forged_report(world: World, key: Key) -> str:
    return await acknowledged(world, subjects.report(POOL), ReportMessage(report=sign(key, report())))


@pytest.mark.parametrize(
    ("send", "kind"),
    [(forged_claim, "forged_claim"), (forged_receipt, "forged_receipt"), (forged_report, "bad_signature")],
)
async def test_statement_by_an_unknown_key_is_refused_and_recorded(
    world: World, send: Callable[[World, Key], Awaitable[str]], kind: str
) -> None:
    await world.executor()
    assert await send(world, STRANGER) == kind
    assert await security(world) == [(kind, POOL)]
    (event,) = await world.events(subjects.security_event(kind))
    assert isinstance(event, SecurityEvent)
    assert event.report is None  # a reader of the record would take the forged one for a defect of it
    assert STRANGER.public in event.detail


async def test_report_that_names_another_pool_than_its_sender_is_refused_and_recorded(world: World) -> None:
    await world.executor()
    body = ReportMessage(report=sign(world.hands.key, report("local-db-1")))
    assert await acknowledged(world, subjects.report(POOL), body) == "bad_signature"
    assert await security(world) == [("bad_signature", POOL)]


async def test_flood_of_forged_reports_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "RATE", 0.001)
    monkeypatch.setattr(alarms, "BURST", 5.0)
    await world.executor()
    codes = [await forged_report(world, STRANGER) for _ in range(8)]
    assert codes == ["bad_signature"] * 5 + ["rate_limited"] * 3
    assert len(await security(world)) == 5


def demanding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted policy demand an approval of restarts."""
    plain = world.policy.decision
    step = DecisionStep(roles=["approver"], quorum=1, people=["bob"])
    demand = DecisionDemand(rule="restarts", steps=[step], seconds=600)

    def decision(*args: Any) -> Decision:
        return structs.replace(plain(*args), demands=[demand], could_approve=["bob"])

    monkeypatch.setattr(world.policy, "decision", decision)
    world.policy.effects["service_restart"] = "require_approval"


async def serve_previews(world: World, reply: Callable[[Preview], ReadReply]) -> None:
    """Let an agent answer the request for a preview of any pending restart."""

    async def read(_: Message) -> bytes:
        pending = await world.accepted(world.policy.decides[-1].subject.operation_id)
        requested = pending.requested
        preview = Preview(
            operation_id=requested.operation_id,
            operation=requested.operation,
            target=requested.target,
            pool=POOL,
            instance="i-1",
            look_digest="0" * 64,
            parameters_digest=requested.parameters_digest or None,
            taken_at=1.0,
        )
        return encode(reply(preview))

    endpoints = [Endpoint(name="look", subject=subjects.host_read(POOL), handler=read)]
    await world.bus.serve(Service(name="agent", version="0", description="", endpoints=endpoints))
    await heartbeat(world)


@pytest.mark.parametrize("forged", ["by a stranger", "of another operation", "unsigned"])
async def test_preview_that_no_agent_of_the_pool_signed_is_not_stored_but_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    def reply(preview: Preview) -> ReadReply:
        if forged == "unsigned":
            return ReadReply(observed={})
        if forged == "of another operation":
            return ReadReply(preview=sign(world.hands.key, structs.replace(preview, operation_id=ID)))
        return ReadReply(preview=sign(STRANGER, preview))

    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0)
    await serve_previews(world, reply)
    answer = await world.ask("service_restart", **RESTART)
    await one.background.settle()
    assert await world.kinds(answer.operation_id or "") == ["requested", "awaiting_approval"]
    (event,) = await world.events(subjects.security_event("bad_signature"))
    assert isinstance(event, SecurityEvent)
    assert (event.pool, event.operation_id, event.principal) == (POOL, answer.operation_id, "alice")


async def test_signed_preview_is_stored_without_a_security_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0)
    await serve_previews(world, lambda preview: ReadReply(preview=sign(world.hands.key, preview)))
    answer = await world.ask("service_restart", **RESTART)
    await one.background.settle()
    assert await world.kinds(answer.operation_id or "") == ["requested", "awaiting_approval", "preview_taken"]
    assert await security(world) == []


async def test_preview_of_parameters_that_rules_fill_in_differently_now_is_not_stored_and_no_security_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(preview: Preview) -> ReadReply:
        return ReadReply(preview=sign(world.hands.key, structs.replace(preview, parameters_digest="1" * 64)))

    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0)
    await serve_previews(world, reply)
    answer = await world.ask("service_restart", **RESTART)
    await one.background.settle()
    assert await world.kinds(answer.operation_id or "") == ["requested", "awaiting_approval"]
    assert await security(world) == []


async def test_preview_that_waits_for_its_agent_is_not_requested_once_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, go_on = list[str](), asyncio.Event()
    read = HostReadRequests.read_preview

    async def slow(self: HostReadRequests, requested: Requested, **how: Any) -> TakenPreview:
        requests.append(requested.operation_id)
        await go_on.wait()
        return await read(self, requested, **how)

    monkeypatch.setattr(HostReadRequests, "read_preview", slow)
    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0)
    await serve_previews(world, lambda preview: ReadReply(preview=sign(world.hands.key, preview)))
    answer = await world.ask("service_restart", **RESTART)

    async def requested_once() -> bool:
        return bool(requests)

    await eventually(requested_once, what="the first request")
    async with asyncio.timeout(20):
        await one.sweep._pending._previews.take(await world.accepted(answer.operation_id))
    go_on.set()
    await one.background.settle()
    assert requests == [answer.operation_id]
    assert (await world.kinds(answer.operation_id or ""))[-1] == "preview_taken"


async def test_listing_that_policy_calls_forged_at_a_preview_is_recorded(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    await heartbeat(world)
    answer = await world.ask("service_restart", dry_run=True, **RESTART)
    world.policy.errors["service_restart"] = Failure(code="forged_listing", message="not one of the pool")
    await one.background.settle()
    assert await world.outcome(answer.operation_id or "") == "failed"
    assert await security(world) == [("forged_listing", POOL)]


@pytest.mark.parametrize("code", ["unknown_principal", "key_mismatch"])
async def test_start_for_a_principal_that_was_removed_or_has_a_new_key_is_denied_without_a_security_event(
    world: World, code: str
) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    world.policy.grant_errors["service_restart"] = Failure(code=code, message="the list has changed")
    held = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert held.answer.grant is None
    assert await world.outcome(answer.operation_id or "") == "denied"
    assert await security(world) == []


async def test_heartbeat_that_names_another_pool_than_its_sender_is_ignored_and_recorded(world: World) -> None:
    one = await world.executor()
    beat = Heartbeat(pool=POOL, instance="i-1", running=[], free_slots=1, operations=[], version="0")
    await world.bus.publish(subjects.heartbeat("local-db-1"), encode(beat))

    async def recorded() -> list[tuple[str, str | None]] | None:
        return await security(world) or None

    assert await world.until(recorded) == [("key_mismatch", "local-db-1")]
    assert one.presence.agents(POOL) == one.presence.agents("local-db-1") == []
