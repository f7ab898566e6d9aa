"""Import of a plugin's code. Its mistakes are errors that name it, and what it prints goes to standard error: standard
output belongs to the command, whose reader may be a program.
"""

import sys
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint
from threading import Timer

from writ_contracts.errors import ConfigError

SLOW_SECONDS = 5.0
"""An import that takes longer is named on standard error: nothing else is done until it ends."""


def load(entry: EntryPoint, source: str) -> object:
    """Return the object of an entry point. Raises ConfigError, also where its code ends the process by `sys.exit`."""
    what = f"{source}: {entry.value}"
    slow = Timer(SLOW_SECONDS, _report_slow, (what,))
    slow.daemon = True
    if entry.module not in sys.modules:
        slow.start()
    try:
        with redirect_stdout(sys.stderr):
            return entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} cannot be loaded ({type(error).__name__}: {error})") from error
    finally:
        slow.cancel()


def _report_slow(what: str) -> None:
    sys.stderr.write(f"writ: {what} has been loading for {SLOW_SECONDS:g} s; waiting for it\n")
    sys.stderr.flush()
