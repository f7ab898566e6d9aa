"""Events and words of a newer version are carried along: the operation continues, and so do those behind it."""

import pytest
from msgspec import json
from tests.executor.conftest import POOL, World

from writ_audit.projection import project
from writ_bus.port import Entry
from writ_contracts.errors import Invalid
from writ_contracts.journal import Carried, SecurityEvent
from writ_contracts.notices import NoticeReply
from writ_contracts.subjects import NOTICE_POLICY, SECURITY, heartbeat, operation_filter
from writ_contracts.wire import decode, event_of
from writ_testing.eventually import eventually

OF_TOMORROW = "of_tomorrow"
RESTART = {"parameters": {"service_name": "nginx"}}


def subject(operation_id: str) -> str:
    return f"writ.journal.op.alice.{operation_id}.annotated"


def body(operation_id: str) -> bytes:
    event = {"type": "annotated", "id": f"new-{operation_id}", "at": 1.0, "correlation_id": "c", "note": {"a": [1]}}
    return json.encode({**event, "operation_id": operation_id})


async def annotate(world: World, operation_id: str) -> int:
    """Append an event as a newer executor would."""
    whole = operation_filter("alice", operation_id)
    last = await world.bus.journal.last(whole)
    assert last is not None
    entry = Entry(
        subject=subject(operation_id),
        data=body(operation_id),
        event_id=f"new-{operation_id}",
        filter=whole,
        expected=last.sequence,
    )
    return await world.bus.journal.append(entry)


async def request_restart(world: World) -> str:
    return (await world.ask("service_restart", **RESTART)).operation_id or ""


@pytest.mark.parametrize("started", [False, True])
async def test_an_operation_with_an_event_of_a_newer_version_goes_on(world: World, started: bool) -> None:
    one = await world.executor()
    first, second = await request_restart(world), await request_restart(world)
    work = await world.work(first)
    held = await world.hands.claim(work) if started else None
    sequence = await annotate(world, first)
    assert await one.follower.reached(sequence)
    held = held or await world.hands.claim(work)
    await world.hands.finish(work, held)
    assert await world.outcome(first) == "succeeded"
    await world.work(second)  # it had to wait for the first
    assert one.follower.damaged == 0


async def test_replica_that_starts_after_a_newer_event_reads_the_same_life(world: World) -> None:
    await world.executor()
    operation_id = await request_restart(world)
    await world.work(operation_id)
    sequence = await annotate(world, operation_id)
    other = await world.executor()
    life = other.index.get(operation_id)
    assert life is not None
    assert (life.sequence, life.open) == (sequence, True)


def test_an_index_shows_its_kind_and_changes_no_state() -> None:
    change = project(9, subject("a" * 26), body("a" * 26), 1.0)
    assert (change.event.kind, change.event.operation_id, change.step, change.opened) == (
        "annotated",
        "a" * 26,
        None,
        None,
    )


def test_a_body_of_another_operation_is_refused() -> None:
    assert isinstance(event_of(subject("a" * 26), body("a" * 26)), Carried)
    with pytest.raises(Invalid):
        event_of(subject("a" * 26), body("b" * 26))
    with pytest.raises(Invalid):
        event_of(subject("a" * 26), b"no event")


async def test_an_end_with_a_newer_outcome_is_an_end_and_frees_its_target(world: World) -> None:
    one = await world.executor()
    first, second = await request_restart(world), await request_restart(world)
    await world.work(first)
    event = {"type": "finished", "id": "new", "at": 1.0, "correlation_id": "c", "outcome": OF_TOMORROW}
    whole = operation_filter("alice", first)
    last = await world.bus.journal.last(whole)
    assert last is not None
    ended = Entry(
        subject=f"writ.journal.op.alice.{first}.finished",
        data=json.encode({**event, "operation_id": first}),
        event_id="new",
        filter=whole,
        expected=last.sequence,
    )
    assert await one.follower.reached(await world.bus.journal.append(ended))
    assert await world.outcome(first) == OF_TOMORROW
    await world.work(second)
    assert one.follower.damaged == 0


@pytest.mark.parametrize("word", ["outcome", "effect"])
async def test_a_receipt_with_a_newer_word_ends_its_operation(world: World, word: str) -> None:
    await world.executor()
    operation_id = await request_restart(world)
    work = await world.work(operation_id)
    held = await world.hands.claim(work)
    assert (await world.hands.finish(work, held, None, **{word: OF_TOMORROW})).stored
    assert await world.outcome(operation_id) == {"outcome": "unknown", "effect": "succeeded"}[word]


async def test_a_decision_with_a_newer_effect_allows_nothing(world: World) -> None:
    await world.executor()
    world.policy.effects["service_restart"] = OF_TOMORROW  # type: ignore[assignment]
    answer = await world.ask("service_restart", **RESTART)
    assert answer.error is not None
    assert "upgrade" in answer.error.message
    assert await world.records("writ.journal.op.*.*.dispatched.>") == []


async def test_a_notice_of_a_newer_kind_is_recorded_and_names_it(world: World) -> None:
    await world.executor()
    notice = json.encode({"kind": "policy_sang", "detail": "a song", "verses": 3})
    assert decode((await world.bus.request(NOTICE_POLICY, notice, timeout=5)).data, NoticeReply).error is None
    [event] = await world.events(SECURITY)
    assert isinstance(event, SecurityEvent)
    assert (event.kind, event.detail) == ("newer_kind", "policy_sang: a song")


async def test_a_heartbeat_with_a_newer_field_shows_that_its_agent_is_alive(world: World) -> None:
    one = await world.executor()
    beat = {"pool": "local", "instance": "newer", "running": [], "free_slots": 1, "operations": [], "version": "9"}
    await world.bus.publish(heartbeat(POOL), json.encode({**beat, "pool": POOL, "mood": "good"}))

    async def is_alive() -> bool:
        return "newer" in {agent.instance for agent in one.presence.all_agents()}

    await eventually(is_alive)
