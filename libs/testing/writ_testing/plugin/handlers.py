"""The handlers of the test operations, for any agent. Their effects are on disk and in the process table."""

import asyncio
import hashlib
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from writ_agent.backends.coroutine import CoroutineHandler
from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult
from writ_agent.backends.processes import marked_environ
from writ_contracts.errors import Denied, Invalid
from writ_testing.plugin.operations import Count, Fail, Keep, Sleep

_STUBBORN = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "time.sleep({seconds})\n"
)
_PLAIN = "import subprocess, sys\nsubprocess.run(['sleep', '{seconds}'])\n"
AT_WORK = "waiting"
"""Progress of `test_count` before its effect. A client also reports as progress why an operation has not started."""


async def noop(task: Task, progress: Progress) -> TaskResult:
    return TaskResult(outcome="succeeded")


async def sleep(task: Task, progress: Progress) -> TaskResult:
    """Carry out test_sleep: start the requested processes, each with a child of its own."""
    arguments: Sleep = task.arguments(Sleep)
    script = (_STUBBORN if arguments.stubborn else _PLAIN).format(seconds=arguments.seconds)
    started = [await _start(script, task.operation_id) for _ in range(arguments.processes)]
    progress(f"{arguments.processes} processes sleep")
    try:
        await asyncio.sleep(arguments.seconds)
    finally:
        for process in started:  # the canceller ends them
            await process.wait()
    return TaskResult(outcome="succeeded", effect="done")


async def _start(script: str, operation_id: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        env=marked_environ(operation_id),
        start_new_session=True,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )


async def keep(task: Task, progress: Progress) -> TaskResult:
    arguments: Keep = task.arguments(Keep)
    digest = hashlib.sha256(arguments.secret.encode()).hexdigest()
    return TaskResult(outcome="succeeded", output={"digest": digest, "echo": arguments.secret}, effect="done")


async def fail(task: Task, progress: Progress) -> TaskResult:
    arguments: Fail = task.arguments(Fail)
    match arguments.how:
        case "refused":
            raise Denied("refused as asked for", code="permission_denied")
        case "defect":
            raise RuntimeError("a defect, as asked for")
        case "unknown":
            return TaskResult(outcome="unknown", code="lost", message="nobody can tell, as asked for", effect="maybe")


async def count(task: Task, progress: Progress) -> TaskResult:
    arguments: Count = task.arguments(Count)
    path = counting_file(task)
    progress(AT_WORK)
    try:
        await asyncio.sleep(arguments.delay)
    except asyncio.CancelledError:
        return TaskResult(outcome="cancelled", code="cancelled", message="before it counted")
    lines = append(path, task.operation_id)
    return TaskResult(outcome="succeeded", output={"lines": lines}, state={"lines": lines}, effect="done")


class CountHandler(CoroutineHandler):
    """The handler of test_count, with its reads."""

    def __init__(self) -> None:
        super().__init__(count)

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Return the present number of lines."""
        return {"lines": len(counted(counting_file(task)))}

    async def preview(self, task: Task) -> dict[str, Any]:
        """Return the expected number of lines."""
        return {"lines": len(counted(counting_file(task))) + 1}

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Report success if this operation's id is among the lines."""
        lines = counted(counting_file(task))
        return ProbeResult(
            verdict="took_effect" if task.operation_id in lines else "no_effect", observed={"lines": len(lines)}
        )


def counting_file(task: Task) -> Path:
    """Return the file of a test_count: beneath the target's `count_dir`, or anywhere without one."""
    named = Path(str(task.parameters["path"]))
    folder = task.target.attributes.get("count_dir")
    path = named if folder is None else Path(str(folder)) / named
    if not path.is_absolute() or ".." in path.parts or (folder is not None and Path(str(folder)) not in path.parents):
        raise Invalid("the path is not beneath the target's count_dir", code="outside_roots")
    return path


def append(path: Path, operation_id: str) -> int:
    """Append the id as a line, on disk. Return the number of lines."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{operation_id}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return len(counted(path))


def counted(path: Path) -> list[str]:
    """Return the counted ids."""
    return path.read_text().splitlines() if path.exists() else []


HANDLERS: Mapping[str, CoroutineHandler] = {
    "test_noop": CoroutineHandler(noop),
    "test_count": CountHandler(),
    "test_sleep": CoroutineHandler(sleep),
    "test_secret": CoroutineHandler(keep),
    "test_fail": CoroutineHandler(fail),
}
