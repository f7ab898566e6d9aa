"""Durations, without the time in which the machine ran no process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK, MOST = 0.05, 0.25


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yield the seconds since the start. A thread ticks; a tick longer than MOST counts as a pause of the machine."""
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
