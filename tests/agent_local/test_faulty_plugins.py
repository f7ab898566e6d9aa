"""Handlers of plugins that end the program, never end, or block, in real agents: the agent goes on, and the outcome of
their operation is true.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent_local.conftest import Installation

from writ_contracts.agents import Receipt
from writ_testing.installations.agent_processes import AgentProcess, agent_installation

MANY = 40
"""More operations than asyncio has threads for `to_thread` on any machine (32)."""


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[Installation]:
    async with agent_installation(tmp_path, "tests.agent_local.faulty_agent", ("local-a",)) as installation:
        yield Installation(installation)


async def begin(faulty: Installation, fault: str, **more: Any) -> str:
    """Start an operation with this fault. Return its id."""
    return await faulty.executor.dispatch("test_count", faulty.target(), path=fault, **more)


async def ended(faulty: Installation, fault: str) -> Receipt:
    return await faulty.executor.ended(await begin(faulty, fault))


async def serves(faulty: Installation, agent: AgentProcess) -> bool:
    """Return whether the same process of the agent still reads and changes its host."""
    path = str(faulty.folder / "root" / "written")
    written = await faulty.executor.dispatch("file_write", faulty.target(), file_path=path, content="x")
    noop = await faulty.executor.dispatch("test_noop", faulty.target())
    outcomes = {(await faulty.executor.ended(one)).outcome for one in (written, noop)}
    return outcomes == {"succeeded"} and agent.process.returncode is None


def logged(agent: AgentProcess, event: str) -> list[dict[str, Any]]:
    """Return the lines of the agent's log with this event."""
    return [line for line in map(json.loads, agent.log.splitlines()) if line["event"] == event]


@pytest.mark.parametrize("fault", ["leave", "leave_in_thread", "interrupt", "end_program"])
async def test_handler_that_ends_the_program_leaves_the_agent_running(faulty: Installation, fault: str) -> None:
    agent = await faulty.agent()
    receipt = await ended(faulty, fault)
    assert (receipt.outcome, receipt.code, receipt.effect, receipt.over) == ("unknown", "internal", "maybe", True)
    assert await serves(faulty, agent)
    assert await agent.stop() == 0


async def test_baseline_that_ends_the_program_leaves_the_agent_running(faulty: Installation) -> None:
    agent = await faulty.agent()
    assert (await ended(faulty, "read")).outcome == "succeeded"
    assert await serves(faulty, agent)


async def test_threads_that_never_end_are_reported_and_hold_up_neither_others_nor_the_stop(
    faulty: Installation,
) -> None:
    agent = await faulty.agent(WRIT_SLOTS=str(MANY))
    begun = [await begin(faulty, "wait_in_thread", timeout=2) for _ in range(MANY)]
    for operation_id in begun:
        receipt = await faulty.executor.ended(operation_id)
        assert (receipt.outcome, receipt.code, receipt.effect, receipt.over) == ("unknown", "timeout", "maybe", False)
        assert "threads of it still run (1)" in receipt.message
    assert await serves(faulty, agent)
    assert await agent.stop() == 1
    [line] = logged(agent, "service.exit_forced")
    assert sum(name.startswith("agent") for name in line["threads"]) >= MANY


async def test_cancel_of_an_operation_in_a_thread_is_not_confirmed(faulty: Installation) -> None:
    await faulty.agent()
    operation_id = await begin(faulty, "wait_in_thread")
    await faulty.executor.until(lambda: bool(faulty.executor.progress))
    assert (await faulty.executor.cancel(operation_id)).result == "not_confirmed"
    receipt = await faulty.executor.ended(operation_id)
    assert (receipt.outcome, receipt.over) == ("unknown", False)


@pytest.mark.parametrize(("fault", "status"), [("block", 1), ("crash", -11)])
async def test_agent_that_a_handler_blocks_or_crashes_ends_and_its_next_start_reports_the_operation(
    faulty: Installation, fault: str, status: int
) -> None:
    agent = await faulty.agent(WRIT_STALL="2")
    operation_id = await begin(faulty, fault)
    assert await agent.ended() == status
    assert [("in block" in line["stack"]) for line in logged(agent, "service.held_up")] == [True] * (fault == "block")
    again = await faulty.agent()
    receipt = await faulty.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("unknown", "agent_restarted", "maybe")
    assert await serves(faulty, again)
