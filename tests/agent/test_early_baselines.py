"""A baseline is read at the notice of an operation, and counts only if its `dispatched` confirms that."""

import asyncio
import secrets
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, TARGET, World, until

from writ_agent.backends.port import Task
from writ_agent.preflight import host_reads
from writ_agent.work import early_baselines
from writ_agent.work.early_baselines import EarlyBaselines
from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import BaselineNotice, Claim
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched
from writ_contracts.wire import encode
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read


class Baselines:
    """Number each reading of a baseline, which lasts until `go_on` is set."""

    def __init__(self, world: World) -> None:
        self.begun: list[Task] = []
        self.ended: list[int] = []
        self.found: dict[str, Any] | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        world.backend.baseline = self._read  # type: ignore[method-assign]

    async def _read(self, task: Task) -> dict[str, Any]:
        self.begun.append(task)
        number = len(self.begun)
        try:
            await self.go_on.wait()
        finally:
            self.ended.append(number)
        return {"reading": number} if self.found is None else self.found


class Sequence:
    """Dispatches operations as an executor that notices them, or differently."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.append = world.executor.append

    async def notice(self, work: Dispatched, **changed: Any) -> None:
        assert work.look is not None
        notice = BaselineNotice(
            operation_id=work.operation_id,
            operation=work.operation,
            target=work.target,
            parameters=work.parameters,
            look=work.look,
            look_key=work.look_key,
        )
        notice = structs.replace(notice, **changed)
        await self.world.executor.bus.publish(subjects.baseline_notice(POOL), encode(notice))

    async def prepare(self, target: Target = TARGET) -> Dispatched:
        """Return an operation that is not dispatched yet."""
        prepared: list[Dispatched] = []

        async def keep(work: Dispatched) -> None:
            prepared.append(work)

        self.world.executor.append = keep  # type: ignore[method-assign]
        await self.world.executor.dispatch("test_count", target, path="/x")
        self.world.executor.append = self.append  # type: ignore[method-assign]
        return prepared[0]

    async def dispatch(self, work: Dispatched, *, noticed: bool = True) -> dict[str, Any]:
        """Dispatch it, and return the baseline of its claim."""
        work = structs.replace(work, noticed=noticed)
        self.world.executor.operations[work.operation_id].work = work
        await self.append(work)
        return await self.claimed(work)

    async def claimed(self, work: Dispatched) -> dict[str, Any]:
        """Return the baseline of its claim once it has ended."""
        assert (await self.world.executor.ended(work.operation_id)).outcome == "succeeded"
        return read(self.world.executor.operations[work.operation_id].claims[-1], Claim).baseline


@pytest.fixture
def baselines(world: World) -> Baselines:
    return Baselines(world)


@pytest.fixture
def sequence(world: World) -> Sequence:
    return Sequence(world)


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Return the list of all messages that an agent has handled as notices."""
    messages: list[Message] = []
    original = EarlyBaselines.handle

    async def handle(self: EarlyBaselines, message: Message) -> None:
        await original(self, message)
        messages.append(message)

    monkeypatch.setattr(EarlyBaselines, "handle", handle)
    return messages


async def test_baseline_is_read_at_the_notice_and_claimed_after_the_dispatch(
    world: World, baselines: Baselines, sequence: Sequence
) -> None:
    await world.agent()
    work = await sequence.prepare()
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    assert world.executor.operations[work.operation_id].claims == []
    assert await sequence.dispatch(work) == {"reading": 1}
    assert len(baselines.begun) == 1


async def test_baseline_that_is_still_read_at_the_dispatch_is_waited_for(
    world: World, baselines: Baselines, sequence: Sequence
) -> None:
    agent = await world.agent()
    work = await sequence.prepare()
    baselines.go_on.clear()
    await sequence.notice(work)
    await until(lambda: len(baselines.begun) == 1)
    await sequence.append(structs.replace(work, noticed=True))
    await until(lambda: work.operation_id in agent._parts.in_flight.ids)
    baselines.go_on.set()
    assert await sequence.claimed(work) == {"reading": 1}
    assert len(baselines.begun) == 1


async def test_baseline_is_read_after_the_dispatch_if_its_notice_is_lost(
    world: World, baselines: Baselines, sequence: Sequence
) -> None:
    await world.agent()
    assert await sequence.dispatch(await sequence.prepare()) == {"reading": 1}


async def test_a_doubled_notice_causes_one_read(world: World, baselines: Baselines, sequence: Sequence) -> None:
    await world.agent()
    work = await sequence.prepare()
    await sequence.notice(work)
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    assert await sequence.dispatch(work) == {"reading": 1}
    assert len(baselines.begun) == 1


async def test_a_notice_after_the_dispatch_causes_no_second_read_while_the_operation_runs(
    world: World, baselines: Baselines, sequence: Sequence, handled: list[Message]
) -> None:
    await world.agent()
    go_on = world.held("test_count")
    work = await sequence.prepare()
    await sequence.append(structs.replace(work, noticed=True))
    await until(lambda: bool(world.backend.tasks))
    await sequence.notice(work)
    other = await sequence.prepare()
    await sequence.notice(other)  # its target is being changed here
    await until(lambda: len(handled) == 2)
    go_on.set()
    assert await sequence.claimed(work) == {"reading": 1}
    assert len(baselines.begun) == 1


@pytest.mark.parametrize("what", ["taken by another operation since", "another attempt", "other parameters"])
async def test_baseline_is_read_again_unless_the_dispatch_is_for_the_same_read(
    what: str, world: World, baselines: Baselines, sequence: Sequence
) -> None:
    await world.agent()
    work = await sequence.prepare()
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    match what:
        case "another attempt":
            work = structs.replace(work, attempt=2)
        case "other parameters":
            key = secrets.token_hex(32)
            parts = (work.operation_id, work.operation, TARGET, ["baseline"], work.parameters, key)
            work = structs.replace(work, look=world.executor.read_grant(*parts), look_key=key)  # type: ignore[arg-type]
    assert await sequence.dispatch(work, noticed=what != "taken by another operation since") == {"reading": 2}


async def test_an_old_baseline_is_not_used(
    world: World, baselines: Baselines, sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_baselines, "FRESH", 0.05)
    agent = await world.agent()
    work = await sequence.prepare()
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    await until(lambda: not agent._worker.early_baselines._kept)
    assert await sequence.dispatch(work) == {"reading": 2}


async def test_a_read_without_a_result_is_repeated_after_the_dispatch(
    world: World, baselines: Baselines, sequence: Sequence
) -> None:
    await world.agent()
    work = await sequence.prepare()
    baselines.found = {}
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    baselines.found = None
    assert await sequence.dispatch(work) == {"reading": 2}


@pytest.mark.parametrize("seconds", [0.05, 60.0])
async def test_log_says_that_a_baseline_was_not_read_in_time(
    world: World,
    sequence: Sequence,
    baselines: Baselines,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
) -> None:
    async def times_out(task: Task) -> dict[str, Any]:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01 if seconds > 1 else None)
        return {"task": task.operation_id}

    world.backend.baseline = times_out  # type: ignore[method-assign]
    monkeypatch.setattr(host_reads, "BASELINE_SECONDS", seconds)
    caplog.set_level("INFO", logger="writ")
    await world.agent()
    work = await sequence.prepare()
    assert await sequence.dispatch(work, noticed=False) == {}
    [line] = [one for one in caplog.records if one.getMessage() == "agent.no_baseline"]
    reason = vars(line)["fields"]["reason"]
    assert reason == ("no reply within 0.05 s" if seconds < 1 else "the backend waited too long for a part of it")


async def test_a_notice_without_a_valid_read_grant_reads_nothing_and_is_reported(
    world: World, baselines: Baselines, sequence: Sequence
) -> None:
    await world.agent()
    work = await sequence.prepare()
    parts = (work.operation_id, work.operation, TARGET, ["baseline"], work.parameters, work.look_key)
    forged = world.executor.read_grant(*parts, signer=Key(generate_seed()))  # type: ignore[arg-type]
    await sequence.notice(work, look=forged)
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])
    assert world.executor.reports[0].operation_id is None
    assert baselines.begun == []
    assert await sequence.dispatch(work) == {"reading": 1}


async def test_bytes_that_are_no_notice_are_ignored(world: World, baselines: Baselines, sequence: Sequence) -> None:
    await world.agent()
    for data in (b"", b"\xff", b"[]", b'{"look":{}}', b"[" * 100_000):
        await world.executor.bus.publish(subjects.baseline_notice(POOL), data)
    work = await sequence.prepare()
    await sequence.notice(work)
    await until(lambda: baselines.ended == [1])
    assert await sequence.dispatch(work) == {"reading": 1}


async def test_a_flood_of_notices_reads_a_bounded_number_of_baselines(
    world: World,
    baselines: Baselines,
    sequence: Sequence,
    handled: list[Message],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(early_baselines, "MOST", 3)
    await world.agent()
    baselines.go_on.clear()
    targets = [TARGET, *(structs.replace(TARGET, id=f"host-{number}") for number in range(2, 6))]
    works = [await sequence.prepare(target) for target in targets]
    for work in works:
        await sequence.notice(work)
    await until(lambda: len(handled) == len(works))
    assert len(baselines.begun) == 3
    baselines.go_on.set()
    assert await sequence.dispatch(works[-1]) == {"reading": 4}


async def test_operations_that_are_noticed_together_for_one_target_cause_one_read(
    world: World, baselines: Baselines, sequence: Sequence, handled: list[Message]
) -> None:
    """The first of them to take the target makes the notices of the others void."""
    await world.agent()
    baselines.go_on.clear()
    works = [await sequence.prepare() for _ in range(5)]
    for work in works:
        await sequence.notice(work)
    await until(lambda: len(handled) == len(works))
    assert len(baselines.begun) == 1
    baselines.go_on.set()
    assert await sequence.dispatch(works[0]) == {"reading": 1}
    assert await sequence.dispatch(works[1], noticed=False) == {"reading": 2}


async def test_a_stopping_agent_ends_its_early_reads(world: World, baselines: Baselines, sequence: Sequence) -> None:
    agent = await world.agent()
    baselines.go_on.clear()
    work = await sequence.prepare()
    await sequence.notice(work)
    await until(lambda: len(baselines.begun) == 1)
    await agent.stop()
    await until(lambda: baselines.ended == [1])
