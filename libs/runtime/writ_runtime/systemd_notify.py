"""Tells systemd that a service is ready, or about to stop, where it wants to know (sd_notify(3)): `Type=notify`."""

import os
import socket

from writ_runtime.logs import Log

VARIABLE = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"

_log = Log("writ.service")


def announce(state: str) -> None:
    """Says so; nothing where nobody listens. A message that can't be sent is logged and holds up nothing."""
    where = os.environ.get(VARIABLE, "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify_socket:
            notify_socket.connect(address)
            notify_socket.sendall(state.encode())
    except OSError as error:
        _log.warning("service.not_announced", state=state, error=str(error))
