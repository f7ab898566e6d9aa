"""SSH_MSG_IGNORE, which asyncssh sends before each message of an encrypted connection.

It defends ciphers in CBC mode (RFC 4251, section 9.3.1). The agent's ciphers are of other modes, and each such message
costs a packet, a system call and a wake-up of the host.
"""

from typing import Any

import asyncssh
from asyncssh.constants import MSG_IGNORE


def leave_out(connection: asyncssh.SSHClientConnection) -> None:
    """Send no more of them on this connection."""
    send = connection.send_packet

    def send_others(kind: int, *parts: bytes, **options: Any) -> None:
        if kind != MSG_IGNORE:
            send(kind, *parts, **options)

    setattr(connection, "send_packet", send_others)  # noqa: B010 - a method of its own instead of its class's
