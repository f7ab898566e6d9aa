"""A call in a thread of its own, beside the work of its caller."""

from __future__ import annotations

import threading
from typing import Callable, Generic, List, Optional, TypeVar

T = TypeVar("T")


class ThreadCall(Generic[T]):
    """One call, begun at once. It ends with the process, even where nobody waits for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._returned: List[T] = []
        self._error: Optional[Exception] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> T:
        """Wait for the end of the call. Return what it returned, or raise its error, to each caller."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._returned[0]

    def wait(self) -> None:
        """Wait for the end of the call."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._returned.append(self._call())
        except Exception as error:  # noqa: BLE001 - raised in `result`: an error of a thread is lost
            self._error = error
