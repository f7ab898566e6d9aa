"""Traces are complete at once after the end, include related security events, and open only to permitted readers."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.audit.history import History
from tests.audit.replica import ask, kinds, policy, replica, trace

from writ_audit import reading
from writ_bus.port import Message, Usage
from writ_client.queries.operation_queries import Queries
from writ_contracts import subjects
from writ_contracts.history.audit import SearchReply, TraceReply
from writ_contracts.history.records import Record
from writ_contracts.ids import operation_id
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus

WHOLE = ["requested", "dispatched", "granted", "finished"]


@pytest.fixture
def scripted() -> ScriptedPolicy:
    return policy("deny")


@pytest.fixture
def history(bus: MemoryBus) -> History:
    return History(bus)


async def test_an_operation_traced_right_after_its_end_is_whole(bus: MemoryBus, history: History) -> None:
    for number in range(20):
        operation = await history.carried_out("alice", f"k{number}")
        answer = await trace(bus, "alice", operation_id=operation)
        assert kinds(answer) == WHOLE
        assert answer.events[-1].body["output"] == {"ok": True}
        assert answer.as_of >= answer.events[-1].sequence


async def test_a_security_event_shows_in_the_trace_of_its_operation(bus: MemoryBus, history: History) -> None:
    operation = await history.carried_out("alice", "k")
    await history.security(operation=operation)
    assert kinds(await trace(bus, "alice", operation_id=operation)) == [*WHOLE, "security"]


async def test_a_security_event_without_operation_is_linked_by_correlation(bus: MemoryBus, history: History) -> None:
    operation = await history.carried_out("alice", "k", correlation="c-1")
    await history.security(correlation="c-1")
    await history.security(correlation="c-2")
    assert kinds(await trace(bus, "alice", operation_id=operation)) == [*WHOLE, "security"]
    assert kinds(await trace(bus, "alice", correlation_id="c-1")) == [*WHOLE, "security"]


async def test_a_correlation_id_ties_operations_together(bus: MemoryBus, history: History) -> None:
    await history.carried_out("alice", "one", correlation="c-1")
    await history.refused("alice", "two", correlation="c-1")
    answer = await trace(bus, "alice", correlation_id="c-1")
    assert kinds(answer) == [*WHOLE, "refused"]
    assert [event.sequence for event in answer.events] == [1, 2, 3, 4, 5]


async def test_a_human_reads_what_their_agent_did(bus: MemoryBus, history: History) -> None:
    operation = await history.requested("copilot", "k", acts_for="alice", correlation="c-1")
    assert kinds(await trace(bus, "alice", operation_id=operation)) == ["requested"]
    assert kinds(await trace(bus, "alice", correlation_id="c-1")) == ["requested"]
    assert kinds(await trace(bus, "copilot", operation_id=operation)) == ["requested"]


async def test_foreign_operation_looks_like_an_unknown_one(bus: MemoryBus, history: History) -> None:
    operation = await history.carried_out("alice", "k")
    others = await trace(bus, "bob", operation_id=operation)
    nobodys = await trace(bus, "bob", operation_id=operation_id("alice", "never"))
    assert others.error is not None
    assert others.error == nobodys.error
    assert others.error.code == "not_found"
    assert others.events == []


async def test_policy_may_let_others_read(bus: MemoryBus, history: History, tmp_path: Path) -> None:
    other = MemoryBus()
    scripted = policy("allow")
    await scripted.serve(other)
    async with replica(other, tmp_path / "other", scripted.key.public):
        operation = await History(other).carried_out("alice", "k")
        assert kinds(await trace(other, "bob", operation_id=operation)) == WHOLE
    requested = scripted.decides[0].subject
    assert (requested.operation, requested.target, requested.principal, requested.owner) == (
        "audit_read",
        "writ",
        "bob",
        "alice",
    )
    assert requested.parameters == {"query": "trace", "operation_id": operation}


async def test_a_decision_that_policy_did_not_sign_opens_nothing(tmp_path: Path) -> None:
    bus = MemoryBus()
    await policy("allow").serve(bus)
    async with replica(bus, tmp_path, policy().key.public):
        operation = await History(bus).carried_out("alice", "k")
        answer = await trace(bus, "bob", operation_id=operation)
    assert answer.error is not None
    assert answer.error.code == "bad_signature"
    assert answer.events == []


async def test_events_of_others_under_a_shared_correlation_id_are_withheld(bus: MemoryBus, history: History) -> None:
    await history.refused("alice", "one", correlation="c-1")
    await history.refused("bob", "two", correlation="c-1")
    answer = await trace(bus, "bob", correlation_id="c-1")
    assert [event.body["principal"] for event in answer.events] == ["bob"]
    assert answer.withheld == 1


async def test_a_long_trace_comes_in_pages(bus: MemoryBus, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 100)
    for number in range(130):
        await history.refused("alice", f"k{number}", correlation="c-1")
    first = await trace(bus, "alice", correlation_id="c-1")
    assert first.more
    rest = await trace(bus, "alice", correlation_id="c-1", after=first.events[-1].sequence)
    assert not rest.more
    assert [event.sequence for event in [*first.events, *rest.events]] == list(range(1, 131))


@pytest.mark.parametrize("foreign", [3, 10, 24], ids=lambda number: f"{number}-between")
async def test_events_of_others_hide_none_of_ones_own_however_many_they_are(
    bus: MemoryBus, history: History, monkeypatch: pytest.MonkeyPatch, foreign: int
) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 10)
    own = []
    for round_ in range(3):
        for number in range(foreign):
            await history.refused("mallory", f"m{round_}-{number}", correlation="c-1")
        own.append(await history.refused("alice", f"k{round_}", correlation="c-1"))
    found = await Queries(bus, "alice").trace(correlation_id="c-1")
    assert [event.body["operation_id"] for event in found.events] == own
    assert (found.withheld, found.more) == (3 * foreign, False)


async def test_a_trace_ends_where_only_events_of_others_follow(
    bus: MemoryBus, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 10)
    own = await history.refused("alice", "k", correlation="c-1")
    for number in range(25):
        await history.refused("mallory", f"m{number}", correlation="c-1")
    found = await Queries(bus, "alice").trace(correlation_id="c-1")
    assert [event.body["operation_id"] for event in found.events] == [own]
    assert (found.withheld, found.more) == (25, False)
    for correlation, after in (("c-1", 0), ("c-1", 1), ("absent", 1)):
        answer = await trace(bus, "bob", correlation_id=correlation, after=after)
        assert answer.error is not None
        assert answer.error.code == "not_found"


async def test_archived_events_hide_none_that_the_journal_has(
    bus: MemoryBus, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 10)
    for number in range(25):
        await history.refused("alice", f"k{number}", correlation="c-1")
    await trace(bus, "alice", correlation_id="c-1")  # all of them are in the index
    usage, read = await bus.journal.usage(), bus.journal.read

    async def shortened() -> Usage:
        return structs.replace(usage, first_sequence=24)

    async def rest(filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        return await read(filter, after=max(after, 23), limit=limit, at_least=at_least)

    monkeypatch.setattr(bus.journal, "usage", shortened)
    monkeypatch.setattr(bus.journal, "read", rest)
    found = await Queries(bus, "alice").trace(correlation_id="c-1")
    assert ([event.sequence for event in found.events], found.withheld, found.more) == ([24, 25], 0, False)


async def test_events_of_others_hide_no_security_event_between_them(
    bus: MemoryBus, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 10)
    await history.refused("alice", "k", correlation="c-1")
    for number in range(25):
        await history.refused("mallory", f"m{number}", correlation="c-1")
    await history.security(correlation="c-1")
    found = await Queries(bus, "alice").trace(correlation_id="c-1")
    assert ([event.kind for event in found.events], found.withheld) == (["refused", "security"], 25)


async def test_a_record_that_cannot_be_read_is_shown_as_such(bus: MemoryBus, history: History) -> None:
    operation = await history.requested("alice", "k")
    await history.raw(f"writ.journal.op.alice.{operation}.mangled", b"\xff\x00{", "m")
    assert kinds(await trace(bus, "alice", operation_id=operation)) == ["requested", "unreadable"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"operation_id":"x"}', b'{"correlation_id":"c","more":1}', b"[" * 10_000],
)
async def test_a_malformed_query_gets_one_clear_answer(bus: MemoryBus, data: bytes) -> None:
    answer = await ask(bus, "alice", "trace", data, TraceReply)
    assert answer.error is not None
    assert answer.error.code == "invalid"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"limit":0}', b'{"limit":true}', b'{"who":"alice"}'])
async def test_a_malformed_search_gets_one_clear_answer(bus: MemoryBus, data: bytes) -> None:
    answer = await ask(bus, "alice", "search", data, SearchReply)
    assert answer.error is not None
    assert answer.error.code == "invalid"


async def test_a_query_that_is_too_large_is_refused(bus: MemoryBus) -> None:
    answer = await ask(bus, "alice", "trace", b" " * 100_000, TraceReply)
    assert answer.error is not None
    assert answer.error.code == "oversize"


async def test_refused_read_of_the_record_is_reported_to_executors(bus: MemoryBus, history: History) -> None:
    heard: list[Notice] = []

    async def record(message: Message) -> None:
        heard.append(decode(message.data, Notice))
        await bus.publish(message.reply, encode(NoticeReply(sequence=1)))

    await bus.subscribe(subjects.NOTICE_AUDIT, record)
    operation = await history.carried_out("alice", "k")
    answer = await trace(bus, "bob", operation_id=operation)
    assert answer.error is not None

    async def has_heard() -> bool:
        return bool(heard)

    await eventually(has_heard)
    assert [(one.kind, one.principal) for one in heard] == [("read_refused", "bob")]
    assert operation in heard[0].detail
