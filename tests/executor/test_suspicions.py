"""Faults that a review suspected: a test for each shows whether it exists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, json, structs
from tests.contracts.messages import sample
from tests.executor.conftest import World

from writ_bus.errors import TimedOut
from writ_bus.port import Entry, Message, Usage
from writ_contracts.history.archives import ARCHIVE
from writ_contracts.journal import ControlEvent, Refused, Requested
from writ_contracts.requests import RequestReply
from writ_contracts.subjects import control_event, operation_event, request
from writ_contracts.wire import encode
from writ_executor.journal.index import Index
from writ_executor.service import Executor

ID = "a" * 26
RESTART = {"parameters": {"service_name": "nginx"}}


def archive_up_to(last: int) -> ControlEvent:
    body = {"generation": 1, "first": 1, "last": last, "events": last, "digest": "0" * 64, "control": "0" * 64}
    event = sample(ControlEvent)
    assert isinstance(event, ControlEvent)
    return structs.replace(event, kind=ARCHIVE, operation_id=ID, body=body)


async def announce_and_remove(world: World) -> None:
    """Archive all of the memory journal: announce it, then take the events out."""
    disk = world.broker.disk
    last, subject = len(disk.records), control_event(ARCHIVE)
    entry = Entry(subject=subject, data=encode(archive_up_to(last)), event_id="announced", filter=subject, expected=0)
    announced = await world.bus.journal.append(entry)
    for one in world.executors:
        assert await one.follower.reached(announced)
    disk.records[:last] = [structs.replace(record, subject="writ.removed") for record in disk.records[:last]]


async def ask_at(one: Executor, key: str) -> RequestReply:
    data = json.encode({"target": "web-1", "idempotency_key": key, **RESTART})
    return await one.intake.handle_request(Message(request("alice", "service_restart"), data))


async def test_key_of_a_refused_request_is_free_at_every_replica_after_an_archive(world: World) -> None:
    remembers, other = await world.executor(), await world.executor()
    world.policy.effects["service_restart"] = "deny"
    denied = await ask_at(remembers, "again")
    assert denied.outcome == "denied"
    await announce_and_remove(world)
    del world.policy.effects["service_restart"]
    restarted = await world.executor()
    answers = [await ask_at(one, "again") for one in (remembers, restarted, other)]
    assert [(one.outcome, one.error) for one in answers] == [(None, None)] * 3
    assert {one.operation_id for one in answers} == {denied.operation_id}
    assert (await world.kinds(denied.operation_id or "")).count("requested") == 1


async def test_a_late_answer_brings_no_refusal_back_that_an_archive_took(world: World) -> None:
    one = await world.executor()
    world.policy.effects["service_restart"] = "deny"
    denied = await ask_at(one, "again")
    late = await world.life(denied.operation_id or "")
    await announce_and_remove(world)
    one.index.put(late)
    assert one.index.get(denied.operation_id or "") is None


@given(st.lists(st.sampled_from([Refused, Requested]), min_size=1, max_size=6))
def test_replica_of_long_and_a_fresh_one_agree_on_a_key_used_again_after_archives(kinds: list[type[Struct]]) -> None:
    whole = Index()
    for sequence, kind in enumerate(kinds, 1):
        event = structs.replace(sample(kind), operation_id=ID, principal="alice")
        record = (2 * sequence, operation_event("alice", ID, str(kind.__struct_config__.tag)), encode(event))
        fresh = Index()
        for index in (whole, fresh):
            index.read(*record)
        assert whole.get(ID) == fresh.get(ID)
        if kind is Requested:
            return  # it holds every later archive until it ends
        whole.read(2 * sequence + 1, control_event(ARCHIVE), encode(archive_up_to(2 * sequence)))


async def test_a_journal_that_cannot_be_measured_holds_up_no_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world.executor(start_window=0.3)

    async def silent() -> Usage:
        raise TimedOut("no answer about the stream")

    monkeypatch.setattr(one.admission._bus.journal, "usage", silent)
    operation_id = (await world.ask("service_restart", **RESTART)).operation_id or ""
    assert await world.outcome(operation_id) == "expired"
