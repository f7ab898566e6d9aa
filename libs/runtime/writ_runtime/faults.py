"""Named moments at which a test can have the process killed, to see the effect on the others.

`WRIT_FAULT=<name>` makes the process SIGKILL itself there; with `WRIT_FAULT_ONCE=<file>` only the first process to get
there, of any replica or restart. The variable is read once, when the process starts.
"""

import os
import signal
from pathlib import Path

_MOMENT = os.environ.get("WRIT_FAULT")


def fault(moment: str) -> None:
    """End the process here, as kill -9 does, if the environment names this moment."""
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
