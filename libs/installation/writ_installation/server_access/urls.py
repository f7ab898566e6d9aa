"""Addresses of NATS servers for other hosts: checked here, where a mistake can still be reported to its author."""

from collections.abc import Container
from urllib.parse import urlsplit

from writ_contracts.errors import Invalid

CLIENT_SCHEMES = ("nats", "tls", "ws", "wss")
LEAF_SCHEMES = (*CLIENT_SCHEMES, "nats-leaf")
FORBIDDEN = frozenset("\"'\\@")
"""Characters with a meaning of their own in a settings file; a password has no place there either."""


def checked_servers(urls: str) -> str:
    """Return NATS_URL of another host: one or several with commas between; each may be HOST:PORT. Raises Invalid."""
    for url in urls.split(","):
        port_of(url.strip() if "://" in url else f"nats://{url.strip()}", CLIENT_SCHEMES, 4222)
    return urls


def port_of(url: str, schemes: Container[str], default: int) -> int:
    """Return its port, if it is a plain server address. Raises Invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # no port, or no IPv6 address
        parts, port = urlsplit(""), None
    plain = url.isprintable() and " " not in url and not FORBIDDEN & set(url)
    if not plain or parts.scheme not in schemes or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise Invalid(f"{url[:200]!r} is not an address of a NATS server: nats://HOST:{default}, or tls://…")
    return port or default
