"""The connections of an installation's own users: `bootstrap`, `status` and the keys of its services."""

from writ_bus.nats.connection import Options
from writ_bus.nats.tls import TlsOptions
from writ_contracts.subjects import inbox_prefix
from writ_installation.files.home import Home


def options_of(home: Home, name: str, url: str, tls: TlsOptions | None, wait: float = 15.0) -> Options:
    """Return the connection options of the user with this key."""
    return Options(
        name=f"writ-{name}",
        servers=url.split(","),
        seed=home.key(name).seed,
        inbox_prefix=inbox_prefix(name),
        tls=tls,
        wait=wait,
    )
