"""A process beside a service, for work that would hold up its interpreter or leave its memory full of holes.

It runs a module of ours in the same Python, and gets what it needs for that: neither keys nor a way to NATS.
"""

import os
import sys

_KEPT = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TZ", "PYTHONTZPATH")


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """What runs it."""
    return sys.executable, "-P", "-m", module, *arguments


def environment() -> dict[str, str]:
    """All of ours that it gets."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}
