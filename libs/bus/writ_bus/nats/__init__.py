"""The bus over NATS: connection, journal, pull worker, request and reply. The only importer of nats.

nats-py imports aiohttp where it is installed, for WebSocket, which Writ does not use: 12 MB of each process. So it is
imported here first, as if aiohttp were absent.
"""

import sys
from importlib import import_module

if "aiohttp" not in sys.modules:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
    try:
        import_module("nats.aio.transport")
    finally:
        del sys.modules["aiohttp"]
