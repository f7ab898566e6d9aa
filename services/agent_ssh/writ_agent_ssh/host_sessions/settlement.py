"""The fate of an operation whose connection broke: reconnect, read the host's marks, and if they are not conclusive,
probe.

The question settles it: an operation not begun by then cannot begin later. The outcome is `unknown` if the host does
not know it either.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from writ_agent.backends.hostops_requests import done_of
from writ_agent.backends.port import ProbeResult, Task, TaskResult
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.host_sessions.session import HostSession
from writ_contracts.errors import Unreachable, WritError

POLL = 0.25
RECONNECT_SECONDS = 3.0
SILENT_SECONDS = 3.0
"""Seconds for which a stop waits for an unreachable host."""
Probe = Callable[[], Awaitable[ProbeResult | None]]


async def _no_probe() -> None:
    """Do not probe: an executor will request a probe with the baseline."""


class Settlement:
    """The settlement of one operation. Call `wait` once; `end` may be called by anyone."""

    def __init__(self, pool: Pool, task: Task, boot_id: str = "", *, end: bool = False) -> None:
        """`boot_id`: of the host when the operation was sent, if known."""
        self._pool, self._task, self._boot_id = pool, task, boot_id
        self._grace: float | None = 0.0 if end else None
        self._hurry = asyncio.Event()
        self._in_touch = False
        self._certain: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def wait(self, until: float, probe: Probe, replied: Callable[[], None]) -> TaskResult:
        """Return the outcome, at the latest at `until` (monotonic) or after `end`. Until then query the host
        repeatedly; `replied` is called with each reply.
        """
        done = await self._settled(until, probe, replied)
        if not self._certain.done():
            self._certain.set_result(done.over)
        return done

    async def outcome_now(self) -> TaskResult:
        """Return the outcome that the host has now. Raises WritError if it cannot be queried."""
        session = await self._responding_session()
        reply = await session.settle(self._task.operation_id, self._task.attempt, end=False)
        return await self._outcome_of(reply, session, _no_probe)

    async def end(self, grace: float) -> bool:
        """End the operation on the host. Return whether nothing of it certainly runs. TimeoutError: the host is
        silent.
        """
        self._grace = grace
        self._hurry.set()
        async with asyncio.timeout(None if self._in_touch else SILENT_SECONDS):
            return await asyncio.shield(self._certain)

    async def _settled(self, until: float, probe: Probe, replied: Callable[[], None]) -> TaskResult:
        reason = "the connection broke while it ran"
        while True:
            try:
                self._in_touch = False
                session = await self._responding_session()
                self._in_touch = True
                replied()
                grace = self._grace
                reply = await session.settle(
                    self._task.operation_id, self._task.attempt, end=grace is not None, grace=grace or 0.0
                )
                if reply.get("seen") != "running" or grace is not None:
                    return await self._outcome_of(reply, session, probe)
            except Unreachable as error:
                reason = f"the connection broke while it ran; since then: {error}"
            except WritError as error:
                return self._unknown(f"the connection broke while it ran; since then: {error}", over=False)
            if time.monotonic() >= until:
                return self._unknown(reason, over=False)
            await self._pause()

    async def _responding_session(self) -> HostSession:
        """Return a session on which the host replies. Raises WritError."""
        session = await self._pool.session(
            self._task.target, self._task.operation.name, patience=RECONNECT_SECONDS, eager=True
        )
        try:
            await session.answers()
        except TimeoutError:
            self._pool.drop(self._task.target)
            raise Unreachable("the host does not reply", code="unreachable") from None
        return session

    async def _outcome_of(self, reply: dict[str, Any], session: HostSession, probe: Probe) -> TaskResult:
        certain = bool(reply.get("certain", False))
        match reply.get("seen"):
            case "never":
                message = "nothing was run: the connection broke before it reached the host"
                return TaskResult(outcome="failed", code="connection_lost", message=message)
            case "ended":
                return done_of(self._task, reply.get("result"), over=certain)
            case "running":
                return self._unknown("it still runs on the host", over=False, code="still_running")
            case "lost":
                return await self._probed(reply, session, probe, certain)
            case _:
                return self._unknown(f"the host has no result: {reply.get('message', '')}", over=certain)

    async def _probed(self, reply: dict[str, Any], session: HostSession, probe: Probe, certain: bool) -> TaskResult:
        """Return the outcome of an operation that began, whose process ended without a result."""
        rebooted = bool(reply.get("rebooted")) or bool(self._boot_id and session.boot_id != self._boot_id)
        code, why = (
            ("host_rebooted", "the host was rebooted") if rebooted else ("connection_lost", "its end was not observed")
        )
        try:
            probed = await probe()
        except WritError:
            probed = None
        if probed is not None and probed.verdict == "took_effect":
            return TaskResult(outcome="succeeded", state=probed.observed, effect="done", over=certain)
        if probed is not None and probed.verdict == "no_effect" and certain:
            message = f"the connection broke and {why}; it did not take effect"
            return TaskResult(outcome="failed", code=code, message=message, state=probed.observed)
        return self._unknown(f"the connection broke, and {why} while it ran", over=certain, code=code)

    def _unknown(self, message: str, *, over: bool, code: str = "connection_lost") -> TaskResult:
        return TaskResult(outcome="unknown", code=code, message=message[:500], effect="maybe", over=over)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL):
                await self._hurry.wait()
        except TimeoutError:
            return
        self._hurry.clear()
