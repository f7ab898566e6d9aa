"""Put another container in the place of one, and take it back where the new one is not well.

The new one is created first, under a name of its own, so a missing image or a wrong setting stops nothing. The former
one is stopped, renamed and kept until the new one is healthy. Names and the label of the operation tell at any time how
far it came: after a crash no step has to be remembered. An engine that restarts midway is waited for within the
operation's time, and every step of the way back can be repeated.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from msgspec.structs import replace

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_containers.containers import container_view
from writ_containers.containers.created_container import create_container, labelled, where_to_look
from writ_containers.containers.health_wait import HealthResult, inspected, last_lines, settled
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.late_effects import CERTAIN_AFTER, observe_late
from writ_containers.engine.whole_requests import answered, completed
from writ_contracts.errors import Conflict, Invalid, WritError

Raw = Mapping[str, Any]
ROLL_BACK_SECONDS = 5.0
"""Kept free for the way back, besides the time that the former container had to stop."""
CANCEL_SECONDS = 3.0
PAUSE = 0.3


class ReplacementNames(NamedTuple):
    """Temporary names. `new`: of the new container until it takes the name. `former`: of the former one meanwhile."""

    name: str
    new: str
    former: str


def names_for(name: str, operation_id: str) -> ReplacementNames:
    return ReplacementNames(name, f"{name}.new-{operation_id[-10:]}", f"{name}.former-{operation_id[-10:]}")


class FormerRequests:
    """The changes of the former container. `stops`, `renames`: this was sent, and the engine may go on with it."""

    def __init__(self) -> None:
        self.stops = self.renames = False

    async def stop(self, engine: Engine, container_id: str, seconds: int) -> None:
        """Stop the container. Raises WritError."""
        self.stops = True
        try:
            await engine.stop(container_id, seconds)
        except WritError as error:
            self.stops = error.code in LOST
            raise
        self.stops = False

    async def end_stop(self, engine: Engine, container_id: str) -> None:
        """End a stop that the engine may go on with, at once. Raises WritError."""
        if self.stops:
            await self.stop(engine, container_id, 0)

    async def rename(self, engine: Engine, container_id: str, name: str) -> None:
        """Give it another name. Raises WritError."""
        self.renames = True
        try:
            await engine.rename(container_id, name)
        except WritError as error:
            self.renames = error.code in LOST
            raise
        self.renames = False


async def replace_container(
    engine: Engine,
    task: Task,
    raw: Raw,
    body: Raw,
    progress: Progress,
    until: float,
    fill: Callable[[str], Awaitable[None]] | None = None,
) -> TaskResult:
    """Replace the container until `until`, in monotonic seconds. `fill` prepares the new one before the former one is
    stopped. Raises WritError if refused before any effect.
    """
    sent = FormerRequests()
    try:
        return await _replaced(engine, task, raw, body, progress, until, fill, sent)
    except asyncio.CancelledError:
        return await _cancelled(engine, task, raw, sent)


async def _replaced(
    engine: Engine,
    task: Task,
    raw: Raw,
    body: Raw,
    progress: Progress,
    until: float,
    fill: Callable[[str], Awaitable[None]] | None,
    sent: FormerRequests,
) -> TaskResult:
    names = names_for(str(raw["Name"]).removeprefix("/"), task.operation_id)
    container_id = await create_container(engine, names.new, body, task.operation_id)
    if container_id is None:
        message = f"the engine does not reply; {where_to_look(task.operation_id)}"
        return TaskResult(outcome="unknown", code="connection_lost", message=message, effect="maybe")
    ran, seconds = container_view.is_running(raw), container_view.stop_seconds(raw)
    try:
        if fill is not None:
            await fill(container_id)
        if ran:
            progress("stops the former container")
            await sent.stop(engine, str(raw["Id"]), min(seconds, max(1, int(task.timeout / 3))))
        await answered(sent.rename(engine, str(raw["Id"]), names.former))
        await answered(engine.rename(container_id, names.name))
        end = await _well(engine, container_id, ran, until - min(seconds, 10) - ROLL_BACK_SECONDS, progress)
    except WritError as error:
        return await _rolled_back(engine, task, raw, error.code, str(error), {}, until, sent)
    if end.code:
        output = {**container_view.state(end.raw), "log": await last_lines(engine, container_id)}
        return await _rolled_back(engine, task, raw, end.code, end.message, output, until, sent)
    return await _finished(engine, raw, names, end.raw)


async def roll_back(
    engine: Engine, name: str, former_id: str, ran: bool, operation_id: str, sent: FormerRequests
) -> bool:
    """Remove the operation's containers, and give the former one its name and state back. Return True once this is
    seen. Raises WritError; a repetition continues where it ended. A start does nothing while a stop goes on, which is
    ended before.
    """
    former = await engine.inspect(former_id)  # without it the new one is all there is
    for container_id in await labelled(engine, operation_id):
        engine.creating.discard(operation_id)
        with _gone_already():
            await engine.remove(container_id, force=True)
    if former.get("Name") != f"/{name}":
        sent.renames = False
        await engine.rename(former_id, name)
    if ran and (sent.stops or not container_view.is_running(former)):
        await sent.end_stop(engine, former_id)
        await engine.start(former_id)
    for volume in await engine.volumes({container_view.OPERATION_LABEL: operation_id}):
        with _gone_already():
            await engine.remove_volume(volume)
    container = await engine.find_or_none(name)
    if container is None or container.get("Id") != former_id or container_view.is_running(container) != ran:
        return False
    return operation_id not in engine.creating


@contextmanager
def _gone_already() -> Iterator[None]:
    """Let a removal pass whose reply is 404: the engine carried out an earlier one, whose reply was lost."""
    try:
        yield
    except Invalid as error:
        if error.code != "not_found":
            raise


async def _roll_back_until(
    engine: Engine, name: str, former_id: str, ran: bool, operation_id: str, until: float, sent: FormerRequests
) -> tuple[bool, str]:
    """Roll back, also over a restart of the engine. Return whether it is done, and otherwise the last error."""
    conflicts_until = min(until, time.monotonic() + CERTAIN_AFTER)
    while True:
        try:
            back = await roll_back(engine, name, former_id, ran, operation_id, sent)
            if not sent.renames:
                return back, ""
            if await _keeps_name(engine, name, former_id, until):
                sent.renames = False  # the former one may have ended during this wait: its state is read again
            elif time.monotonic() + PAUSE >= until:
                return False, "the engine may still rename it"
        except Invalid as error:  # the engine has answered, and would answer the same again
            return False, str(error)
        except WritError as error:
            # A conflict may come from a request of ours whose reply was lost, and which the engine still carries out.
            if time.monotonic() + PAUSE >= (conflicts_until if isinstance(error, Conflict) else until):
                return False, str(error)
        await asyncio.sleep(PAUSE)


async def _keeps_name(engine: Engine, name: str, former_id: str, until: float) -> bool:
    """Return whether a rename of the former container whose reply was lost certainly does not come any more."""

    async def has_another() -> bool:
        return (await engine.inspect(former_id)).get("Name") != f"/{name}"

    observed = await observe_late(has_another, bool, CERTAIN_AFTER, until)
    return observed.is_certain and not observed.seen


async def _well(engine: Engine, container_id: str, ran: bool, until: float, progress: Progress) -> HealthResult:
    """A container whose former one did not run is not started either."""
    if not ran:
        return HealthResult(await inspected(engine, container_id, until))
    await engine.start(container_id)
    return await settled(engine, container_id, max(until, time.monotonic() + 1.0), progress)


async def _cancelled(engine: Engine, task: Task, raw: Raw, sent: FormerRequests) -> TaskResult:
    name, ran = str(raw["Name"]).removeprefix("/"), container_view.is_running(raw)
    is_over = False  # after an error the engine may still have a request of the way back
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            back = await roll_back(engine, name, str(raw["Id"]), ran, task.operation_id, sent)
        is_over = not (sent.stops or sent.renames or task.operation_id in engine.creating)
    except (TimeoutError, WritError):
        back = False
    if back and not sent.renames:
        return TaskResult(outcome="cancelled", code="cancelled", message="the former container runs again")
    names = names_for(name, task.operation_id)
    message = f"look for {names.former} and {names.new}"
    return TaskResult(outcome="unknown", code="cancelled", message=message, effect="maybe", over=is_over)


async def _rolled_back(
    engine: Engine,
    task: Task,
    raw: Raw,
    code: str,
    message: str,
    output: Mapping[str, Any],
    until: float,
    sent: FormerRequests,
) -> TaskResult:
    name, ran = str(raw["Name"]).removeprefix("/"), container_view.is_running(raw)
    back, problem = await _roll_back_until(engine, name, str(raw["Id"]), ran, task.operation_id, until, sent)
    shown = {**output, "rolled_back": back}
    if back:
        text = f"{message}; the former container runs again"
        return TaskResult(outcome="failed", code=code, message=text, output=shown, effect="done" if ran else "none")
    names = names_for(name, task.operation_id)
    reason = f" ({problem})" if problem and problem != message else ""
    text = f"{message}; the former container could not be put back{reason}: look for {names.former} and {names.new}"
    return TaskResult(outcome="unknown", code=code, message=text, output=shown, effect="maybe")


async def _finished(engine: Engine, raw: Raw, names: ReplacementNames, new: Raw) -> TaskResult:
    state = container_view.state({**new, "Name": f"/{names.name}"})
    output = {
        **state,
        "former_image": str((raw.get("Config") or {}).get("Image", "")),
        "former_image_digest": str(raw.get("Image", "")),
    }
    done = TaskResult(outcome="succeeded", output=output, state=container_view.baseline(new), effect="done")
    try:
        await completed(engine.remove(str(raw["Id"]), force=True))  # a cancel would find no container to go back to
    except WritError as error:
        verb = "may be" if error.code in LOST else "is"
        return replace(done, message=f"the former container {verb} left as {names.former}: {error}")
    return done
