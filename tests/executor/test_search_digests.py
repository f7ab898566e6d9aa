"""Search digests of values that an event does not have in clear, and of none that is secret."""

import secrets
from typing import Any

import pytest
from tests.executor.conftest import World

from writ_bus.errors import BusError
from writ_contracts import parameters as params
from writ_contracts import subjects
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.history.search_digests import (
    LONGEST_TERM,
    MOST_DIGESTS,
    SearchDigestsReply,
    SearchDigestsRequest,
    SoughtValue,
)
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import Class
from writ_contracts.wire import decode, encode
from writ_executor.journal.search_digests import hidden_digests
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.requests import sought_values
from writ_trust.parameter_keys import ParameterKeys

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
CATALOGUE = Catalogue(BUILT_IN)
KEYS = SharedKeys(ParameterKeys(used=(NEW,))).new("a" * 26)
WRITE = {"file_path": "/srv/app/a", "content": "pin 4711", "if_digest": "0" * 64, "mode": "0640", "timeout": 5}


async def sought(world: World, name: str, value: str, *operations: str, principal: str = "alice") -> SearchDigestsReply:
    """Return the executor's reply to audit."""
    values = [SoughtValue(name=name, value=value)]
    request = SearchDigestsRequest(principal=principal, values=values, operations=list(operations))
    message = await world.bus.request(subjects.SEARCH_DIGESTS, encode(request), timeout=5)
    return decode(message.data, SearchDigestsReply)


async def digests_of(world: World, operation: str, **parameters: Any) -> list[str]:
    """Return the digests in the first event of such a request."""
    answer = await world.ask(operation, parameters=parameters)
    first, *_ = await world.events(subjects.any_operation_filter(answer.operation_id or ""))
    return list(getattr(first, "search_digests"))  # noqa: B009 - of two kinds of events


async def test_request_at_level_minimal_is_found_by_its_value_and_by_no_other(world: World) -> None:
    await world.executor(audit_level="minimal")
    (digest,) = await digests_of(world, "service_status", service_name="nginx")
    assert (await sought(world, "service_name", "nginx")).digests == [[digest]]
    assert (await sought(world, "service_name", "ngin")).digests != [[digest]]
    assert (await sought(world, "name", "nginx")).digests != [[digest]]
    assert await digests_of(world, "service_status", service_name="nginx") == [digest]


async def test_refused_request_has_digests_of_what_its_event_does_not_have(world: World) -> None:
    await world.executor(audit_level="minimal")
    world.policy.effects["service_stop"] = "deny"
    assert (
        await digests_of(world, "service_stop", service_name="nginx")
        == (await sought(world, "service_name", "nginx")).digests.pop()
    )


@pytest.mark.parametrize("level", ["standard", "full"])
async def test_recorded_values_have_no_digests(world: World, level: str) -> None:
    await world.executor(audit_level=level)
    assert await digests_of(world, "service_status", service_name="nginx") == []
    assert await digests_of(world, "file_write", **WRITE) == []


async def test_defaults_of_rules_have_digests_too(world: World) -> None:
    await world.executor(audit_level="minimal")
    found = await digests_of(world, "file_read", file_path="/srv/app/a")
    assert (await sought(world, "encoding", "utf-8")).digests[0][0] in found


def test_no_secret_and_no_digest_of_contents_has_a_search_digest() -> None:
    """The catalogue's secret parameters, and a digest of contents, by which a guess of the contents is confirmed."""
    definition = CATALOGUE.find("file_write")
    path_and_mode = {name: WRITE[name] for name in ("file_path", "mode")}
    assert hidden_digests(KEYS, definition, {}, WRITE) == hidden_digests(KEYS, definition, {}, path_and_mode)
    assert len(hidden_digests(KEYS, definition, {}, WRITE)) == 2
    for operation in CATALOGUE.values():
        secret = {name for name, kind in params.classes(operation.parameters).items() if kind is Class.SECRET}
        assert not secret & params.searchable(operation.parameters), operation.name
        assert hidden_digests(KEYS, operation, {}, dict.fromkeys(secret, "x")) == []


def test_lists_have_a_digest_for_each_item_within_bounds() -> None:
    definition = CATALOGUE.find("service_status")
    many = hidden_digests(KEYS, definition, {}, {"service_name": [f"unit-{number}" for number in range(99)]})
    assert len(many) == len(set(many)) == MOST_DIGESTS
    assert {len(digest) for digest in many} == {22}
    twice = hidden_digests(KEYS, definition, {}, {"service_name": ["a", "a", "b"]})
    assert len(twice) == 2
    assert hidden_digests(KEYS, definition, {}, {"service_name": "x" * (LONGEST_TERM + 1)}) == []
    assert hidden_digests(KEYS, definition, {}, {"service_name": None}) == []


async def test_digests_of_a_former_key_are_found_after_a_rotation(world: World) -> None:
    world.shared = SharedKeys(ParameterKeys(used=(OLD,)))
    await world.executor(audit_level="minimal")
    (before,) = await digests_of(world, "service_status", service_name="nginx")
    world.shared._take(ParameterKeys(used=(NEW, OLD)))
    (after,) = await digests_of(world, "service_status", service_name="nginx")
    assert before != after
    reply = await sought(world, "service_name", "nginx")
    assert reply.digests == [[after, before]]
    assert len(reply.keys) == 2
    life = await world.accepted((await world.ask("service_status", parameters={"service_name": "nginx"})).operation_id)
    assert life.requested.parameter_key == reply.keys[0]


@pytest.mark.parametrize(
    ("name", "operations"), [("content", []), ("if_digest", []), ("content", ["file_write", "file_read"])]
)
async def test_secret_parameter_is_refused_with_the_reason(world: World, name: str, operations: list[str]) -> None:
    await world.executor()
    reply = await sought(world, name, "4711", *operations)
    assert (reply.digests, reply.keys) == ([], [])
    assert reply.error is not None
    assert reply.error.code == "invalid"
    assert reply.error.message == f"values of {name} cannot be searched: a search would confirm guesses of a secret"


async def test_parameter_that_no_operation_has_is_no_error(world: World) -> None:
    await world.executor()
    for name in ("no_such", "timeout"):
        assert (await sought(world, name, "5")).error is None


async def test_guesses_are_limited_for_each_principal_and_in_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATE", "TOTAL_RATE"):
        monkeypatch.setattr(sought_values, name, 0.0)
    monkeypatch.setattr(sought_values, "BURST", 2.0)
    monkeypatch.setattr(sought_values, "TOTAL_BURST", 5.0)
    await world.executor()

    async def code(principal: str) -> str:
        reply = await sought(world, "service_name", "guess", principal=principal)
        return reply.error.code if reply.error else ""

    assert [await code("alice") for _ in range(3)] == ["", "", "rate_limited"]
    assert [await code("bob") for _ in range(2)] == ["", ""]
    assert await code("carol") == ""
    assert await code("dora") == "rate_limited"


async def test_principal_beyond_its_rate_takes_nothing_from_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RATE", "TOTAL_RATE"):
        monkeypatch.setattr(sought_values, name, 0.0)
    monkeypatch.setattr(sought_values, "BURST", 2.0)
    monkeypatch.setattr(sought_values, "TOTAL_BURST", 6.0)
    await world.executor()
    for _ in range(10):
        await sought(world, "service_name", "guess")
    assert (await sought(world, "service_name", "guess", principal="bob")).error is None


async def test_malformed_request_for_digests_is_invalid(world: World) -> None:
    await world.executor()
    for body in (b"{}", b'{"principal":"alice","values":[{"name":"a","value":"b"}],"key":"x"}', b"\xff"):
        message = await world.bus.request(subjects.SEARCH_DIGESTS, body, timeout=5)
        reply = decode(message.data, SearchDigestsReply)
        assert reply.error is not None
        assert reply.error.code == "invalid"
        assert reply.digests == []


async def test_no_executor_is_an_error_of_the_bus(world: World) -> None:
    with pytest.raises(BusError):
        await sought(world, "service_name", "nginx")
