"""An event of a kind that only a newer version knows is carried: the operation goes on, and so do those behind it."""

import pytest
from msgspec import json
from tests.executor.conftest import World

from writ_audit.projection import project
from writ_bus.port import Entry
from writ_contracts.errors import Invalid
from writ_contracts.journal import Carried
from writ_contracts.subjects import operation_filter
from writ_contracts.wire import event_of

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


async def asked(world: World) -> str:
    return (await world.ask("service_restart", **RESTART)).operation_id or ""


@pytest.mark.parametrize("started", [False, True])
async def test_an_operation_with_an_event_of_a_newer_version_goes_on(world: World, started: bool) -> None:
    one = await world.executor()
    first, second = await asked(world), await asked(world)
    work = await world.work(first)
    held = await world.hands.claim(work) if started else None
    sequence = await annotate(world, first)
    assert await one.follower.reached(sequence)
    held = held or await world.hands.claim(work)
    await world.hands.finish(work, held)
    assert await world.outcome(first) == "succeeded"
    await world.work(second)  # it had to wait for the first
    assert one.follower.damaged == 0


async def test_a_replica_that_starts_after_it_reads_the_same_life(world: World) -> None:
    await world.executor()
    operation_id = await asked(world)
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
