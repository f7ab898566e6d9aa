"""A principal with the most it can get delays nobody else, and never a stop."""

import asyncio
from typing import Any

import pytest
from tests.executor.conftest import World
from tests.executor.test_listings import RESTART, serve_listings

from writ_contracts import subjects
from writ_contracts.requests import OpenQuery, OperationsReply
from writ_contracts.wire import decode, encode
from writ_executor.policy.client import PolicyClient

SLOTS = 8
FLOOD = 10 * SLOTS


async def hold_slots(world: World, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Task[object]]:
    """Send requests of mallory which all wait for an absent listing; return once her share of slots is taken."""
    monkeypatch.setattr("writ_executor.service.CONCURRENCY", SLOTS)
    held = asyncio.Semaphore(0)

    async def hang() -> None:
        held.release()
        await asyncio.Event().wait()

    world.policy.needs["service_restart"] = ["list_services"]
    await serve_listings(world, meanwhile=hang)
    await world.executor(sweep=1000.0)
    flood = [asyncio.create_task(world.ask("service_restart", "mallory", **RESTART)) for _ in range(FLOOD)]
    async with asyncio.timeout(10):
        for _ in range(SLOTS * 3 // 4):
            await held.acquire()
    return [*flood]


@pytest.mark.parametrize("principal", ["alice", "mallory"])
async def test_stop_is_accepted_at_once_while_one_principal_holds_its_share_of_slots(
    world: World, monkeypatch: pytest.MonkeyPatch, principal: str
) -> None:
    flood = await hold_slots(world, monkeypatch)
    answer = await world.ask("stop_set", principal, target="writ", parameters={"reason": "flood"})
    assert answer.error is None, answer
    assert not any(one.done() for one in flood)
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_others_are_served_while_one_principal_holds_what_it_can(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = await hold_slots(world, monkeypatch)
    answers = [await world.ask("service_status", f"user-{number}", **RESTART) for number in range(5)]
    assert [answer.error for answer in answers] == [None] * 5
    assert not any(one.done() for one in flood)
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_silent_policy_delays_decisions_alone_and_only_while_it_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.service.CONCURRENCY", SLOTS)
    speaks, requests, decide = asyncio.Event(), asyncio.Semaphore(0), PolicyClient.decide

    async def silent(*arguments: Any, **named: Any) -> Any:
        requests.release()
        await speaks.wait()
        return await decide(*arguments, **named)

    monkeypatch.setattr(PolicyClient, "decide", silent)
    await world.executor(sweep=1000.0)
    flood = [asyncio.create_task(world.ask("service_status", "mallory", **RESTART)) for _ in range(FLOOD)]
    async with asyncio.timeout(10):
        for _ in range(SLOTS * 3 // 4):
            await requests.acquire()
    query = await world.bus.request(subjects.query("alice", "operations"), encode(OpenQuery()), timeout=5)
    assert decode(query.data, OperationsReply).error is None
    waiting = asyncio.create_task(world.ask("service_status", "alice", **RESTART))
    async with asyncio.timeout(10):
        await requests.acquire()  # she has a slot of her own
    speaks.set()
    assert (await asyncio.wait_for(waiting, 10)).error is None
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
