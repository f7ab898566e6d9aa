"""A large request gets its fingerprint while policy decides, over the digests of its large texts. It is repeated,
refused and denied like any other.
"""

from typing import Any

import pytest
from tests.executor.conftest import SIGNED, World

from writ_contracts.decisions import DecideRequest
from writ_contracts.journal import Refused
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import RequestReply
from writ_executor.journal.shared_keys import OperationKeys
from writ_executor.requests import attempt
from writ_executor.requests.attempt import fingerprint
from writ_executor.service import Executor
from writ_trust.digests import keyed_digest, text_digest

CONTENT = '"quoted"\t\u00e9 and more\n' * (LARGE // 8)
PARAMETERS = {"file_path": "/srv/f", "content": CONTENT}


async def ask(world: World, **changed: Any) -> RequestReply:
    return await world.ask("file_write", parameters={**PARAMETERS, **changed}, idempotency_key="k" * 20)


def digest_of(executor: Executor, operation_id: str, parameters: dict[str, Any]) -> str:
    keys = executor.intake._vault.new_keys(operation_id)
    others = {name: value for name, value in parameters.items() if name != "content"}
    texts = {"content": text_digest(keys.parameters, parameters["content"])}
    return keyed_digest(keys.fingerprint, ["file_write", "web-1", [others, texts], False])


async def test_fingerprint_is_that_of_the_whole_request(world: World) -> None:
    executor = await world.executor()
    answer = await ask(world)
    requested = (await world.accepted(answer.operation_id)).requested
    assert requested.fingerprint == digest_of(executor, requested.operation_id, PARAMETERS)


async def test_policy_receives_signed_texts_as_they_were_sent(world: World) -> None:
    await world.executor()
    await world.ask("file_write", parameters=PARAMETERS, **SIGNED)
    (question,) = world.policy.decides
    assert isinstance(question, DecideRequest)
    assert question.subject.parameters == PARAMETERS


async def test_the_same_request_is_one_operation_and_another_is_a_conflict(world: World) -> None:
    await world.executor()
    first, again = await ask(world), await ask(world)
    assert (again.operation_id, again.error) == (first.operation_id, None)
    other = await ask(world, content=CONTENT + "x")
    assert other.error is not None
    assert other.error.code == "conflict"


@pytest.mark.parametrize("refused", [{"mode": "9999"}, {"unknown": 1}])
async def test_refused_request_uses_up_its_key(world: World, refused: dict[str, Any]) -> None:
    executor = await world.executor()
    answer = await ask(world, **refused)
    assert answer.outcome == "invalid"
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert event.fingerprint == digest_of(executor, event.operation_id, {**PARAMETERS, **refused})
    other = await ask(world)
    assert other.error is not None
    assert other.error.code == "conflict"


async def test_denied_request_uses_up_its_key(world: World) -> None:
    executor = await world.executor()
    world.policy.effects["file_write"] = "deny"
    denied = await ask(world)
    assert denied.outcome == "denied"
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert event.fingerprint == digest_of(executor, event.operation_id, PARAMETERS)
    other = await ask(world, content=CONTENT + "x")
    assert other.error is not None
    assert other.error.code == "conflict"


async def test_request_recorded_with_the_former_fingerprint_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def former(keys: OperationKeys, *about: Any) -> str:
        return keyed_digest(keys.fingerprint, list(about[:4]))

    with monkeypatch.context() as before:
        before.setattr(attempt, "request_fingerprint", former)
        await world.executor()
        first = await ask(world)
    later = await world.executor()
    requested = (await world.accepted(first.operation_id)).requested
    assert requested.fingerprint != digest_of(later, requested.operation_id, PARAMETERS)
    assert await later.intake._vault.parameters(requested) == PARAMETERS
    again = await ask(world)
    assert (again.operation_id, again.error) == (first.operation_id, None)


async def test_fingerprint_is_computed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.executor()
    computed: list[str] = []

    def noted(*about: Any) -> str:
        computed.append(fingerprint(*about))
        return computed[-1]

    monkeypatch.setattr(attempt, "fingerprint", noted)
    await ask(world)
    assert len(computed) == 1
