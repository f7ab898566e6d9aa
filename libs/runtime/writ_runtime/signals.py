"""SIGTERM and SIGINT: the first requests an orderly stop of a service, the second cuts it short. Ctrl-C in commands."""

import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ENDING_SECONDS = 2.0
"""A command's time from the second signal on, in which it can still say what goes on."""

_SHOW_CURSOR = b"\x1b[?25h"  # a line of progress hides it

Result = TypeVar("Result")


class _CommandEnd:
    """The first signal cancels the command's task, a second one ends the process after `ENDING_SECONDS`.

    `asyncio.run` raises KeyboardInterrupt at the second: inside the event loop, where it can come between a future's
    end and the step of the task that awaits it. That task then never goes on, and the end waits for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
        self._loop = loop
        self._task = task
        self._taken: set[signal.Signals] = set()
        self.signals = 0

    def take(self, number: signal.Signals) -> None:
        """Handle this signal, until `leave` or until the loop closes."""
        self._taken.add(number)
        _handle(self._loop, number, self.signalled)

    def leave(self, number: signal.Signals) -> None:
        """Let the signal have its former effect."""
        self._taken.discard(number)
        self._loop.remove_signal_handler(number)

    def keep_status(self) -> None:
        """Go on handling signals after the loop, until Python itself ends, in which they would kill the process."""
        if self.signals:
            for number in self._taken:
                signal.signal(number, self.signalled)
            atexit.register(self._ignore)

    def _ignore(self) -> None:
        for number in self._taken:
            signal.signal(number, signal.SIG_IGN)

    def signalled(self, number: int, _: FrameType | None = None) -> None:
        """Python calls this between two instructions of the main thread, also while the event loop is blocked."""
        self.signals += 1
        if self.signals == 1:
            self._loop.call_soon_threadsafe(self._task.cancel)
        elif self.signals == 2:  # no thread: the interrupted code may hold the lock that a new one needs
            signal.signal(signal.SIGALRM, lambda *_: _end_process(number))
            signal.setitimer(signal.ITIMER_REAL, ENDING_SECONDS, ENDING_SECONDS)


_command_end: ContextVar[_CommandEnd] = ContextVar("command_end")


def run_command(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command as `asyncio.run` does. Raises KeyboardInterrupt after Ctrl-C, and never inside the event loop.

    A process that ignores SIGINT goes on ignoring it.
    """
    end: _CommandEnd | None = None

    async def ended_by_signals() -> Result:
        nonlocal end
        end = _of_current_task()
        if end is not None and callable(signal.getsignal(signal.SIGINT)):
            end.take(signal.SIGINT)
            _command_end.set(end)
        return await work

    try:
        return asyncio.run(ended_by_signals())
    except asyncio.CancelledError:  # nothing else cancels a command; a second signal to `StopSignal` does it, too
        raise KeyboardInterrupt from None
    finally:
        work.close()  # a signal may have come before its first step
        if end is not None:
            end.keep_status()


def _of_current_task() -> _CommandEnd | None:
    """Return None where there are no signal handlers: in a thread."""
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        return None
    return _CommandEnd(asyncio.get_running_loop(), task)


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, handler: Any) -> None:
    """Set a handler of `signal.signal`. The signal also wakes the loop, where it comes just before the loop waits."""
    loop.add_signal_handler(number, lambda: None)
    signal.signal(number, handler)


def _end_process(number: int) -> None:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(128 + number)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a call that blocks the event loop, such as a question to a person: it raises KeyboardInterrupt.

    The handler of `asyncio.run` only cancels its task, which has no effect before the call returns, and Python repeats
    a read that a signal interrupts (PEP 475). A process that ignores SIGINT goes on ignoring it.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP cancel the current task, as Ctrl-C does, so that a command can still say what it leaves.

    A scheduler or `timeout` sends SIGTERM, a terminal or an SSH session that closes SIGHUP. Signals that the process
    ignores, such as SIGHUP under `nohup`, stay ignored.
    """
    whole = _command_end.get(None)
    end = whole or _of_current_task()
    if end is None:
        yield
        return
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        end.take(number)
    try:
        yield
    finally:
        if whole is None or not whole.signals:  # after a signal the command ends, with a status of its own
            for number in taken:
                end.leave(number)


class StopSignal:
    """`async with Stop() as stop: await stop.wait()`. A second signal cancels the entering task."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self.reason = ""

    @property
    def is_requested(self) -> bool:
        """Return whether a signal has requested the end of the process."""
        return self._requested.is_set()

    async def wait(self) -> None:
        await self._requested.wait()

    def request_stop(self, reason: str) -> None:
        """Request a stop from inside the process; only the first reason is kept."""
        self.reason = self.reason or reason
        self._requested.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _signalled(self, number: signal.Signals) -> None:
        if self.is_requested and self._task is not None:
            self._task.cancel(f"a second signal, {number.name}")
        self.request_stop(number.name)
