"""A local agent with a faulty plugin: `python -m tests.agent_local.faulty_agent`. The `path` of its `test_count` names
the fault.
"""

import asyncio
import ctypes
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from writ_agent.backends.coroutine import CoroutineHandler
from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult
from writ_agent.service import metrics, serve
from writ_agent_local.backend import LocalBackend
from writ_agent_local.config import LocalAgentConfig
from writ_runtime.service import run, running
from writ_testing.plugin.handlers import HANDLERS

DONE = TaskResult(outcome="succeeded", output={"lines": 1}, effect="done")


class EndOfProgram(BaseException):
    """Raised like the exceptions with which some libraries pass every `except Exception`."""


async def leave(task: Task, progress: Progress) -> TaskResult:
    sys.exit(2)  # as argparse does


async def leave_in_thread(task: Task, progress: Progress) -> TaskResult:
    await asyncio.to_thread(sys.exit, 2)


async def interrupt(task: Task, progress: Progress) -> TaskResult:
    raise KeyboardInterrupt


async def end_program(task: Task, progress: Progress) -> TaskResult:
    raise EndOfProgram("nothing catches this")


async def read(task: Task, progress: Progress) -> TaskResult:
    return DONE


async def wait_in_thread(task: Task, progress: Progress) -> TaskResult:
    progress("waits in a thread")
    await asyncio.to_thread(threading.Event().wait)
    return DONE


async def block(task: Task, progress: Progress) -> TaskResult:
    threading.Event().wait()
    return DONE


async def crash(task: Task, progress: Progress) -> TaskResult:
    ctypes.string_at(0)
    return DONE


FAULTS: dict[str, Callable[[Task, Progress], Awaitable[TaskResult]]] = {
    one.__name__: one for one in (leave, leave_in_thread, interrupt, end_program, read, wait_in_thread, block, crash)
}


class FaultyHandler(CoroutineHandler):
    """The handler of `test_count`. With `read` its reads end the program, and its run does not."""

    def __init__(self) -> None:
        super().__init__(lambda task, progress: FAULTS[_fault(task)](task, progress))

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Return a state."""
        if _fault(task) == "read":
            sys.exit(2)
        return {"lines": 0}

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Return that nobody can tell."""
        return ProbeResult(verdict="unknown")


def _fault(task: Task) -> str:
    return str(task.parameters["path"])


async def main(config: LocalAgentConfig) -> None:
    """Run the agent."""
    async with running("agent-local", config, metrics()) as process:
        host = LocalBackend(config.own(), config.state_dir / "hostops")
        await serve(process, config, host, {**HANDLERS, "test_count": FaultyHandler()})


if __name__ == "__main__":
    run("agent-local", LocalAgentConfig, main)
