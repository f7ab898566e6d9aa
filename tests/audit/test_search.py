"""Searches: every filter, newest first, in pages, and never more than the reader may see."""

import asyncio
from pathlib import Path

import pytest
from tests.audit.history import History
from tests.audit.replica import ask, replica, search, trace
from tests.contracts.messages import sample

from writ_audit import index, reading
from writ_audit.index_follower import IndexFollower
from writ_bus.port import Bus
from writ_contracts.history.audit import SearchReply, SecurityFilter
from writ_contracts.ids import operation_id
from writ_contracts.journal import ApprovalGiven, Approved, Archived, RecordRead, Rejected
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.requests import ClientInfo
from writ_contracts.wire import decode_event, encode
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus


@pytest.fixture
async def recorded(bus: MemoryBus) -> History:
    history = History(bus)
    await history.carried_out("alice", "a1")
    await history.refused("alice", "a2")
    await history.carried_out("bob", "b1", correlation="c-1")
    await history.requested("copilot", "x1", acts_for="alice", target="web-9")
    return history


async def found(bus: Bus, reader: str, /, **fields: object) -> list[tuple[str, str, str | None]]:
    answer = await search(bus, reader, **fields)
    assert answer.error is None
    return [(row.principal, row.operation, row.outcome) for row in answer.rows]


A1 = ("alice", "service_restart", "succeeded")
A2 = ("alice", "file_delete", "denied")
B1 = ("bob", "service_restart", "succeeded")
X1 = ("copilot", "service_restart", None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [X1, B1, A2, A1]),
        ({"principal": "alice"}, [A2, A1]),
        ({"target": "web-9"}, [X1]),
        ({"operation": "service_restart"}, [X1, B1, A1]),
        ({"outcome": "denied"}, [A2]),
        ({"outcome": "succeeded", "principal": "bob"}, [B1]),
        ({"correlation_id": "c-1"}, [B1]),
        ({"since": 1_005.0}, [X1, B1]),
        ({"until": 1_004.0}, [A1]),
        ({"principal": "nobody"}, []),
        ({"principals": ["alice", "bob"]}, [B1, A2, A1]),
        ({"outcome": "failed", "outcomes": ["denied"]}, [A2]),
        ({"targets": ["web-9", "web-2"], "operations": ["service_restart", "file_delete"]}, [X1, A2]),
        ({"parameters": {"service_name": "nginx"}}, [X1, B1, A1]),
        ({"parameters": {"service_name": "nginx", "timeout": "60"}, "principal": "bob"}, [B1]),
        ({"parameters": {"service_name": "ngin"}}, []),
        ({"rule": "ops"}, [X1, B1, A1]),
        ({"text": "NGINX"}, [X1, B1, A1]),
        ({"text": "no_rule"}, [A2]),
        ({"reason": "because"}, []),
        ({"since": 1_005.0, "until": 9_999.0}, [X1, B1]),
    ],
)
async def test_each_filter_narrows(
    bus: MemoryBus, recorded: History, fields: dict[str, object], expected: list[tuple[str, str, str | None]]
) -> None:
    assert await found(bus, "carol", **fields) == expected


async def test_search_by_approver_finds_what_a_person_approved_or_rejected(bus: MemoryBus) -> None:
    history, signed = History(bus), sample(SignedApproval)
    assert isinstance(signed, SignedApproval)
    for key in ("approved", "rejected", "other"):
        number = await history.requested("alice", key, target=key)
        common = {**history.stamp("c"), "operation_id": number}
        match key:
            case "approved":
                given = ApprovalGiven(**common, approver="bob", approval=signed, remaining=1)
                await history.append("alice", number, given)
                done = Approved(**history.stamp("c"), operation_id=number, approver="dora", approvals=[signed, signed])
                await history.append("alice", number, done)
            case "rejected":
                await history.append("alice", number, Rejected(**common, approver="bob", approval=signed))
            case _:
                await history.append("alice", number, Approved(**common, approver="dora", approvals=[signed]))

    async def targets(reader: str, **fields: object) -> list[str]:
        return [row.target for row in (await search(bus, reader, **fields)).rows]

    assert await targets("carol", approvers=["bob"]) == ["rejected", "approved"]
    assert await targets("carol", approvers=["dora"]) == ["other", "approved"]
    assert await targets("carol", approvers=["bob", "dora"], outcome="rejected") == ["rejected"]
    assert await targets("alice", approvers=["bob"], targets=["approved"]) == ["approved"]
    (unknown,) = (await search(bus, "carol", approvers=["dorra"])).unknown
    assert (unknown.filter, unknown.nearest) == ("approver", ["dora"])


@pytest.mark.parametrize(
    "fields", [{"target": "' OR 1=1 --"}, {"principal": "*"}, {"outcome": "done"}, {"operation": "a.b"}]
)
async def test_search_that_can_never_match_is_invalid(bus: MemoryBus, fields: dict[str, str]) -> None:
    answer = await ask(bus, "alice", "search", encode(fields), SearchReply)
    assert answer.error is not None
    assert answer.error.code == "invalid"


async def test_search_row_shows_the_state_of_the_operation(bus: MemoryBus, recorded: History) -> None:
    row = (await search(bus, "alice", principal="alice", outcome="denied")).rows[0]
    assert (row.state, row.code, row.target) == ("ended", "no_rule", "web-2")
    assert (row.first_sequence, row.requested_at, row.updated_at) == (5, 1_004.0, 1_004.0)


async def test_search_row_says_that_it_was_a_dry_run(bus: MemoryBus, recorded: History) -> None:
    number = await recorded.requested("alice", "a3", dry_run=True)
    rows = (await search(bus, "alice", principal="alice")).rows
    assert {row.operation_id for row in rows if row.dry_run} == {number}


async def test_security_events_are_counted(bus: MemoryBus, recorded: History) -> None:
    row = (await search(bus, "alice", principal="bob")).rows[0]
    await recorded.security(operation=row.operation_id)
    await recorded.security(correlation="c-1")
    await recorded.security(correlation="c-2")
    assert (await search(bus, "alice", principal="bob")).rows[0].security_events == 2


async def test_pages_hold_everything_once(bus: MemoryBus, recorded: History) -> None:
    rows, before = [], None
    while True:
        answer = await search(bus, "carol", limit=1, before=before)
        rows += answer.rows
        if not answer.more:
            break
        before = rows[-1].first_sequence
    assert [row.principal for row in rows] == ["copilot", "bob", "alice", "alice"]


async def test_without_permission_one_sees_ones_own_and_ones_agents(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    scripted.effects["audit_read"] = "deny"
    assert await found(bus, "alice") == [X1, A2, A1]
    assert await found(bus, "alice", principal="copilot") == [X1]
    assert await found(bus, "bob") == [B1]
    refused = await search(bus, "bob", principal="alice")
    assert refused.error is not None
    assert refused.error.code == "denied"
    assert refused.rows == []


async def test_the_beginning_of_an_id_finds_what_one_may_read(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    whole = operation_id("bob", "b1")
    assert await found(bus, "bob", operation_prefix=whole[:6]) == [B1]
    assert await found(bus, "alice", operation_prefix=whole) == [B1]
    assert await found(bus, "bob", operation_prefix="a" * 26) == []
    whole_correlation = (await search(bus, "alice", operation_prefix=whole)).rows[0].correlation_id
    assert B1 in await found(bus, "alice", correlation_prefix=whole_correlation[:4])
    assert await found(bus, "alice", correlation_prefix=f"{whole_correlation}x") == []
    scripted.effects["audit_read"] = "deny"
    assert await found(bus, "alice", operation_prefix=whole[:6]) == []
    assert B1 not in await found(bus, "alice", correlation_prefix=whole_correlation[:4])


async def test_own_records_need_no_decision_of_policy(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    scripted.effects["audit_read"] = "deny"
    assert await found(bus, "bob", principal="bob") == [B1]
    assert scripted.decides == []


async def test_search_names_a_misspelt_name_with_the_nearest(bus: MemoryBus, recorded: History) -> None:
    answer = await search(bus, "carol", principal="alcie", operation="service_restrat", rule="opps")
    assert [(one.filter, one.name, one.nearest) for one in answer.unknown] == [
        ("principal", "alcie", ["alice"]),
        ("operation", "service_restrat", ["service_restart"]),
        ("rule", "opps", ["ops"]),
    ]
    assert (await search(bus, "carol", principal="alice", outcome="failed")).unknown == []


async def _from_program(history: History, principal: str, key: str) -> None:
    await history.requested(principal, key, client=ClientInfo(name="deployer", version="1", session=f"run-{principal}"))


async def test_search_names_an_unknown_program_and_session(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    for principal in ("alice", "bob"):
        await _from_program(recorded, principal, f"{principal}-p")
    answer = await search(bus, "carol", client="deplyer", session="run-alicee")
    assert [(one.filter, one.name, one.nearest) for one in answer.unknown] == [
        ("client", "deplyer", ["deployer"]),
        ("session", "run-alicee", ["run-alice"]),
    ]
    assert (await search(bus, "carol", client="deployer", session="run-bob", outcome="denied")).unknown == []
    scripted.effects["audit_read"] = "deny"
    (unknown,) = (await search(bus, "bob", session="run-alice")).unknown
    assert "run-alice" not in unknown.nearest, "the session of another principal"


async def test_no_recorded_name_is_unknown_where_there_are_more_than_are_read(
    bus: MemoryBus, recorded: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _from_program(recorded, "bob", "b-p")
    monkeypatch.setattr(reading, "MOST_NAMES", 1)
    monkeypatch.setattr(index, "MOST_NAMES", 1)
    for fields in ({"principal": "alice"}, {"principal": "bob"}, {"rule": "ops"}, {"session": "run-bob"}):
        assert (await search(bus, "carol", outcome="unknown", **fields)).unknown == [], fields
    assert [one.name for one in (await search(bus, "carol", session="run-x")).unknown] == ["run-x"]


async def test_suggestions_name_nothing_that_is_not_ones_own(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    scripted.effects["audit_read"] = "deny"
    assert (await search(bus, "bob", target="web-8")).unknown[0].nearest == ["web-1"]
    assert (await search(bus, "bob", rule="opps")).unknown == []


async def test_allowed_reads_of_others_records_are_recorded_once_a_minute(bus: MemoryBus, recorded: History) -> None:
    for _ in range(3):
        await search(bus, "carol", principal="alice")
    await search(bus, "alice", principal="alice")
    await search(bus, "alice")
    records = await bus.journal.read("writ.journal.read.>")
    events = [decode_event(record.data) for record in records]
    assert [(one.principal, one.query) for one in events if isinstance(one, RecordRead)] == [
        ("carol", {"query": "search", "principal": "alice"}),
        ("alice", {"query": "search"}),
    ]


async def test_a_search_by_time_finds_archived_operations_too(bus: MemoryBus, recorded: History) -> None:
    """Their `archived` event stands far behind their time."""
    history = History(bus)
    for _ in range(5):
        history.stamp("c")
    operation = operation_id("dora", "old")
    event = Archived(
        **{**history.stamp("c"), "at": 90_000.0},
        operation_id=operation,
        principal="dora",
        operation="service_stop",
        target="web-1",
        requested_at=500.0,
        outcome="succeeded",
        fingerprint="",
        generation=1,
    )
    await history.append("dora", operation, event)
    assert await found(bus, "carol", until=600.0) == [("dora", "service_stop", "succeeded")]
    assert await found(bus, "carol", since=400.0, until=600.0) == [("dora", "service_stop", "succeeded")]
    assert len(await found(bus, "carol", since=400.0)) == 5


async def test_replies_of_an_index_that_is_being_built_count_the_events_it_lacks(
    tmp_path: Path, scripted: ScriptedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, follow = asyncio.Event(), IndexFollower._follow

    async def later(follower: IndexFollower) -> None:
        await begin.wait()
        await follow(follower)

    monkeypatch.setattr(IndexFollower, "_follow", later)
    bus = MemoryBus()
    await scripted.serve(bus)
    await History(bus).carried_out("alice", "a1")
    events = len(await bus.journal.read("writ.journal.>"))
    async with replica(bus, tmp_path, scripted.key.public):
        with monkeypatch.context() as patch:
            patch.setattr(reading, "CATCH_UP", 0.01)
            early = await search(bus, "carol")
            security = await trace(bus, "carol", security=SecurityFilter())
        begin.set()
        whole = await search(bus, "carol")
    await bus.close()
    assert (early.rows, early.behind) == ([], events)
    assert (security.events, security.behind >= events) == ([], True)
    assert (len(whole.rows), whole.behind) == (1, 0)
