"""Check that a NATS server has recovered all its streams, before a missing one is created again."""

from writ_bus.nats.bus import connect
from writ_bus.nats.tls import TlsOptions
from writ_installation.files.home import Home
from writ_installation.server_access.server_options import options_of
from writ_nats_server.system_account import require_recovered


async def require_recovered_streams(home: Home, url: str, tls: TlsOptions | None) -> None:
    """Raises BusRefused if the NATS server did not recover a stream from its disk; BusError."""
    bus = await connect(options_of(home, "sys", url, tls))
    try:
        await require_recovered(bus)
    finally:
        await bus.drain(1.0)
