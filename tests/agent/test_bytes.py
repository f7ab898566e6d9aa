"""Arbitrary bytes get an answer or none, have no effect, and never end the agent."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.conftest import POOL, TARGET, World
from tests.agent.test_host_reads import ask

from writ_contracts import subjects
from writ_contracts.agents import CancelReply, Heartbeat, ReadReply
from writ_contracts.wire import decode, encode
from writ_trust.keys import Key, generate_seed

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
noise = st.binary(max_size=300) | values.map(encode)


async def running(world: World) -> Heartbeat:
    """The agent of this test; the examples share it."""
    if not world.executor.heartbeats:
        await world.agent()
        await world.executor.until(lambda: bool(world.executor.heartbeats))
    return world.executor.heartbeats[-1]


@FEW
@given(noise)
async def test_arbitrary_bytes_are_no_read_grant(world: World, data: bytes) -> None:
    await running(world)
    message = await world.executor.bus.request(subjects.host_read(POOL), data, timeout=20)
    assert decode(message.data, ReadReply).error is not None
    assert world.backend.looks == []


@FEW
@given(noise)
async def test_agent_refuses_arbitrary_bytes_as_a_cancel(world: World, data: bytes) -> None:
    beat = await running(world)
    message = await world.executor.bus.request(subjects.cancel(POOL, beat.instance), data, timeout=20)
    assert decode(message.data, CancelReply).error is not None


@FEW
@given(st.integers(0, 10_000), st.integers(0, 255))
async def test_agent_refuses_a_forged_read_grant_with_any_byte_changed(world: World, place: int, byte: int) -> None:
    await running(world)
    forged = bytearray(encode(ask(world, "preview", signer=Key(generate_seed()))))
    forged[place % len(forged)] = byte
    message = await world.executor.bus.request(subjects.host_read(POOL), bytes(forged), timeout=20)
    assert decode(message.data, ReadReply).error is not None
    assert world.backend.looks == []


@settings(FEW, max_examples=25)
@given(noise)
async def test_agent_ignores_an_unreadable_dispatched_event(world: World, data: bytes) -> None:
    await running(world)
    known = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.append_raw(world.executor.operations[known].work, data)
    assert (await world.executor.ended(known)).outcome == "succeeded"
    assert len(world.backend.tasks) == len(world.executor.operations)
