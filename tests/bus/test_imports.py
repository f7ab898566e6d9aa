"""A process with a connection to NATS imports the modules that it needs, and no others."""

import subprocess
import sys

SCRIPT = """
import sys
import writ_bus.nats.bus
print("aiohttp" in sys.modules)
import aiohttp
print(aiohttp.__name__)
"""


def test_aiohttp_is_not_imported_for_websocket_which_nobody_uses() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["False", "aiohttp"]
