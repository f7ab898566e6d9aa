"""An agent accepts the directory of people's credentials only from a notice signed by policy."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.agent.conftest import POOL, World, until
from tests.agent.test_people_directory import FORK, TRUE
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY, version

from writ_bus.errors import Forbidden
from writ_bus.port import Subscription
from writ_contracts import subjects
from writ_contracts.people.directory import PeopleNotice, PeopleNoticeMessage
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory
from writ_trust.statements import sign


def message(world: World, sent: Directory, by: Key | None = None, **changed: Any) -> PeopleNoticeMessage:
    notice = structs.replace(PeopleNotice(directory=sent.name, at=1.0), **changed)
    return PeopleNoticeMessage(notice=sign(by or world.executor.key, notice), directory=sent.signed)


async def send(world: World, body: PeopleNoticeMessage) -> None:
    await world.executor.bus.publish(subjects.people_notice(POOL), encode(body))


def kept(world: World) -> Signed | None:
    file = world.folder / "people-state.json"
    return msgspec.json.decode(file.read_bytes(), type=Signed) if file.exists() else None


def announced(world: World) -> int | None:
    return world.executor.heartbeats[-1].people if world.executor.heartbeats else None


async def test_a_notice_of_policy_is_taken_without_a_grant_and_announced(world: World) -> None:
    await world.agent(people_keys=[PEOPLE_KEY.public])
    await until(lambda: announced(world) == 0)
    await send(world, message(world, TRUE))
    await until(lambda: kept(world) == TRUE.signed and announced(world) == TRUE.name.number)


async def test_a_notice_that_policy_did_not_sign_or_of_another_directory_is_reported(world: World) -> None:
    """A thief of an executor's key and a former people-key could send this."""
    await world.agent(people_keys=[PEOPLE_KEY.public])
    for number, body in enumerate(
        (message(world, FORK, by=Key(generate_seed())), message(world, FORK, directory=TRUE.name)), start=1
    ):
        await send(world, body)
        await send(world, body)
        await until(lambda expected=number: len(world.executor.reports) >= expected)  # type: ignore[misc]
    assert {report.kind for report in world.executor.reports} == {"forged_directory"}
    assert len(world.executor.reports) == 2, "each is reported once"
    assert kept(world) is None


async def test_each_refused_directory_is_reported_though_it_is_as_long_as_the_one_before(world: World) -> None:
    """The last one is the first again: its report may be long ago."""
    await world.agent(people_keys=[OTHER.public])
    sent = [version(FIRST, at=at) for at in (101.0, 102.0, 101.0)]
    for number, directory in enumerate(sent, start=1):
        await send(world, message(world, directory))
        await send(world, message(world, directory))
        await until(lambda expected=number: len(world.executor.reports) >= expected)  # type: ignore[misc]
    assert [report.kind for report in world.executor.reports] == ["forged_directory"] * len(sent)


async def test_a_directory_that_does_not_follow_the_known_one_is_refused_though_policy_names_it(world: World) -> None:
    """A thief of policy's key and a former people-key could send this, once the agent knows the successor."""
    await world.agent(people_keys=[PEOPLE_KEY.public])
    await send(world, message(world, FORK))
    await until(lambda: kept(world) == FORK.signed)
    await send(world, message(world, TRUE))
    await until(lambda: bool(world.executor.reports))
    assert world.executor.reports[0].kind == "forged_directory"
    assert kept(world) == FORK.signed


@pytest.mark.parametrize("pinned", [(), (OTHER.public,)])
async def test_an_agent_without_this_people_key_takes_none(world: World, pinned: tuple[str, ...]) -> None:
    await world.agent(people_keys=pinned)
    await until(lambda: bool(world.executor.heartbeats))
    assert announced(world) == (0 if pinned else None)
    await send(world, message(world, TRUE))
    if pinned:
        await until(lambda: bool(world.executor.reports))
    assert kept(world) is None


@pytest.mark.parametrize("notice", [subjects.people_notice, subjects.baseline_notice])
async def test_agent_takes_work_where_the_server_permits_no_notices(
    world: World, monkeypatch: pytest.MonkeyPatch, notice: Callable[[str], str]
) -> None:
    subscribe = MemoryBus.subscribe

    async def refused(bus: MemoryBus, subject: str, *about: Any, **named: Any) -> Subscription:
        if subject == notice(POOL):
            raise Forbidden(f"not permitted to subscribe to {subject}")
        return await subscribe(bus, subject, *about, **named)

    monkeypatch.setattr(MemoryBus, "subscribe", refused)
    await world.agent()
    await until(lambda: world.executor.heartbeats != [])
