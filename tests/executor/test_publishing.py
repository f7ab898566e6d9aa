"""Publishing and rolling back as an executor does it: one version each, on record, the document in no event."""

import asyncio
from typing import Any

from msgspec import json
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.journal import ControlEvent, Finished
from writ_contracts.policy.versions import StoredPolicy
from writ_contracts.requests import Failure, Problem
from writ_contracts.wire import decode
from writ_testing.eventually import eventually
from writ_trust.digests import plain_digest

CANARY = "canary-3e91"
DOCUMENT = f"policies: {{name: {CANARY}}}"


async def versions(world: World) -> list[StoredPolicy]:
    return [decode(one.data, StoredPolicy) for one in await world.bus.policies.read(subjects.POLICIES)]


async def publish(world: World, document: str = DOCUMENT, **parameters: Any) -> str:
    wish = {"document": document, "reason": "a test", **parameters}
    answer = await world.ask("policy_publish", target="writ", parameters=wish)
    assert answer.error is None, answer.error
    return answer.operation_id or ""


async def end(world: World, operation_id: str) -> Finished:
    await world.outcome(operation_id)
    end = (await world.life(operation_id)).end
    assert isinstance(end, Finished)
    return end


async def test_a_version_is_stored_then_announced_and_its_document_is_in_no_event(world: World) -> None:
    await world.executor()
    operation_id = await publish(world)
    finished = await end(world, operation_id)
    [version] = await versions(world)
    assert (version.number, version.document, version.author) == (1, DOCUMENT, "alice")
    assert (version.digest, version.origin) == (plain_digest(DOCUMENT.encode()), "published")
    [event] = await world.events(subjects.CONTROL)
    assert isinstance(event, ControlEvent)
    assert (event.kind, event.body["version"], event.body["digest"]) == ("policy_publish", 1, version.digest)
    assert event.decision == version.decision
    sequence = (await world.records(subjects.CONTROL))[0].sequence
    assert finished.output == {"id": operation_id, "sequence": sequence, "version": 1}
    assert not [one for one in await world.records() if CANARY.encode() in one.data]

    async def forgotten() -> bool:
        return not [key for key in world.broker.disk.kept if operation_id in key]

    await eventually(forgotten)


async def test_publication_is_decided_again_with_knowledge_of_the_last_version(world: World) -> None:
    await world.executor()
    await end(world, await publish(world))
    await end(world, await publish(world))
    stored = [one.stored_policies for one in world.policy.decides if one.subject.operation == "policy_publish"]
    assert stored == [0, 0, 0, 1]


async def test_publishers_at_the_same_time_get_a_number_each(world: World) -> None:
    for _ in range(2):
        await world.executor()
    ids = await asyncio.gather(*(publish(world, f"{DOCUMENT} # {one}") for one in range(6)))
    ends = [await end(world, one) for one in ids]
    assert sorted(one.output["version"] for one in ends) == [1, 2, 3, 4, 5, 6]
    assert [one.number for one in await versions(world)] == [1, 2, 3, 4, 5, 6]


async def test_a_rollback_stores_the_earlier_document_and_says_whose(world: World) -> None:
    await world.executor()
    await end(world, await publish(world))
    await end(world, await publish(world, "policies: {name: other}"))
    answer = await world.ask("policy_rollback", target="writ", parameters={"version": 1, "reason": "worse"})
    assert (await end(world, answer.operation_id or "")).output["version"] == 3
    last = (await versions(world))[-1]
    assert (last.document, last.origin, last.restores) == (DOCUMENT, "rollback", 1)


async def test_publication_denied_at_its_start_is_not_stored(world: World) -> None:
    class Once(dict[str, Any]):
        """Allows the first time."""

        def get(self, key: str, default: Any = None) -> Any:
            return "deny" if len(world.policy.decides) > 1 else "allow"

    world.policy.effects = Once()
    await world.executor()
    finished = await end(world, await publish(world))
    assert (finished.outcome, finished.code) == ("failed", "denied")
    assert await versions(world) == []


async def test_mistakes_of_a_document_are_answered_and_not_recorded(world: World) -> None:
    found = [Problem(line=3, column=5, message=f"unknown key {CANARY}")]
    world.policy.errors["policy_publish"] = Failure(code="invalid_document", message="a mistake", problems=found)
    await world.executor()
    answer = await world.ask("policy_publish", target="writ", parameters={"document": DOCUMENT, "reason": "x"})
    assert answer.error is not None
    assert (answer.outcome, answer.error.problems) == ("invalid", found)
    assert not [one for one in await world.records() if CANARY.encode() in one.data]


async def test_an_emergency_is_a_control_event_with_policys_decision(world: World) -> None:
    await world.executor()
    wish = {"scope": ["web-*"], "reason": "it burns", "until": 2_000_000_000.0}
    answer = await world.ask("emergency_declare", target="writ", parameters=wish)
    declared = await end(world, answer.operation_id or "")
    assert declared.output["id"] == answer.operation_id
    ending = {"emergency_id": declared.output["id"], "verdict": "end"}
    over = await world.ask("emergency_confirm", target="writ", parameters=ending)
    assert (await end(world, over.operation_id or "")).output["id"] == answer.operation_id
    bodies = [json.decode(one.data) for one in await world.records(subjects.CONTROL)]
    assert [one["kind"] for one in bodies] == ["emergency_declare", "emergency_confirm"]
    assert all(one["decision"] for one in bodies)
