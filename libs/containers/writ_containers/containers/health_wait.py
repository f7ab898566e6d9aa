"""Waiting for started containers: until they are healthy or, without a health check, have run for a moment."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from writ_containers.containers.container_view import health, is_running
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_contracts.errors import WritError

Raw = Mapping[str, Any]
LOG_LINES = 20
SETTLING = 0.4
"""Seconds in which a container without a health check must not end with an error."""
UNREAD = LOST | {"engine_failed", "unreachable"}
"""Codes of reads that may succeed later: the engine was busy, or restarts."""
REPEAT = 0.3
POLL = 0.1
SLOWEST_POLL = 1.0


class HealthResult(NamedTuple):
    """The container as last inspected; `code` and `message` are empty where all is well."""

    raw: Raw
    code: str = ""
    message: str = ""


class SteadyStarts:
    """The time for which the same containers were found with the same starts. A restart by the engine resets it: a
    program that ends at once and is started again each time is running at most inspections.
    """

    def __init__(self) -> None:
        self._starts: list[tuple[str, str]] | None = None
        self._since = 0.0

    def seconds(self, containers: Iterable[Raw]) -> float:
        """Return the seconds since the first inspection of these starts; 0 at that one."""
        starts = sorted((str(raw.get("Id")), str(raw.get("State", {}).get("StartedAt"))) for raw in containers)
        if starts != self._starts:
            self._starts, self._since = starts, time.monotonic()
        return time.monotonic() - self._since


async def inspected(engine: Engine, container_id: str, until: float) -> Raw:
    """Return the container after a change that the engine has made. A read that fails is repeated until `until`
    (monotonic seconds): it says nothing of the change. Raises WritError.
    """
    while True:
        try:
            return await engine.inspect(container_id)
        except WritError as error:
            if error.code not in UNREAD or time.monotonic() + REPEAT > until:
                raise
        await asyncio.sleep(REPEAT)


async def settled(engine: Engine, container_id: str, until: float, progress: Callable[[str], None]) -> HealthResult:
    """Return how it goes at `until` (monotonic seconds) at the latest. Raises WritError."""
    starts, pause = SteadyStarts(), POLL
    while True:
        raw = await inspected(engine, container_id, until)
        left = until - time.monotonic()
        if (end := _judged(raw, starts.seconds([raw]))) is not None:
            return end
        if left <= 0:
            return _out_of_time(raw)
        progress(f"waits for its health check ({health(raw)})" if health(raw) else "waits to see that it stays up")
        await asyncio.sleep(min(pause, max(left, 0.0)))
        pause = min(pause * 1.5, SLOWEST_POLL)


def _judged(raw: Raw, seconds: float) -> HealthResult | None:
    """Return the result; None while it is too early to say."""
    if not is_running(raw):
        code = raw.get("State", {}).get("ExitCode")
        return HealthResult(raw, "container_exited", f"it ended with exit code {code}") if code else HealthResult(raw)
    if raw.get("State", {}).get("Restarting"):
        return HealthResult(raw, "container_exited", "it ended, and the engine restarts it repeatedly")
    match health(raw):
        case "":
            return HealthResult(raw) if seconds >= SETTLING else None
        case "healthy":
            return HealthResult(raw)
        case "unhealthy":
            return HealthResult(raw, "not_healthy", "its health check fails")
        case _:
            return None


def _out_of_time(raw: Raw) -> HealthResult:
    if health(raw):
        return HealthResult(raw, "not_healthy", f"its health check says {health(raw)} when time is over")
    return HealthResult(raw, "container_exited", f"it did not run for {SETTLING:g} s without a restart in time")


async def last_lines(engine: Engine, container_id: str) -> str:
    """Return the end of the container's log; empty if unreadable, as with a log driver without reads."""
    try:
        return await engine.logs(container_id, LOG_LINES)
    except WritError:
        return ""
