"""A call in a thread of its own, beside the work of its caller."""

from __future__ import annotations

import _thread
from typing import Callable, Generic, List, Optional, TypeVar

T = TypeVar("T")


class ThreadCall(Generic[T]):
    """One call, begun at once. The end of the process ends it. Where no thread can be had, the caller makes it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._returned: List[T] = []
        self._error: Optional[Exception] = None
        self._running = _thread.allocate_lock()
        self._running.acquire()
        try:
            _thread.start_new_thread(self._run, ())  # threading.Thread would wait until it runs
        except RuntimeError:  # the host permits no further thread: it takes longer
            self._run()

    def result(self) -> T:
        """Wait for the end of the call. Return what it returned, or raise its error, to each caller."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._returned[0]

    def wait(self) -> None:
        with self._running:
            return

    def _run(self) -> None:
        try:
            self._returned.append(self._call())
        except Exception as error:  # noqa: BLE001 - raised in `result`: an error of a thread is lost
            self._error = error
        finally:
            self._running.release()
