"""The object that the fixture `command` gives a test."""

from collections.abc import Callable, Coroutine
from typing import Any

from click.testing import Result

Command = Callable[..., Coroutine[Any, Any, Result]]


async def timed_out(command: Command, *words: str) -> Result:
    """Return the end of a run that was accepted, and had no outcome in time: a busy machine needs more than 0.2 s."""
    done = await command(*words, "--timeout", "0.2")
    for seconds in ("2", "20"):
        if "still dispatched after " in done.stderr:
            break
        done = await command(*words, "--timeout", seconds)
    return done
