"""End a process whose event loop is held up for good, so that its supervisor starts it again.

Code that blocks the loop, such as a plugin's `time.sleep` or an endless loop, cannot be ended from within the process:
nothing of it would run again, neither heartbeats nor timeouts.
"""

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

from writ_runtime.logs import Log

LOOKS = 10
"""Looks within the limit, of which each must see that the loop made no step. After a pause of the whole process, or of
the machine, one look may see none, but not all of them.
"""
MOST_FRAMES = 12
LOG_SECONDS = 2.0
_log = Log("writ.service")


@contextmanager
def ending_when_held_up(seconds: float) -> Iterator[None]:
    """Within the block, end the process with status 1 once its event loop has made no step for so many seconds."""
    loop, done, steps = asyncio.get_running_loop(), threading.Event(), _LoopSteps()
    thread = threading.Thread(target=_watch, args=(loop, done, steps, seconds), name="loop watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


class _LoopSteps:
    """The number of steps that the loop made on request."""

    def __init__(self) -> None:
        self.made = 0

    def make(self) -> None:
        self.made += 1


def _watch(loop: asyncio.AbstractEventLoop, done: threading.Event, steps: _LoopSteps, seconds: float) -> None:
    main, missed, seen = threading.main_thread().ident, 0, -1
    while not done.wait(seconds / LOOKS) and not loop.is_closed():
        if steps.made != seen:
            missed, seen = 0, steps.made
            loop.call_soon_threadsafe(steps.make)
            continue
        missed += 1
        if missed >= LOOKS:
            frame = sys._current_frames().get(main or 0)
            where = "".join(traceback.format_stack(frame)[-MOST_FRAMES:])
            end_process(_log, "service.held_up", seconds=seconds, stack=where)


def end_process(log: Log, event: str, **fields: object) -> NoReturn:
    """Log the event, and end the process with status 1. A thread that is blocked may hold the lock of the logs, as one
    does that writes to a pipe which nobody reads: then the process ends without the line.
    """
    line = threading.Thread(target=partial(log.write, logging.ERROR, event, fields), name="last line", daemon=True)
    try:
        line.start()
        line.join(LOG_SECONDS)
    finally:
        os._exit(1)
