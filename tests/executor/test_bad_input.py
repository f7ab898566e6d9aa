"""Any input gets one clear answer and a record, and the service continues."""

import asyncio
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json, msgpack
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.journal import Refused
from writ_contracts.registry import CHANNELS, Channel, Role, Style
from writ_contracts.requests import OperationsReply
from writ_contracts.wire import decode

GOOD = {"target": "web-1", "parameters": {"service_name": "nginx"}}


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "invalid", "empty"),
        (b"\xff\x00\xfe", "invalid", "malformed"),
        (b"[]", "invalid", "array"),
        (json.encode({**GOOD, "principal": "root"}), "invalid", "`principal`"),
        (json.encode({**GOOD, "target": "a.b"}), "invalid", "$.target"),
        (json.encode({**GOOD, "target": "web-1\n"}), "invalid", "$.target"),
        (json.encode({**GOOD, "parameters": {"service_name": "nginx\n"}}), "invalid_parameters", "service_name"),
        (
            json.encode({**GOOD, "parameters": {"service_name": "nginx", "timeout": True}}),
            "invalid_parameters",
            "timeout",
        ),
        (
            json.encode({**GOOD, "parameters": {"service_name": "nginx", "timeout": 301}}),
            "invalid_parameters",
            "timeout",
        ),
        (json.encode({**GOOD, "parameters": {"service_name": "nginx", "colour": 1}}), "invalid_parameters", "colour"),
        (json.encode({**GOOD, "parameters": {}}), "invalid_parameters", "service_name"),
        (json.encode({**GOOD, "reason": "x" * 1001}), "invalid", "$.reason"),
        (json.encode({**GOOD, "dry_run": "yes"}), "invalid", "$.dry_run"),
        (b" " * 1_500_001, "oversize", "1500001 bytes"),
        (b'{"target":"web-1","parameters":{"a":' + b"[" * 100_000, "invalid", "nested too deeply"),
    ],
)
async def test_a_request_that_is_wrong_is_refused_with_what_and_where(
    world: World, data: bytes, code: str, says: str
) -> None:
    await world.executor()
    answer = await world.ask_raw(subjects.request("alice", "service_restart"), data)
    assert answer.outcome == "invalid"
    assert answer.error
    assert answer.error.code == code
    assert says in answer.error.message
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert (event.principal, event.code) == ("alice", code)
    assert (await world.ask("service_status", parameters={"service_name": "nginx"})).error is None


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (json.encode({**GOOD, "reason": "x" * 1001}), "web-1"),
        (json.encode({**GOOD, "colour": 1}), "web-1"),
        (json.encode({**GOOD, "target": "a.b"}), ""),
        (b'{"target":"web-1",', ""),
    ],
)
async def test_a_request_that_is_not_understood_is_recorded_with_its_target(
    world: World, data: bytes, target: str
) -> None:
    await world.executor()
    await world.ask_raw(subjects.request("alice", "service_restart"), data)
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert event.target == target


async def test_an_unknown_operation_is_refused_and_recorded_under_a_safe_name(world: World) -> None:
    await world.executor()
    answer = await world.ask("rm_rf")
    assert answer.error
    assert answer.error.code == "unknown_operation"
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert event.operation == "rm_rf"


async def test_the_principal_of_a_payload_is_never_used(world: World) -> None:
    await world.executor()
    await world.ask_raw(subjects.request("alice", "service_restart"), json.encode({**GOOD, "principal": "root"}))
    assert [record.subject.split(".")[3] for record in await world.records()] == ["alice"]


async def test_a_secret_value_that_breaks_its_schema_is_not_in_the_answer_or_the_record(world: World) -> None:
    await world.executor()
    secret = ["canary-secret-value"]
    answer = await world.ask("file_write", parameters={"file_path": "/srv/app/x", "content": secret})
    assert answer.error
    assert answer.error.code == "invalid_parameters"
    assert "canary" not in answer.error.message
    assert b"canary" not in b"".join(record.data for record in await world.records())


async def test_messagepack_is_recognised_by_its_content_type_and_answered_in_kind(world: World) -> None:
    await world.executor()
    message = await world.bus.request(
        subjects.request("alice", "service_status"),
        msgpack.encode(GOOD),
        timeout=5,
        headers={"Content-Type": "application/msgpack"},
    )
    assert message.headers["Content-Type"] == "application/msgpack"
    assert msgpack.decode(message.data)["state"] == "dispatched"


async def test_another_content_type_is_refused(world: World) -> None:
    await world.executor()
    answer = await world.ask_raw(
        subjects.request("alice", "service_status"), json.encode(GOOD), {"Content-Type": "text/plain"}
    )
    assert answer.error
    assert "text/plain" in answer.error.message


ENDPOINTS = [one for one in CHANNELS if Role.EXECUTOR in one.receivers and one.style is Style.REQUEST]


SHAPES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20) | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["target", "parameters", "claim", "receipt", "principal", "payload", "operation_id"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@cache
def examples() -> list[bytes]:
    """Drawn once by Hypothesis, which takes longer than to send them; thrown within the test's own event loop."""
    found: list[bytes] = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300) | SHAPES.map(json.encode))
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    return found


@pytest.mark.parametrize("channel", ENDPOINTS, ids=lambda one: str(one.name))
async def test_raw_bytes_on_any_subject_get_an_error_answer_and_the_service_lives(
    world: World, channel: Channel
) -> None:
    one = await world.executor(refusal_rate=100_000, refusal_burst=100_000)
    subject = channel.subject(principal="alice", operation="service_status", pool="local-web-1")
    for data in examples():
        message = await world.bus.request(subject, data, timeout=5)
        error = json.decode(message.data)["error"]
        assert error is not None or data.strip() == b"{}"  # which is a whole question to some
        assert error is None or error["code"] != "internal"
    assert one.follower.damaged == 0
    assert (await world.ask("service_status", parameters={"service_name": "nginx"})).error is None


async def test_flood_of_queries_limits_only_its_own_principal(world: World) -> None:
    await world.executor(rate=0.001, burst=5)

    async def ask(principal: str) -> str:
        reply = await world.bus.request(subjects.query(principal, "operations"), b"{}", timeout=5)
        error = decode(reply.data, OperationsReply).error
        return error.code if error else ""

    assert [await ask("alice") for _ in range(8)] == [""] * 5 + ["rate_limited"] * 3
    assert await ask("bob") == ""
    assert await world.records() == []


async def test_one_principals_parameters_do_not_fill_the_store_of_all(world: World) -> None:
    await world.executor(most_hidden=10_000)

    async def write(principal: str, size: int) -> str:
        parameters = {"file_path": "/srv/app/x", "content": "x" * size}
        answer = await world.ask("file_write", principal, parameters=parameters)
        return answer.error.code if answer.error else answer.state

    together = await asyncio.gather(*(write("alice", 4_000) for _ in range(4)))
    assert sorted(together) == ["dispatched", "requested", "too_many_open", "too_many_open"]
    assert await write("alice", 4_000) == "too_many_open"
    assert await write("bob", 4_000) == "requested"
    assert (await world.ask("service_restart", parameters={"service_name": "nginx"})).error is None
