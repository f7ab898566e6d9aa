"""The analysis process: started on demand, one job at a time, killed if a job takes too long.

It is a process because its work holds the interpreter lock: a thread would delay decisions as much as the event loop
would. It may have a lower priority than the service, and ends after a minute without work.
"""

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from writ_contracts.errors import Full, Invalid, WritError
from writ_policy.analysis_process.frames import framed, next_frame
from writ_policy.analysis_process.jobs import CPU_SECONDS, Job, JobResult, less_of
from writ_runtime import subprocess_env
from writ_runtime.logs import Log

Answer = TypeVar("Answer", bound=Struct)
SECONDS = 30.0
"""Time limit of a query."""
CHECK_SECONDS = 60.0
"""Time limit of a proposal, which somebody waits for, and of a search for missing names: on a busy machine they take
several times their processor time, and that has the limit CPU_SECONDS.
"""
IDLE_SECONDS = 60.0
DIES_WITHIN = 1.0
"""Seconds from the end of a process's output to its exit status."""
MOST_WAITING = 8
NICE = 10
_DIED = "try again, and if it lacked memory, "
_COMMAND = subprocess_env.command("writ_policy.analysis_process")

_log = Log("writ.policy")


class AnalysisPool:
    """Runs jobs in the analysis process. `work` carries out a job; `close` ends the process."""

    def __init__(self, *, seconds: float = SECONDS, nice: int = NICE) -> None:
        """Run jobs of at most so many seconds. `nice`: by how much the priority is lower than that of decisions."""
        self._seconds = seconds
        self._command = *_COMMAND, str(nice)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def work(self, job: Job, kind: type[Answer]) -> Answer:
        """Return the reply. Raises errors as `result` does."""
        return (await self.result(job, kind))[0]

    async def result(self, job: Job, kind: type[Answer]) -> tuple[Answer, bytes]:
        """Return the reply, and the prepared policy beside it, if there is one.

        Raises Invalid for a wrong or too slow query, Full if too many wait, WritError if the process dies or sends
        something else.
        """
        if self._waiting >= MOST_WAITING:
            raise Full("too many analysis queries are waiting: try again later", code="rate_limited")
        self._waiting += 1
        try:
            async with self._turn:
                done = await self._result_of(job)
                if done.code:
                    raise Invalid(done.message, code=done.code)
                return await self._decoded(done.answer, kind, job), done.prepared
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if process.stdout is not None:  # `wait` returns before the pipes are closed
                with suppress(TimeoutError, RuntimeError):  # a job that is under way reads to the end itself
                    async with asyncio.timeout(DIES_WITHIN):
                        await process.stdout.read()

    async def _result_of(self, job: Job) -> JobResult:
        if self._idle is not None:
            self._idle.cancel()
        seconds = CHECK_SECONDS if job.kind == "names" else self._seconds  # it parses the same document as a check
        try:
            async with asyncio.timeout(seconds):
                frame = await self._frame_of(msgspec.json.encode(job))
        except TimeoutError:
            await self.close()
            raise _too_much(f"{seconds:g} s", job) from None
        except BaseException:
            await self.close()  # the caller has given up, and the next one must not get this reply
            raise
        if frame is None:
            if self._process is None:
                raise WritError("the service stops")
            status = await self._status_of_the_dead()
            if status == -signal.SIGPROF:
                raise _too_much(f"{CPU_SECONDS:g} s of processor time", job)
            _log.error("policy.analysis_died", status=status, kind=job.kind)
            how = f" by signal {-status}" if status is not None and status < 0 else ""
            raise WritError(f"the process that analyses policies died{how}: {_DIED}{less_of(job.kind)}")
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._stop_when_idle)
        return await self._decoded(frame, JobResult, job)

    async def _decoded(self, data: bytes | Raw, kind: type[Answer], job: Job) -> Answer:
        """Return what the process wrote. Ends the process where it is something else, since all that follows would be
        out of step: a plugin wrote to the pipe, or an upgrade replaced the code of the process.
        """
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            await self.close()
            _log.error("policy.analysis_unreadable", kind=job.kind, error=str(error)[:300])
            raise WritError("the process that analyses policies sent something unreadable: try again") from error

    async def _status_of_the_dead(self) -> int | None:
        """Return the exit status of the process whose output has ended."""
        process = self._process
        if process is not None:
            with suppress(TimeoutError):  # before `close`: Popen.kill takes the status of a dead one away from asyncio
                async with asyncio.timeout(DIES_WITHIN):
                    await process.wait()
        await self.close()
        return None if process is None else process.returncode

    async def _frame_of(self, job: bytes) -> bytes | None:
        process = await self._running()
        if process.stdin is None or process.stdout is None:
            return None
        try:
            process.stdin.write(framed(job))
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return None
        return await next_frame(process.stdout)

    async def _running(self) -> Process:
        process = self._process
        if process is not None and process.stdin is not None and process.stdin.is_closing():
            await process.wait()
        if process is None or process.returncode is not None:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=PIPE, stdout=PIPE, env=subprocess_env.environment()
                )
            except OSError as error:
                _log.error("policy.analysis_not_started", error=str(error))
                why = f"the process that analyses policies cannot be started: {error.strerror}"
                raise WritError(why) from error
            self._process = process
        return process

    def _stop_when_idle(self) -> None:
        """End the idle process by closing its input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def _too_much(time: str, job: Job) -> Invalid:
    return Invalid(f"it takes longer than {time}: {less_of(job.kind)}", code="too_much")
