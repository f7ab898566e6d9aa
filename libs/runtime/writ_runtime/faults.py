"""Named moments at which a test can have the process killed, to see what the others make of it.

`WRIT_FAULT=<name>` makes the process SIGKILL itself there; with `WRIT_FAULT_ONCE=<file>` only the first process that
gets there, whichever replica or restart it is. The variable is read once, when the process starts.
"""

import os
import signal
from pathlib import Path

_MOMENT = os.environ.get("WRIT_FAULT")


def fault(moment: str) -> None:
    """The process ends here, as by kill -9, if this is the moment that the environment names."""
    if moment == _MOMENT and _first():
        os.kill(os.getpid(), signal.SIGKILL)


def _first() -> bool:
    once = os.environ.get("WRIT_FAULT_ONCE")
    if not once:
        return True
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
