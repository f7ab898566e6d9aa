"""`Writ` from code without an event loop: a thread of its own runs the loop, so the connection stays alive.

with BlockingWrit(Writ.from_context("alice.json")) as writ:
    done = writ.wait_for(writ.api.services.restart("web-1", "nginx"))
"""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from writ_client.client import Writ

Found = TypeVar("Found")


class BlockingWrit:
    """One connection. `api` is the client; `wait_for` runs a coroutine of it, from any thread."""

    def __init__(self, connecting: Coroutine[Any, Any, Writ]) -> None:
        self._connecting = connecting
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="writ", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.api = self.wait_for(self._connecting)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait_for(self.api.close())
        finally:
            self._stop()

    def wait_for(self, call: Coroutine[Any, Any, Found]) -> Found:
        """Return the result of the call, or raise its error. Ctrl-C cancels it. Raises RuntimeError outside of the
        `with` block: without its loop the call would never end.
        """
        if not self._thread.is_alive():
            call.close()
            raise RuntimeError("BlockingWrit has no connection outside of its `with` block")
        running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
