"""A container that is paused or stopped during its backup, and resumed afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from writ_containers.containers import container_view
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.late_effects import CERTAIN_AFTER, PAUSE, observe_late
from writ_containers.engine.whole_requests import answered
from writ_contracts.errors import TimedOut, WritError

Raw = Mapping[str, Any]
NOT_RESUMED = "not_resumed"


@asynccontextmanager
async def quiet(engine: Engine, raw: Raw, how: str) -> AsyncIterator[None]:
    """Pause or stop the container within the block, and resume it afterwards, also after an exception."""
    container_id, seconds = str(raw["Id"]), container_view.stop_seconds(raw)
    if how == "none" or raw.get("State", {}).get("Status") != "running":
        yield
        return
    is_open = True  # it may be sent, and the engine may go on with it

    async def begin() -> None:
        nonlocal is_open
        try:
            await (engine.pause(container_id) if how == "pause" else engine.stop(container_id, seconds))
        except WritError as error:
            is_open = error.code in LOST
            raise
        is_open = False

    try:
        await (answered(begin()) if how == "pause" else begin())
        yield
    finally:
        await asyncio.shield(_resume(engine, container_id, how, is_open))


async def _resume(engine: Engine, container_id: str, how: str, is_open: bool) -> None:
    """Resume the container. Repeats the calls while the engine restarts. Raises WritError.

    A stop that nobody waits for any more goes on, and a start before its end does nothing: so it is ended first. A
    pause without a reply may come later, and is waited for.
    """
    until = time.monotonic() + (2 if is_open else 1) * CERTAIN_AFTER
    while True:
        try:
            if how == "stop":
                if is_open:
                    await engine.stop(container_id, 0)
                await engine.start(container_id)
            elif await _is_paused(engine, container_id, CERTAIN_AFTER if is_open else 0.0, until):
                is_open = False
                await engine.unpause(container_id)
            return
        except WritError as error:
            if time.monotonic() > until:
                message = f"the container is still in its state during the backup ({how}): {error}"
                raise WritError(message, code=NOT_RESUMED) from error
        await asyncio.sleep(PAUSE)


async def _is_paused(engine: Engine, container_id: str, seconds: float, until: float) -> bool:
    """Return whether it is paused, or becomes so while the engine answers for these seconds. Raises WritError."""

    async def status() -> str:
        return str((await engine.inspect(container_id)).get("State", {}).get("Status"))

    found = await observe_late(status, lambda seen: seen == "paused", seconds, until)
    if not found.is_certain:
        raise TimedOut("the engine does not reply", code="connection_lost")
    return found.seen == "paused"


async def still_quiet(engine: Engine, name: str, how: str) -> str:
    """Return a remark on a container that a killed agent has left paused or stopped; empty for one that runs."""
    raw = await engine.find_or_none(name)
    state = "" if raw is None else str(raw.get("State", {}).get("Status", ""))
    if state == "paused":
        return f"; the container is paused: docker unpause {name}"
    stopped = state == "exited" and how == "stop"
    return f"; the container is stopped: docker start {name}" if stopped else ""
