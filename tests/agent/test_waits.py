"""What an operation waits for is reported while it lasts: a host, a grant, a place on a target, a lock."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import READ, TARGET, Reader, World, held, until

from writ_agent.backends.port import Task, TaskResult
from writ_agent.reporting import progress
from writ_contracts import agents
from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_testing.fakes.scripted_executor import DispatchedOperation

REAL_LATE_SECONDS = progress.LATE_SECONDS
LOCK = "waits for the lock of the package system"


@pytest.fixture(autouse=True)
def impatient_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report and repeat waits sooner."""
    monkeypatch.setattr(progress, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    monkeypatch.setattr(progress, "REPEAT_SECONDS", 0.1)


class Steps:
    """An operation that reports what a test gives it, until it gets None."""

    def __init__(self, world: World, operation: str = "test_count") -> None:
        self.given: asyncio.Queue[str | tuple[str, str] | None] = asyncio.Queue()
        world.backend.scripts[operation] = self._run

    async def _run(self, task: Task, report: Any) -> TaskResult:
        while (step := await self.given.get()) is not None:
            if isinstance(step, str):
                report(step)
            else:
                report.report_silence(*step)
        return TaskResult(outcome="succeeded", effect="none" if task.operation.read_only else "done")


def ends(noted: list[agents.Progress]) -> int:
    """Count the notes to executors that an operation no longer waits."""
    return sum(not one.is_wait for one in noted)


async def test_wait_is_repeated_to_executors_alone_until_the_operation_goes_on(world: World) -> None:
    steps, executor = Steps(world), world.executor
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    steps.given.put_nowait(LOCK)
    await until(lambda: len(executor.noted) >= 3)
    assert [one.message for one in executor.progress] == [LOCK]
    assert {(one.operation_id, one.principal, one.message) for one in executor.noted} == {(operation_id, "alice", LOCK)}
    steps.given.put_nowait("unpacks nginx")
    await until(lambda: executor.progress[-1].message == "unpacks nginx")
    steps.given.put_nowait(None)
    await executor.ended(operation_id)
    assert ends(executor.noted) == 0  # the message has ended the wait


async def test_wait_that_lasts_to_the_end_of_its_operation_ends_with_it(world: World) -> None:
    steps, executor = Steps(world), world.executor
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    steps.given.put_nowait(("host-1", "host-1 has not replied for more than 3 s"))
    await until(lambda: bool(executor.silences))
    steps.given.put_nowait(None)
    await executor.ended(operation_id)
    await until(lambda: ends(executor.noted) == 1)
    assert (executor.noted[-1].message, executor.noted[-1].silent) == ("", "")


async def test_message_equal_to_the_latest_one_is_sent_once(world: World) -> None:
    """A wait for a lock is reported at each try to take it."""
    steps, executor = Steps(world), world.executor
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    for _ in range(5):
        steps.given.put_nowait(LOCK)
        count = len(executor.noted)
        await until(lambda count=count: len(executor.noted) > count)  # type: ignore[misc]
    steps.given.put_nowait(None)
    await executor.ended(operation_id)
    assert [one.message for one in executor.progress] == [LOCK]


async def test_end_of_a_late_read_before_the_claim_is_noted(world: World) -> None:
    go_on, answered, executor = asyncio.Event(), held(world), world.executor

    async def slow(task: Task) -> dict[str, object]:
        await go_on.wait()
        return {}

    world.backend.baseline = slow  # type: ignore[method-assign]
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    await until(lambda: bool(executor.silences) and len(executor.noted) >= 2)
    assert {one.silent for one in executor.noted} == {TARGET.id}
    go_on.set()
    await until(lambda: ends(executor.noted) == 1)
    answered.set()
    await executor.ended(operation_id)


async def test_operation_without_a_grant_says_why_until_it_gets_one(world: World) -> None:
    grant, executor, refusing = world.executor.answering, world.executor, True

    async def refuse(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        if refusing:
            return ClaimReply(error=Failure(code="timeout", message="policy does not reply", retry=True))
        return await grant(dispatched, claim, signed)

    executor.answering = refuse
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    await until(lambda: bool(executor.progress) and bool(executor.noted))
    assert [one.message for one in executor.progress] == ["waits for its grant: policy does not reply"]
    refusing = False
    await executor.ended(operation_id)
    await until(lambda: ends(executor.noted) == 1)


async def test_operation_that_is_declined_at_once_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its claim is given up before a late reply is reported. The next one is of another delivery."""
    monkeypatch.setattr(progress, "LATE_SECONDS", REAL_LATE_SECONDS)
    executor = world.executor

    async def behind(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        return ClaimReply(error=Failure(code="behind", message="policy is behind", retry=True))

    executor.answering = behind
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    await until(lambda: bool(executor.noted))
    said = executor.noted[0]
    assert (said.operation_id, said.message) == (operation_id, "waits for its grant: policy is behind")
    assert ends(executor.noted) == 0


@pytest.mark.usefixtures("impatient")
async def test_operation_whose_claim_was_given_up_still_waits_for_its_grant(world: World) -> None:
    executor = world.executor

    async def behind(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        return ClaimReply(error=Failure(code="behind", message="policy is behind", retry=True))

    executor.answering = behind
    await world.agent()
    operation_id = await executor.dispatch("test_count", TARGET, path="/x")
    claims = executor.operations[operation_id].claims
    await until(lambda: bool(claims) and claims[-1] != claims[0])  # another one, of the next delivery
    assert {one.message for one in executor.progress} == {"waits for its grant: policy is behind"}
    assert ends(executor.noted) == 0


async def test_operation_that_finds_no_place_on_a_slow_target_says_so(world: World) -> None:
    go_on, executor = world.held("test_noop"), world.executor
    await world.agent(slots=2, waiting=8)
    first = await executor.dispatch("test_noop", TARGET)

    def is_detached() -> bool:
        beat = executor.heartbeats[-1] if executor.heartbeats else None
        return beat is not None and beat.running == [first] and beat.free_slots == 2

    await until(is_detached)
    second = await executor.dispatch("test_noop", TARGET)
    await until(lambda: bool(executor.noted))
    text = f"waits for {TARGET.id}: as many run there as may at once (1)"
    assert {(one.operation_id, one.message, one.claimed) for one in executor.noted} == {(second, text, False)}
    assert executor.progress == []
    go_on.set()
    await executor.ended(second)


async def test_silence_of_a_host_in_an_early_read_is_reported_once_the_operation_is_granted(
    world: World, reader: Reader
) -> None:
    steps, executor, answered = Steps(world, READ), world.executor, held(world)
    await world.agent()
    operation_id = await executor.dispatch(READ, TARGET)
    await until(lambda: bool(executor.operations[operation_id].claims))
    steps.given.put_nowait(("host-1", "before the grant"))
    await until(steps.given.empty)
    answered.set()

    def is_reported() -> bool:
        steps.given.put_nowait(("host-1", "host-1 has not replied for more than 3 s"))
        return bool(executor.silences)

    await until(is_reported)
    assert [one.message for one in executor.silences] == ["host-1 has not replied for more than 3 s"]
    steps.given.put_nowait(None)
    await executor.ended(operation_id)


def test_only_what_waits_is_a_wait() -> None:
    made: Any = structs.replace
    said = agents.Progress(operation_id="a" * 26, principal="alice", message="unpacks nginx")
    assert [made(said, message=LOCK).is_wait, made(said, silent="host-1").is_wait, said.is_wait] == [True, True, False]
