"""SIGTERM and SIGINT: the first requests an orderly stop of a service, the second cuts it short. Ctrl-C in commands."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():  # others have no signal handlers
        yield
        return
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


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
