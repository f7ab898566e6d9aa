"""Security events are listed for those whom policy allows it, also events without an operation."""

from typing import Any

import msgspec
import pytest
from tests.audit.history import History
from tests.audit.replica import search, trace

from writ_contracts import journal, subjects
from writ_contracts.history.audit import SecurityFilter, TraceReply
from writ_contracts.history.records import Record
from writ_contracts.wire import encode
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import MemoryJournal


@pytest.fixture
async def stored(bus: MemoryBus) -> list[int]:
    """Two refusals of NATS about bot and mallory, between ordinary events and one of an operation; their sequences."""
    history = History(bus)
    operation = await history.carried_out("alice", "k")
    first = await refusal(history, "bot", at=1_000.0)
    second = await history.security(operation=operation, principal="alice")
    await history.carried_out("alice", "l")
    return [first, second, await refusal(history, "mallory", at=2_000.0)]


async def refusal(history: History, principal: str, at: float) -> int:
    stamp = {**history.stamp(""), "at": at}
    event = journal.SecurityEvent(**stamp, kind="permission_violation", detail="writ.request.x", principal=principal)
    return await history.raw(subjects.security_event(event.kind), encode(event), event.id)


async def listed(bus: MemoryBus, **fields: Any) -> TraceReply:
    return await trace(bus, "anna", security=SecurityFilter(**fields))


def sequences(answer: TraceReply) -> list[int]:
    assert answer.error is None, msgspec.to_builtins(answer.error)
    return [event.sequence for event in answer.events]


async def test_security_events_come_newest_first_with_their_content(bus: MemoryBus, stored: list[int]) -> None:
    answer = await listed(bus)
    assert (sequences(answer), answer.more) == (stored[::-1], False)
    body = answer.events[0].body
    assert (body["kind"], body["principal"], body["detail"]) == ("permission_violation", "mallory", "writ.request.x")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "permission_violation"}, [2, 0]),
        ({"principal": "bot"}, [0]),
        ({"kind": "forged_grant", "principal": "bot"}, []),
        ({"since": 1_500.0, "kind": "permission_violation"}, [2]),
    ],
)
async def test_filters_of_security_events_restrict(
    bus: MemoryBus, stored: list[int], fields: dict[str, Any], expected: list[int]
) -> None:
    assert sequences(await listed(bus, **fields)) == [stored[at] for at in expected]


async def test_security_events_are_paged_to_the_oldest(bus: MemoryBus, stored: list[int]) -> None:
    found: list[int] = []
    before = None
    while True:
        page = await listed(bus, limit=1, before=before)
        found += sequences(page)
        if not page.more:
            break
        before = found[-1]
    assert found == stored[::-1]


async def test_the_last_page_ends_where_older_events_are_archived(
    bus: MemoryBus, stored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = MemoryJournal.read

    async def left(journal: MemoryJournal, filter: str, **bounds: Any) -> list[Record]:
        return [record for record in await read(journal, filter, **bounds) if record.sequence > stored[1]]

    monkeypatch.setattr(MemoryJournal, "read", left)
    answer = await listed(bus, limit=2)
    assert (sequences(answer), answer.more) == ([stored[2]], False)


async def test_security_events_are_hidden_from_those_without_permission(
    bus: MemoryBus, scripted: ScriptedPolicy, stored: list[int]
) -> None:
    """Also those about the reader: a thief would learn that it is noticed."""
    assert len(sequences(await listed(bus))) == len(stored)
    scripted.effects["audit_read"] = "deny"
    for fields in ({}, {"principal": "anna"}):
        answer = await listed(bus, **fields)
        assert answer.error is not None
        assert (answer.error.code, answer.events) == ("denied", [])


async def test_reads_of_others_records_are_found_by_reader(bus: MemoryBus, stored: list[int]) -> None:
    for reader, fields in (("carol", {"principal": "alice"}), ("dora", {"targets": ["web-1"]})):
        await search(bus, reader, **fields)
    answer = await listed(bus, reads=True, principal="carol")
    [event] = answer.events
    assert (event.kind, event.body["principal"]) == ("record_read", "carol")
    assert event.body["query"] == {"query": "search", "principal": "alice"}
    *_, second, first = [event.body["principal"] for event in (await listed(bus, reads=True)).events]
    assert (first, second) == ("carol", "dora")
    assert {event.kind for event in (await listed(bus)).events} == {"security"}


async def test_who_reads_the_record_is_a_permission_of_its_own(bus: MemoryBus, scripted: ScriptedPolicy) -> None:
    """One for security events would widen without a word of the policy."""
    assert (await listed(bus, reads=True)).error is None
    [event] = (await listed(bus, reads=True)).events
    assert event.body["query"] == {"query": "reads"}
    scripted.effects["audit_read"] = "deny"
    refused = (await listed(bus, reads=True)).error
    assert refused is not None
    assert (refused.code, refused.message) == ("denied", "you may not read who read the record")


def test_reads_are_no_kind_of_security_events() -> None:
    with pytest.raises(ValueError, match="one of kind and reads"):
        SecurityFilter(kind="forged_grant", reads=True)
