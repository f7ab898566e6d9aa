"""TLS of the bundled NATS server at the start of `writ up`."""

import time

from writ_bus.nats.tls import is_loopback_host
from writ_installation.files.home import Home
from writ_installation.server_access.server_tls import Mode, own_names, read_settings, set_up, write_settings


def set_up_for_start(home: Home, mode: Mode | None, listen: str) -> None:
    """Have NATS use TLS if other machines can reach it, unless the caller (`mode`) or `tls.yaml` says otherwise."""
    names = own_names(listen)
    if mode is not None:
        settings = read_settings(home)
        write_settings(home, mode, [*(settings.names if settings else ()), *names])
    if mode is not None or home.tls_file.exists() or not is_loopback_host(listen):
        set_up(home, mode or "required", names, time.time())
