"""How a running operation learns that it should end: because it was cancelled, or because its time is up."""

from __future__ import annotations

import os
import select
import time
from types import TracebackType
from typing import Optional, Type

from writ_hostops.errors import HostError


class Stop:
    """One operation's deadline and cancel signal. `cancel` may be called from any thread; use it in a `with`.

    Readable with select once cancelled, so that a wait for something else can wait for this too.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._read, self._write = os.pipe()

    def __enter__(self) -> Stop:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        os.close(self._read)
        os.close(self._write)

    def cancel(self) -> None:
        """Ask the operation to end; once is enough."""
        os.write(self._write, b"x")

    def fileno(self) -> int:
        """For select."""
        return self._read

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return bool(select.select([self._read], [], [], 0)[0])

    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self._deadline - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Let this much time pass, then `check`; a cancel or the deadline ends it early."""
        select.select([self._read], [], [], min(seconds, self.remaining()))
        self.check()

    def check(self) -> None:
        """Raise HostError `cancelled` or `timeout` if the operation should end now."""
        if self.cancelled:
            raise HostError("cancelled", "it was cancelled before it changed anything")
        if not self.remaining():
            raise HostError("timeout", f"not done within {self.timeout:g} s; nothing was changed")
