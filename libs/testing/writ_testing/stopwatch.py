"""How long something takes, without the time in which the machine let nobody run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK, MOST = 0.05, 0.25


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """The seconds since it was started. It ticks in a thread, and a tick that took longer than MOST was a pause."""
    ticks, over = [0.0], threading.Event()

    def tick() -> None:
        last = time.monotonic()
        while not over.wait(TICK):
            now = time.monotonic()
            ticks.append(min(now - last, MOST))
            last = now

    thread = threading.Thread(target=tick, name="stopwatch", daemon=True)
    thread.start()
    try:
        yield lambda: sum(ticks)
    finally:
        over.set()
        thread.join()
