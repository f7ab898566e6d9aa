"""Resolve names by the host's own resolver, within a time. The resolver cannot be stopped, so a slow one is
abandoned.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading
from typing import List, Tuple

from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)")
_MAX_HOST = 253

Address = Tuple[int, str]
"""Family and address."""


def check_host(host: str) -> None:
    """Raise HostError unless it is a host name or an IP address."""
    if len(host) > _MAX_HOST or not _HOST.fullmatch(host):
        raise HostError("invalid_parameter", "parameters.host is no host name or IP address")


def resolved(host: str, stop: CancelToken, seconds: float) -> List[Address]:
    """Return the host's addresses in its order of preference; HostError `not_found`, also for a name that takes too
    long.
    """
    addresses: List[Address] = []
    woken, wake = os.pipe()

    def resolve() -> None:
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                if family in (socket.AF_INET, socket.AF_INET6):
                    addresses.append((int(family), str(address[0])))
        except (OSError, UnicodeError):  # gaierror is an OSError
            addresses.clear()
        finally:
            os.close(wake)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        select.select([woken, stop.fileno()], [], [], min(seconds, stop.remaining()))
        stop.check()
        if not addresses:
            raise HostError("not_found", f"the resolver of this host does not know the name {host}")
        return list(addresses)
    finally:
        os.close(woken)
