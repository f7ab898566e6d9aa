"""Notify systemd of readiness and stop if it listens (sd_notify(3), `Type=notify`)."""

import os
import socket

from writ_runtime.logs import Log

VARIABLE = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"

_log = Log("writ.service")


def announce(state: str) -> None:
    """Send the state; do nothing without a listener. A failed send is logged and holds up nothing."""
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
