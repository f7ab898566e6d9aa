"""One child process with hostops, for one request: started clean, fed, read, and ended with all its kin.

It leads a session of its own, dies with its agent, gets no environment but the mark of its operation, and no shell is
involved.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from writ_agent.backends.hostops_requests import redact
from writ_agent.backends.processes import end, marked_environ
from writ_bus import tasks
from writ_runtime.logs import Log

LONGEST_LINE = 16 * 1024 * 1024
MOST_STDERR = 8 * 1024
EXIT_SECONDS = 5.0
# With -I it reads no variable, such as the one that lets the agent itself keep no bytecode (writ_runtime.bytecode).
_COMMAND = (sys.executable, "-I", *(["-B"] if sys.dont_write_bytecode else []), "-m", "writ_hostops")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "WRIT_HOSTOPS_PDEATHSIG": "1",
}
_log = Log("writ.agent.hostops")


class HostChild:
    """One child. Call `run_request` once; `stop` may be called meanwhile."""

    def __init__(self, process: Process, operation_id: str) -> None:
        self._process = process
        self._operation_id = operation_id

    @classmethod
    async def start(cls, operation_id: str) -> "HostChild":
        """Raises OSError when the system has no process left to give."""
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd="/",
            env=marked_environ(operation_id, _ENVIRONMENT),
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        return cls(process, operation_id)

    async def run_request(
        self, request: Mapping[str, Any], progress: Callable[[str], None], secrets: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """Return the result; None if it ended without one. `secrets` are removed from the log of its stderr."""
        stderr = tasks.start(self._errors(secrets), "hostops stderr")
        try:
            await self._feed(msgspec.json.encode(request) + b"\n")
            return await self._read_result(progress)
        finally:
            await self._gone()
            await stderr

    async def stop(self, grace: float) -> bool:
        """Send SIGTERM, then SIGKILL, to the group and to processes that left it. Return whether all have
        certainly ended.
        """
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
        return await end(self._operation_id, 0.0)

    async def _feed(self, line: bytes) -> None:
        stdin = self._process.stdin
        if stdin is None:
            return
        try:
            stdin.write(line)
            await stdin.drain()
            stdin.close()
        except ConnectionError:
            return  # it has ended already; that it gave no result is what counts

    async def _read_result(self, progress: Callable[[str], None]) -> dict[str, Any] | None:
        stdout = self._process.stdout
        while stdout is not None and (line := await _line(stdout)):
            reply = _decoded(line)
            match reply.get("event"):
                case "progress":
                    progress(str(reply.get("message", "")))
                case "result":
                    return reply
                case _:
                    _log.error("hostops.unreadable", operation_id=self._operation_id, bytes=len(line))
        return None

    async def _gone(self) -> None:
        """Wait for the end of the child, so nothing of it is left when the operation has ended."""
        try:
            async with asyncio.timeout(EXIT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            _log.error("hostops.did_not_exit", operation_id=self._operation_id)
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def _errors(self, secrets: Collection[str]) -> None:
        stderr = self._process.stderr
        kept = b""
        while stderr is not None and (piece := await stderr.read(4096)):
            kept += piece[: MOST_STDERR - len(kept)]
        if kept:
            text = redact(kept.decode(errors="replace"), secrets)
            _log.warning("hostops.stderr", operation_id=self._operation_id, text=text)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # the whole group has ended


async def _line(stdout: asyncio.StreamReader) -> bytes:
    try:
        return await stdout.readline()
    except ValueError:  # longer than the limit
        return b"{}\n"


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
