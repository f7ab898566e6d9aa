"""The host of a target's connection: a name, or an address; an IPv6 address with brackets or without. Pure text."""

import ipaddress
from typing import Annotated

from msgspec import Meta

HOST_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}"
IPV6 = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,45}"
ZONE = r"%[A-Za-z0-9._-]{1,64}"
"""RFC 4007: a link-local address belongs to an interface of the machine that connects, such as `fe80::1%eth0`."""
Host = Annotated[str, Meta(pattern=rf"^(?:{HOST_NAME}|{IPV6}|\[{IPV6}\])(?!\n)$")]
ZonedHost = Annotated[str, Meta(pattern=rf"^(?:{HOST_NAME}|{IPV6}(?:{ZONE})?|\[{IPV6}(?:{ZONE})?\])(?!\n)$")]


def bare_host(host: str) -> str:
    """Return the host without the brackets of an IPv6 address. Raises ValueError for what is no such address."""
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ValueError(f"host {host} is no IPv6 address, and no other host has a colon") from None
    return bare


def host_and_port(host: str, port: int) -> str:
    """Return `HOST:PORT`, with brackets for an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
