"""The NATS server of an installation for one command: the running one, or one that is started for the command."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from writ_contracts.errors import Unreachable
from writ_installation.files.home import Home
from writ_installation.files.lock import held
from writ_installation.nats.server import BundledServer, free_port
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress
from writ_installation.status.server_url import running_url


class ReachedServer(Struct, frozen=True, kw_only=True):
    """`environ`: the variables for a client's TLS. `services`: whether services may be connected to it."""

    url: str
    environ: Mapping[str, str]
    services: bool


@asynccontextmanager
async def reached_server(home: Home, url: str | None, show: Callable[[str], None]) -> AsyncIterator[ReachedServer]:
    """Yield the server at `url`, which somebody else runs, that of `writ up`, or one that runs within the block, with
    Writ's lock. Raises WritError, BusError.
    """
    if found := url or running_url(home):
        yield ReachedServer(url=found, environ=os.environ, services=True)
        return
    if home.written != home.root or home.servers.is_dir():
        raise Unreachable(f"others start the NATS server of {home.root}: start it, and set NATS_URL")
    home.make_folders()
    with held(home.lock):
        port = free_port()
        address = ServerAddress(host=LOOPBACK, port=port, monitor_port=free_port(LOOPBACK, port))
        server = BundledServer(home, address, show, os.environ)
        await server.start()
        try:
            yield ReachedServer(url=server.url, environ={}, services=False)  # WRIT_TLS_CA is that of another server
        finally:
            await server.stop()
