"""Searches by values that the journal has as search digests alone."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from tests.audit.history import History
from tests.audit.replica import replica, search, trace

from writ_audit import hidden_values
from writ_bus.errors import Forbidden
from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.history.audit import HiddenValues
from writ_contracts.history.search_digests import SearchDigestsReply
from writ_contracts.journal import RecordRead
from writ_contracts.operations import Catalogue
from writ_contracts.wire import decode_event, encode
from writ_executor.journal.search_digests import hidden_digests
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.requests import sought_values
from writ_executor.requests.sought_values import SoughtValuesEndpoint
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus
from writ_trust.parameter_keys import ParameterKeys


@pytest.fixture
async def recorded(bus: MemoryBus) -> History:
    """Return three requests with nginx in clear, and one without it."""
    history = History(bus)
    await history.carried_out("alice", "a1")
    await history.refused("alice", "a2")
    await history.carried_out("bob", "b1")
    await history.requested("copilot", "x1", acts_for="alice")
    return history


def served_keys(*keys: bytes) -> SharedKeys:
    return SharedKeys(ParameterKeys(used=keys))


async def serve_executor(bus: MemoryBus, shared: SharedKeys) -> None:
    """Serve search digests as an executor with these keys does."""
    endpoint = SoughtValuesEndpoint(Catalogue(BUILT_IN), shared.search_keys)
    handler = endpoint_handler("search_digests", endpoint.digests, SearchDigestsReply, lambda _: None, Log("test"))
    serving = Endpoint(name="search_digests", subject=subjects.SEARCH_DIGESTS, handler=handler)
    await bus.serve(Service(name="executor", version="1", description="", endpoints=[serving]))


async def hidden_request(history: History, principal: str, key: str, shared: SharedKeys, name: str = "nginx") -> str:
    """Record a request whose service's name the event does not have."""
    keys = shared.new(key)
    definition = Catalogue(BUILT_IN).find("service_status")
    return await history.requested(
        principal,
        key,
        operation="service_status",
        parameters={},
        effective={},
        hidden=["service_name"],
        parameter_key=keys.key_id,
        search_digests=hidden_digests(keys, definition, {}, {"service_name": name}),
    )


async def test_value_is_found_in_clear_and_hidden_under_former_keys_too(bus: MemoryBus, recorded: History) -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    await hidden_request(recorded, "dora", "d1", served_keys(old))
    await hidden_request(recorded, "emil", "e1", served_keys(new))
    await hidden_request(recorded, "emil", "e2", served_keys(new), name="sshd")
    await serve_executor(bus, served_keys(new, old))
    answer = await search(bus, "carol", parameters={"service_name": "nginx"})
    assert answer.error is None
    assert [row.principal for row in answer.rows] == ["emil", "dora", "copilot", "bob", "alice"]
    assert answer.hidden == HiddenValues()
    names = {"service_name": ["nginx", "sshd"]}
    assert len((await search(bus, "carol", parameter_values=names)).rows) == 6
    assert len((await search(bus, "carol", parameter_values=names, operations=["service_status"])).rows) == 3
    both = await search(bus, "carol", parameters={"service_name": "sshd"}, parameter_values=names)
    assert [row.principal for row in both.rows] == ["emil"]
    page = await search(bus, "carol", parameters={"service_name": "nginx"}, limit=3)
    assert (page.rows, page.more) == (answer.rows[:3], True)
    last = page.rows[-1].first_sequence
    assert (await search(bus, "carol", parameters={"service_name": "nginx"}, before=last)).rows == answer.rows[3:]


async def test_own_hidden_values_are_found_without_permission(
    bus: MemoryBus, recorded: History, scripted: ScriptedPolicy
) -> None:
    scripted.effects["audit_read"] = "deny"
    shared = served_keys(secrets.token_bytes(32))
    await hidden_request(recorded, "dora", "d1", shared)
    await hidden_request(recorded, "emil", "e1", shared)
    await serve_executor(bus, shared)
    rows = (await search(bus, "dora", parameters={"service_name": "nginx"})).rows
    assert [(row.principal, row.operation) for row in rows] == [("dora", "service_status")]


async def test_trace_shows_no_search_digests(bus: MemoryBus, recorded: History) -> None:
    """With them a reader of others' traces would confirm guesses by requests of its own."""
    shared = served_keys(secrets.token_bytes(32))
    operation = await hidden_request(recorded, "dora", "d1", shared)
    (record,) = await bus.journal.read(subjects.any_operation_filter(operation))
    assert b"search_digests" in record.data
    (event,) = (await trace(bus, "carol", operation_id=operation)).events
    assert event.body["hidden"] == ["service_name"]
    assert "search_digests" not in event.body


async def test_search_without_a_result_says_since_when_hidden_values_are_found(
    bus: MemoryBus, recorded: History
) -> None:
    shared = served_keys(secrets.token_bytes(32))
    await serve_executor(bus, shared)
    nothing = {"parameters": {"service_name": "no-such"}}
    assert (await search(bus, "carol", **nothing)).hidden == HiddenValues()
    await hidden_request(recorded, "dora", "d1", served_keys(secrets.token_bytes(32)))  # a key that is gone
    assert (await search(bus, "carol", **nothing)).hidden == HiddenValues()
    operation = await hidden_request(recorded, "dora", "d2", shared)
    await hidden_request(recorded, "dora", "d3", shared)
    first = next(row for row in (await search(bus, "dora")).rows if row.operation_id == operation)
    assert (await search(bus, "carol", **nothing)).hidden == HiddenValues(since=first.requested_at)
    assert (await search(bus, "carol")).hidden is None


async def test_search_without_an_executor_finds_values_in_clear_and_says_so(bus: MemoryBus, recorded: History) -> None:
    answer = await search(bus, "carol", parameters={"service_name": "nginx"})
    assert [row.principal for row in answer.rows] == ["copilot", "bob", "alice"]
    assert answer.hidden == HiddenValues(problem="no executor replied (unavailable)")


async def test_search_by_a_secret_parameter_is_refused(bus: MemoryBus, recorded: History) -> None:
    await serve_executor(bus, served_keys(secrets.token_bytes(32)))
    answer = await search(bus, "carol", parameters={"content": "4711"})
    assert answer.error is not None
    assert (answer.error.code, answer.rows) == ("invalid", [])
    assert answer.error.message == "values of content cannot be searched: a search would confirm guesses of a secret"


async def test_too_many_guesses_find_no_hidden_values(
    bus: MemoryBus, recorded: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sought_values, "BURST", 1.0)
    shared = served_keys(secrets.token_bytes(32))
    await hidden_request(recorded, "dora", "d1", shared)
    await serve_executor(bus, shared)
    first, second = [await search(bus, "carol", parameters={"service_name": "nginx"}) for _ in range(2)]
    assert [row.principal for row in first.rows] == ["dora", "copilot", "bob", "alice"]
    assert [row.principal for row in second.rows] == ["copilot", "bob", "alice"]
    assert second.hidden is not None
    assert "retry later (rate_limited)" in second.hidden.problem


async def test_forbidden_request_for_digests_is_not_repeated(
    bus: MemoryBus, recorded: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an earlier release's configuration. Each attempt is a violation of permissions, which raises an alarm."""
    attempts, request = list[str](), MemoryBus.request

    async def refusing(self: MemoryBus, subject: str, data: bytes, **options: Any) -> Message:
        if subject == subjects.SEARCH_DIGESTS:
            attempts.append(subject)
            raise Forbidden(subject)
        return await request(self, subject, data, **options)

    monkeypatch.setattr(MemoryBus, "request", refusing)
    for _ in range(2):
        answer = await search(bus, "carol", parameters={"service_name": "nginx"})
        assert len(answer.rows) == 3
        assert answer.hidden == HiddenValues(problem=hidden_values.FORBIDDEN)
    assert len(attempts) == 1


@pytest.mark.parametrize("reply", [b"{", encode(SearchDigestsReply(digests=[], keys=["k"]))])
async def test_unusable_reply_of_an_executor_is_no_mistake_of_the_search(
    bus: MemoryBus, recorded: History, reply: bytes
) -> None:
    async def broken(_: Message) -> bytes:
        return reply

    serving = Endpoint(name="search_digests", subject=subjects.SEARCH_DIGESTS, handler=broken)
    await bus.serve(Service(name="executor", version="1", description="", endpoints=[serving]))
    answer = await search(bus, "carol", parameters={"service_name": "nginx"})
    assert len(answer.rows) == 3
    assert answer.hidden == HiddenValues(problem=hidden_values.UNREADABLE)


async def test_recorded_search_names_the_parameter_and_no_value(bus: MemoryBus, recorded: History) -> None:
    await serve_executor(bus, served_keys(secrets.token_bytes(32)))
    await search(bus, "carol", parameters={"service_name": "sought-in-vain"}, parameter_values={"mode": ["0640"]})
    (record,) = await bus.journal.read("writ.journal.read.>")
    event = decode_event(record.data)
    assert isinstance(event, RecordRead)
    assert (event.query, event.sought) == ({"query": "search"}, ["mode", "service_name"])
    assert b"sought-in-vain" not in b"".join(one.data for one in await bus.journal.read("writ.journal.>"))


async def test_hidden_values_are_found_in_a_rebuilt_index(
    bus: MemoryBus, recorded: History, tmp_path: Path, scripted: ScriptedPolicy
) -> None:
    shared = served_keys(secrets.token_bytes(32))
    await hidden_request(recorded, "dora", "d1", shared)
    await serve_executor(bus, shared)
    async with replica(MemoryBus(bus.broker), tmp_path / "another", scripted.key.public) as audit:
        await audit._follower.current(10.0)
        answer = await search(bus, "carol", parameters={"service_name": "nginx"}, operations=["service_status"])
    assert [row.principal for row in answer.rows] == ["dora"]
