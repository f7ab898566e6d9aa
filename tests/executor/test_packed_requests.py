"""Requests in MessagePack that are too large as JSON are refused with an event, and nothing of them stays in memory."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import msgpack
from tests.executor.conftest import SIGNED, World

from writ_bus.errors import BusError, BusRefused, Unreachable
from writ_contracts import subjects
from writ_contracts.journal import Refused
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import RequestReply
from writ_contracts.wire import MSGPACK
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.service import Executor

SIGNATURE = {
    "statement": {"key": SIGNED["statement"].key, "payload": {}, "signature": SIGNED["statement"].signature},
    "salt": SIGNED["salt"],
}
KEY = {"idempotency_key": "k" * 20}
TOO_LARGE = ["\n" * 800_000, "\x01" * 500_000]
"""Texts of 1.6 and of 3 MB as JSON, of which NATS takes the first."""


async def packed(world: World, content: str, operation: str = "file_write", **more: Any) -> RequestReply:
    request = {"target": "web-1", "parameters": {"file_path": "/srv/f", "content": content}, **more}
    subject, headers = subjects.request("alice", operation), {"Content-Type": MSGPACK}
    message = await world.bus.request(subject, msgpack.encode(request), timeout=20, headers=headers)
    return msgpack.decode(message.data, type=RequestReply)


async def refused(world: World, content: str, code: str = "oversize", **more: Any) -> Refused:
    """Return the event of a request that is refused with this code."""
    before = len(await world.events())
    answer = await packed(world, content, **more)
    assert answer.error is not None
    assert (answer.outcome, answer.error.code) == ("invalid", code)
    (event,) = (await world.events())[before:]
    assert isinstance(event, Refused)
    assert (event.operation_id, event.code) == (answer.operation_id, code)
    return event


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def large_parameters() -> int:
    return sum(isinstance(one, LargeParameters) for one in gc.get_objects())


@pytest.mark.parametrize("content", TOO_LARGE)
async def test_signed_request_that_is_too_large_as_json_is_refused_before_policy_is_asked(
    world: World, content: str
) -> None:
    await world.executor()
    event = await refused(world, content, **KEY, **SIGNATURE)
    assert (event.fingerprint, world.policy.decides) == ("", [])
    answer = await packed(world, "small", **KEY, **SIGNATURE)
    assert answer.error is None, answer


@pytest.mark.parametrize("content", TOO_LARGE)
async def test_request_that_a_rule_constrains_is_refused_before_policy_gets_its_text(
    world: World, content: str
) -> None:
    await world.executor()
    world.policy.needs_texts = True
    await refused(world, content)
    assert [question.subject.parameters for question in world.policy.decides] == [{"file_path": "/srv/f"}]
    event = await refused(world, content, **KEY)
    assert (event.fingerprint, len(world.policy.decides)) == ("", 1)
    answer = await packed(world, "small", **KEY)
    assert answer.error is None, answer


@pytest.mark.parametrize("operation", ["no_such", "file_read"])
async def test_size_is_checked_before_operation_and_parameters_where_no_text_may_be_left_out(
    world: World, operation: str
) -> None:
    await world.executor()
    await refused(world, TOO_LARGE[0], operation=operation)


async def test_size_of_an_unsigned_request_is_checked_after_the_decision(world: World) -> None:
    await world.executor()
    event = await refused(world, TOO_LARGE[0], **KEY)
    assert event.fingerprint
    answer = await packed(world, "small", **KEY)
    assert answer.error is not None
    assert answer.error.code == "conflict"
    world.policy.effects["file_write"] = "deny"
    assert (await packed(world, TOO_LARGE[0])).outcome == "denied"


def failing(one: Executor, monkeypatch: pytest.MonkeyPatch, error: BusError) -> None:
    async def request(*_: Any, **__: Any) -> None:
        raise type(error)(str(error), code=error.code)

    monkeypatch.setattr(one.intake._policy._bus, "request", request)


async def test_question_that_nats_refuses_as_too_large_makes_the_request_invalid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(await world.executor(), monkeypatch, BusRefused("too large", code="oversize"))
    await refused(world, "x" * LARGE, **SIGNATURE)


@pytest.mark.parametrize("error", [BusRefused("too large", code="oversize"), BusRefused("no"), Unreachable("away")])
@pytest.mark.parametrize("more", [SIGNATURE, {}])
async def test_text_on_which_policy_cannot_decide_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, uncollected: None, error: BusError, more: dict[str, Any]
) -> None:
    failing(await world.executor(), monkeypatch, error)
    for _ in range(3):
        answer = await packed(world, "x" * LARGE, **more)
        assert answer.error is not None
    assert large_parameters() == 0


@pytest.mark.parametrize("content", TOO_LARGE)
@pytest.mark.parametrize("more", [SIGNATURE, {}])
async def test_text_that_is_too_large_as_json_is_not_kept(
    world: World, uncollected: None, content: str, more: dict[str, Any]
) -> None:
    await world.executor()
    for _ in range(3):
        await refused(world, content, **more)
    assert large_parameters() == 0
