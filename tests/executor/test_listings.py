"""Executors collect the facts for a decision from the target's agents and ask policy again, at both decisions."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from tests.executor.conftest import World

from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.journal import SecurityEvent
from writ_contracts.policy.facts import GatheredListings, Listing
from writ_contracts.requests import Failure, SimulateQuery, SimulateReply
from writ_contracts.wire import decode, encode
from writ_executor.policy import listings
from writ_testing.eventually import eventually
from writ_trust.statements import digest, read, sign

RESTART = {"parameters": {"service_name": "nginx"}}


async def nothing() -> None:
    """Happens meanwhile."""


async def serve_listings(
    world: World, error: Failure | None = None, meanwhile: Callable[[], Awaitable[None]] = nothing
) -> list[ReadRequest]:
    """Run an agent that answers with this listing or error; return the requests it got."""
    requests: list[ReadRequest] = []

    async def serve_read(message: Message) -> bytes:
        ask = decode(message.data, ReadRequest)
        requests.append(ask)
        await meanwhile()
        grant = read(ask.look, ReadGrant)
        listing = Listing(
            operation_id=grant.operation_id,
            source=grant.sources[0],
            target=grant.target.id,
            pool=grant.pool,
            instance=world.hands.instance,
            look_digest=digest(ask.look),
            taken_at=time.time(),
            names=["nginx"],
        )
        listed = ReadReply(listings=[sign(world.hands.key, listing)])
        return encode(listed if error is None else ReadReply(error=error))

    endpoint = Endpoint(name="look", subject=subjects.host_read(world.hands.pool), handler=serve_read)
    await world.bus.serve(Service(name="agent", version="0", description="", endpoints=[endpoint]))
    return requests


def gathered(world: World) -> list[GatheredListings]:
    """Return the facts given to policy, question by question."""
    all_facts = [*(ask.facts for ask in world.policy.decides), *(ask.facts for ask in world.policy.grants)]
    return [facts for facts in all_facts if facts is not None]


async def test_a_listing_is_gathered_for_the_request_and_again_for_the_claim(world: World) -> None:
    world.policy.needs["service_restart"] = ["list_services"]
    requests = await serve_listings(world)
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    assert answer.error is None
    held = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert held.answer.grant is not None
    assert [(ask.action, ask.parameters) for ask in requests] == [("listing", {})] * 2
    assert len({digest(ask.look) for ask in requests}) == 2
    assert [len(facts.listings) for facts in gathered(world)] == [1, 1]
    assert (len(world.policy.decides), len(world.policy.grants)) == (2, 2)


async def test_stop_set_during_a_listing_holds_for_the_decision(world: World) -> None:
    world.policy.needs["service_restart"] = ["list_services"]

    async def stopped() -> None:
        stop = await world.ask("stop_set", target="writ", parameters={"reason": "something is wrong"})
        assert await world.outcome(stop.operation_id or "") == "succeeded"

    await serve_listings(world, meanwhile=stopped)
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    await world.hands.claim(await world.work(answer.operation_id or ""))
    first, second = [record.sequence for record in await world.records(subjects.CONTROL)]
    sequences = [ask.control_sequence for ask in world.policy.decides if ask.facts is not None]
    assert (sequences, world.policy.grants[-1].control_sequence) == ([first], second)


async def test_missing_listing_is_reported_to_policy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "LISTING_SECONDS", -0.3)
    world.policy.needs["service_restart"] = ["list_services"]
    await world.executor()
    await world.ask("service_restart", **RESTART)
    (facts,) = gathered(world)
    assert facts.listings == []
    assert facts.failure == f"no agent of pool {world.hands.pool} replied"


async def test_pool_without_agents_is_not_waited_for(world: World) -> None:
    requests = await serve_listings(world)
    world.policy.needs["service_restart"] = ["list_services"]
    one = await world.executor(lease=0.2)

    async def known() -> bool:
        return not one.presence.new

    await eventually(known)
    await world.ask("service_restart", **RESTART)
    (facts,) = gathered(world)
    assert facts.failure == f"no agent of pool {world.hands.pool} replied"
    assert requests == []


async def test_error_of_a_listing_reaches_policy(world: World) -> None:
    world.policy.needs["service_restart"] = ["list_services"]
    await serve_listings(world, Failure(code="look_expired", message="it expired"))
    await world.executor()
    await world.ask("service_restart", **RESTART)
    (facts,) = gathered(world)
    assert facts.failure == f"the agent of pool {world.hands.pool} reports: it expired"


async def test_a_simulation_gathers_too_and_records_nothing(world: World) -> None:
    world.policy.needs["service_restart"] = ["list_services"]
    requests = await serve_listings(world)
    await world.executor()
    query = SimulateQuery(operation="service_restart", target="web-1", parameters={"service_name": "nginx"})
    message = await world.bus.request(subjects.query("alice", "simulate"), encode(query), timeout=5)
    verdict = decode(message.data, SimulateReply).verdict
    assert verdict is not None
    assert verdict.decision == "allow"
    assert len(requests) == 1
    assert await world.records() == []


async def test_decision_without_facts_requests_no_listing(world: World) -> None:
    requests = await serve_listings(world)
    await world.executor()
    await asyncio.gather(*(world.ask("service_restart", **RESTART) for _ in range(3)))
    assert requests == []
    assert len(world.policy.decides) == 3


@pytest.mark.parametrize("at_the_claim", [False, True])
async def test_a_listing_that_policy_calls_forged_is_a_security_event_and_ends_it(
    world: World, at_the_claim: bool
) -> None:
    await world.executor()
    forged = Failure(code="forged_listing", message="the listing is not one of the pool")
    (world.policy.grant_errors if at_the_claim else world.policy.errors)["service_restart"] = forged
    answer = await world.ask("service_restart", **RESTART)
    if at_the_claim:
        held = await world.hands.claim(await world.work(answer.operation_id or ""))
        assert held.answer.grant is None
    assert await world.outcome(answer.operation_id or "") == ("denied" if at_the_claim else "invalid")
    events = await world.events(subjects.SECURITY)
    assert [event.kind for event in events if isinstance(event, SecurityEvent)] == ["forged_listing"]
