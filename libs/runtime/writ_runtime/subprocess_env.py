"""A process beside a service, for work which would block its interpreter or fragment its memory.

It runs a module of ours in the same Python, with the environment for this work alone: no keys and no way to NATS.
"""

import os
import sys

_KEPT = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TZ", "PYTHONTZPATH")


def command(module: str, *arguments: str) -> tuple[str, ...]:
    return sys.executable, "-P", "-m", module, *arguments


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
