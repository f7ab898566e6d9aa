"""The signal to a running operation to end: it was cancelled, or its time is up."""

from __future__ import annotations

import os
import select
import time
from contextlib import contextmanager
from types import TracebackType
from typing import Iterator, Optional, Type

from writ_hostops.errors import HostError

JUDGING = 10.0
"""Seconds to read the result of an operation."""


class CancelToken:
    """One operation's deadline and cancel signal. `cancel` may be called from any thread; use it in a `with`.

    Readable with select once cancelled, so a wait for something else can include it. Programs run until this stop
    carry its `operation_id` as their mark (processes.py).
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.operation_id = ""
        self._deadline = time.monotonic() + timeout
        self._read, self._write = os.pipe()

    def __enter__(self) -> CancelToken:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        os.close(self._read)
        os.close(self._write)

    def cancel(self) -> None:
        """Request the end of the operation; one call is enough."""
        os.write(self._write, b"x")

    def fileno(self) -> int:
        """Return the descriptor for select."""
        return self._read

    @property
    def cancelled(self) -> bool:
        """Return whether a cancel was requested."""
        return bool(select.select([self._read], [], [], 0)[0])

    def remaining(self) -> float:
        """Return the remaining seconds, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Wait this long, then `check`. A cancel or the deadline ends the wait."""
        select.select([self._read], [], [], min(seconds, self.remaining()))
        self.check()

    def check(self) -> None:
        """Raise HostError `cancelled` or `timeout` if the operation should end now."""
        if self.cancelled:
            raise HostError("cancelled", "it was cancelled before it changed anything")
        if not self.remaining():
            raise HostError("timeout", f"not done within {self.timeout:g} s; nothing was changed")


@contextmanager
def afterwards() -> Iterator[CancelToken]:
    """Yield a Stop with time of its own, to read an operation's result. If that fails, the outcome is unknown."""
    with CancelToken(JUDGING) as patience:
        try:
            yield patience
        except HostError as error:
            raise HostError(error.code, f"how it ended is not known: {error.message}", effect="maybe") from error
