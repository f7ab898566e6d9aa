"""Background tasks, of which none ends unnoticed. Nothing else starts a task outside a TaskGroup.

`start` is for tasks whose caller waits for the result, `spawn` for those which end without a waiting caller, `soon` for
a step without waiting that needs no task, `keep` and `unending` for work which must go on until cancelled.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from writ_bus.backoff import pause_after

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
LASTED = 60.0
"""Seconds after which the pauses between restarts begin again."""
T = TypeVar("T")
_logger = logging.getLogger("writ.tasks")
_ended: Counter[str] = Counter()


class TaskEnded(Exception):
    """Raised when work which must go on has returned."""


def start(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task whose caller waits for it: its error is raised there."""
    return asyncio.get_running_loop().create_task(work, name=name)


def spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task without a waiting caller. Its error is logged and counted."""
    task = start(work, name)
    task.add_done_callback(_note_end)
    return task


def soon(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do work that waits for nothing once this turn of the event loop has sent its messages. Await the future for the
    result, or for its error, which otherwise goes unnoticed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        if done.cancelled():
            return
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised where the future is awaited
            done.set_exception(error)
            done.exception()  # retrieved, also where its caller had to give up before

    loop.call_soon(run)
    return done


def keep(name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[None]:
    """Start work which goes on until the task is cancelled. Any other end is logged and counted, and the work is
    started again.
    """
    return start(_again(name, work), name)


async def unending(name: str, work: Coroutine[Any, Any, object]) -> None:
    """Do work which must not end, in a task group whose failure ends the process. Raises TaskEnded if it returns."""
    try:
        await work
    except Exception as error:
        _note(name, error)
        raise
    raise _note(name, TaskEnded(f"{name} ended without an error, although it must run until the service stops"))


def take_ended() -> dict[str, int]:
    """Return the number of unexpected ends by task name, since the last call."""
    taken = dict(_ended)
    _ended.clear()
    return taken


def is_cancelled() -> bool:
    """Return whether somebody cancels the current task; else a CancelledError comes from something that it awaits."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _again(name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    turn = 0
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await work()
            _note(name, TaskEnded(f"{name} ended without an error, although it must run until the service stops"))
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            _note(name, error)  # something inside was cancelled, and this task was not
        except Exception as error:  # noqa: BLE001 - whatever ended it: it goes on
            _note(name, error)
        turn = 0 if asyncio.get_running_loop().time() - began > LASTED else turn + 1
        await asyncio.sleep(pause_after(turn, first=FIRST_PAUSE, most=LONGEST_PAUSE))


def _note_end(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _note(task.get_name(), error)


def _note(name: str, error: BaseException) -> BaseException:
    _ended[name] += 1
    _logger.error("task.ended", exc_info=error, extra={"task": name})
    return error
