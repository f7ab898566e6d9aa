"""The sender of a message, as the NATS server names it."""

from typing import Any

import msgspec

from writ_bus.port import Message

REQUEST_INFO = "Nats-Request-Info"
"""Header that the server itself sets on what passes an import with `share: true`; it overwrites a sender's own."""


def sender_key(message: Message) -> str:
    """Return the user key (nkey, `U…`) of the connection that sent the message; empty if the server names none."""
    try:
        info: dict[str, Any] = msgspec.json.decode(message.headers.get(REQUEST_INFO, "{}"), type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""
    user = info.get("user", "")
    return user if isinstance(user, str) else ""
