"""Versions followed by replicas: with the file beside them, at a start, and when one is missing or does not load."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.publishing import (
    CLOSED,
    EMERGENCIES,
    OPEN,
    announce,
    another,
    broker_of,
    code_after,
    decided,
    document,
    number,
    publish,
    publishable,
)
from tests.policy.replica import KEY, RULES, Asking, files

from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Unreachable
from writ_contracts.notices import Notice
from writ_contracts.wire import decode
from writ_runtime.health import Detail
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_trust.keys import Key, generate_seed


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as one:
        yield one


async def test_every_replica_follows(asking: Asking) -> None:
    async with another(broker_of(asking), asking.files) as second:
        sequence = await publish(asking, CLOSED)
        assert {await code_after(one, sequence) for one in (asking, second)} == {"denied"}
        asking.files.write("policy", document(RULES[1]))
        assert {await number(one) for one in (asking, second)} == {2}


async def test_replicas_with_the_same_policy_file_store_one_version(tmp_path: Path) -> None:
    broker, known = Broker(), files(tmp_path)
    async with another(broker, known) as one, another(broker, known) as two:
        known.write("policy", document(*RULES))
        assert await asyncio.gather(*(number(each) for each in (one, two, one, two))) == [2] * 4
        assert len(await one.bus.policies.read(subjects.POLICIES)) == 2


async def test_policy_file_is_reported_and_not_applied_after_a_publish(asking: Asking) -> None:
    sequence = await publish(asking, CLOSED)
    asking.files.write("policy", document(*RULES, name="edited"))
    assert await code_after(asking, sequence) == "denied"
    reported = await asking.service.checks()["policy"]()
    assert isinstance(reported, Detail)  # nobody is to be woken up by what a publish leaves
    assert "is not used" in reported
    asking.files.write("policy", CLOSED)
    assert await asking.code(asking.subject()) == "denied"
    assert await asking.service.checks()["policy"]() is None


async def test_a_stored_version_starts_a_replica_whose_file_cannot_be_used(asking: Asking) -> None:
    await publish(asking, CLOSED)
    asking.files.write("policy", "policies: {nmae: x}")
    await asking.service.stop()
    async with another(broker_of(asking), asking.files) as second:
        assert await second.code(second.subject()) == "denied"
        check = str(await second.service.checks()["policy"]())
        assert "did you mean 'name'" in check
        assert check.startswith("version 2, by ")


async def test_a_version_that_loads_elsewhere_and_not_here_stops_this_replica_and_nothing_older_decides(
    asking: Asking,
) -> None:
    text = document(*RULES, {"name": "odd", "operations": [], "allowed": True})
    _, answer = await decided(asking, "policy_publish", document=text)
    assert answer.error is not None
    assert answer.error.code == "invalid_document"
    asking.files.write("policy", OPEN)
    heard: list[Notice] = []

    async def record(message: Any) -> bytes:
        heard.append(decode(message.data, Notice))
        return b"{}"

    await asking.bus.subscribe(subjects.NOTICE_POLICY, answering(asking, record))
    async with another(broker_of(asking), asking.files, mode="permissive") as lax:
        await asking.service.stop()
        sequence = await publish(lax, text)
        assert await number(lax, control_sequence=sequence) == 2

        async def blocked() -> bool:
            return "version 2 of the policy does not load" in str(await asking.service.checks()["versions"]())

        await eventually(blocked)

        async def told() -> bool:
            return ("file_refused", 2) in [(one.kind, one.version) for one in heard]

        await eventually(told)
    assert "version_refused" not in [one.kind for one in heard], "its signatures are valid"
    with pytest.raises(ConfigError, match="version 2"):
        async with another(broker_of(asking), asking.files):
            pass


async def test_with_a_new_key_policy_accepts_versions_of_the_former_one_up_to_a_number(asking: Asking) -> None:
    await publish(asking, CLOSED)
    await asking.service.stop()
    former, keys = asking.files.keys["policy"].public, {**asking.files.keys, "policy": Key(generate_seed())}
    renewed = structs.replace(asking.files, keys=keys)
    with pytest.raises(ConfigError, match="none of the 2 stored versions of the policy is valid"):
        async with another(broker_of(asking), renewed):
            pass
    async with another(broker_of(asking), renewed, former_keys=f"{former}@2") as second:
        assert await number(second) == 2
    async with another(broker_of(asking), renewed, former_keys=f"{former}@1") as second:
        assert await number(second) == 1


async def test_a_version_that_was_published_and_is_not_there_stops_decisions(asking: Asking) -> None:
    version, _ = await decided(asking, "policy_publish", document=CLOSED)
    sequence = await announce(asking, version, 2)
    late = await asking.decide(asking.subject(), control_sequence=sequence)
    assert late.error is not None
    assert (late.error.code, late.error.retry) == ("behind", True)
    with pytest.raises(Unreachable, match="version 2 of the policy was published and is not in the store"):
        async with another(broker_of(asking), asking.files):
            pass
    async with another(broker_of(asking), asking.files, versions_lost=2) as second:
        await asking.service.stop()
        assert await number(second, control_sequence=sequence) == 1


async def test_an_executor_alone_cannot_make_policy_wait_for_a_version(asking: Asking) -> None:
    sequence = await asking.control("policy_publish", {"version": 1_000_000, "digest": "0" * 64})
    assert await code_after(asking, sequence) == "allowed"


async def test_notice_is_repeated_until_an_executor_accepts_it(asking: Asking) -> None:
    heard: list[Notice] = []

    async def record(message: Any) -> bytes:
        heard.append(decode(message.data, Notice))
        return b'{"error":{"code":"unavailable","message":"not yet","retry":true}}' if len(heard) == 1 else b"{}"

    await asking.bus.subscribe(subjects.NOTICE_POLICY, answering(asking, record))
    asking.files.write("policy", "policies: {nmae: x}")
    await asking.code(asking.subject())

    async def notices_arrived() -> bool:
        return {one.kind for one in heard} == {"file_refused", "file_version"} and heard[0] in heard[1:]

    await eventually(notices_arrived, what="both notices, and the first one again")
    assert len(heard) == 3
    assert not any("nmae" in one.detail for one in heard)


def answering(asking: Asking, record: Callable[[Any], Awaitable[bytes]]) -> Any:
    async def respond(message: Any) -> None:
        await asking.bus.publish(message.reply, await record(message))

    return respond


async def test_emergency_counts_only_with_policys_decision(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        await publish(asking, document(*RULES, EMERGENCIES))
        until = asking.clock.now + 3600
        body: dict[str, Any] = {"scope": ["web-*"], "reason": "it burns", "until": until}
        await asking.control("emergency_declare", body)
        assert await emergencies(asking) == 0
        declared = asking.signed(asking.subject("emergency_declare", "writ", parameters=body))
        answer = await asking.decide(declared)
        true = {"operation_id": declared.operation_id, "parameters_key": KEY, "id": declared.operation_id}
        await asking.control("emergency_declare", {**answer.effective, "scope": ["*"]}, answer.decision, **true)
        assert await emergencies(asking) == 0, "another scope than was decided"
        await asking.control("emergency_declare", answer.effective, answer.decision, **true)
        assert await emergencies(asking) == 1
        ending = {"emergency_id": declared.operation_id, "verdict": "end"}
        await asking.control("emergency_confirm", ending)
        assert await emergencies(asking) == 1
        end = asking.signed(asking.subject("emergency_confirm", "writ", parameters=ending))
        answer = await asking.decide(end)
        more = {"operation_id": end.operation_id, "parameters_key": KEY}
        await asking.control("emergency_confirm", answer.effective, answer.decision, **more)
        assert await emergencies(asking) == 0


async def emergencies(asking: Asking) -> int:
    last = await asking.bus.journal.last(subjects.CONTROL)
    assert last is not None
    follower = asking.service._follower
    assert follower is not None
    assert await follower.reach(last.sequence)
    return sum(one.lasts(asking.clock.now) for one in follower.state.emergencies)


async def test_a_document_that_is_refused_is_in_no_log(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, answer = await decided(asking, "policy_publish", document="policies: {canary-5d11: x}")
    assert answer.error is not None
    assert "canary-5d11" not in answer.error.message
    assert "canary-5d11" in json.dumps([one.message for one in answer.error.problems])
    assert "canary-5d11" not in "".join(str(vars(one)) for one in caplog.records)
