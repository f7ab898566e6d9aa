"""Interfaces, addresses and routes by rtnetlink(7): three dumps, decoded by the layouts of linux/rtnetlink.h."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Tuple

from writ_hostops.errors import HostError

_GETLINK, _GETADDR, _GETROUTE = 18, 22, 26
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_RECEIVE = 1 << 20
_TIMEOUT = 5.0
_ATTEMPTS = 5

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_OPERSTATE = 1, 3, 4, 16
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_OPERSTATES = ("unknown", "not-present", "down", "lower-layer-down", "testing", "dormant", "up")
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
_TABLE_MAIN, _TYPE_UNICAST = 254, 1
_IFF_UP = 0x1

Attributes = Dict[int, bytes]


def interfaces() -> List[Dict[str, Any]]:
    """Return each interface: name, index, state, flags, MAC and MTU."""
    links = []
    for body in _dump(_GETLINK, _IFINFO.size):
        _, _, index, flags, _ = _IFINFO.unpack_from(body)
        attributes = parse_attributes(body[_IFINFO.size :])
        state = attributes.get(_IFLA_OPERSTATE, b"\0")[0]
        links.append(
            {
                "name": _name(attributes.get(_IFLA_IFNAME, b"")),
                "index": index,
                "state": _OPERSTATES[state] if state < len(_OPERSTATES) else "unknown",
                "up": bool(flags & _IFF_UP),
                "mac": attributes.get(_IFLA_ADDRESS, b"").hex(":"),
                "mtu": _number(attributes.get(_IFLA_MTU, b"")),
            }
        )
    return links


def addresses() -> Dict[int, List[Dict[str, Any]]]:
    """Return each address with its prefix ("192.0.2.1/24"), by interface index."""
    by_index: Dict[int, List[Dict[str, Any]]] = {}
    for body in _dump(_GETADDR, _IFADDR.size):
        family, prefix, _, scope, index = _IFADDR.unpack_from(body)
        attributes = parse_attributes(body[_IFADDR.size :])
        address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
        if family in (socket.AF_INET, socket.AF_INET6) and address:
            by_index.setdefault(index, []).append(
                {
                    "address": f"{ipaddress.ip_address(address)}/{prefix}",
                    "family": _family(family),
                    "scope": _SCOPES.get(scope, str(scope)),
                }
            )
    return by_index


def routes(names: Dict[int, str]) -> List[Dict[str, Any]]:
    """Return the unicast routes of the main table. `names`: the interfaces by index."""
    routes_found = []
    for body in _dump(_GETROUTE, _RTMSG.size):
        family, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
        attributes = parse_attributes(body[_RTMSG.size :])
        table = _number(attributes.get(_RTA_TABLE, b"")) or table
        if family in (socket.AF_INET, socket.AF_INET6) and table == _TABLE_MAIN and kind == _TYPE_UNICAST:
            index = _number(attributes.get(_RTA_OIF, b""))
            routes_found.append(
                {
                    "destination": _destination(attributes.get(_RTA_DST, b""), prefix),
                    "gateway": _address(attributes.get(_RTA_GATEWAY, b"")),
                    "interface": names.get(index, str(index) if index else ""),
                    "metric": _number(attributes.get(_RTA_PRIORITY, b"")),
                    "source": _address(attributes.get(_RTA_PREFSRC, b"")),
                    "family": _family(family),
                }
            )
    return routes_found


def parse_attributes(data: bytes) -> Attributes:
    """Parse the attributes (struct rtattr, padded to 4) in `data`. A truncated one is left out."""
    attributes: Attributes = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        attributes[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return attributes


def parse_messages(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Return type and body of each netlink message in one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            break
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _dump(kind: int, smallest: int) -> List[bytes]:
    # The request's own header is all zeros: every family, every interface.
    for _ in range(_ATTEMPTS):
        try:
            return [body for body in _bodies(kind, bytes(smallest)) if len(body) >= smallest]
        except OSError as error:
            # The kernel's lists changed during the dump.
            if error.errno not in (errno.EINTR, errno.ENOBUFS):
                raise HostError("unavailable", f"netlink: {error.strerror or type(error).__name__}") from error
    raise HostError("unavailable", "netlink: the network's configuration kept changing")


def _bodies(kind: int, request: bytes) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_TIMEOUT)
        kernel.bind((0, 0))
        header = _HEADER.pack(_HEADER.size + len(request), kind, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
        kernel.sendto(header + request, (0, 0))
        while True:
            for answer, body in parse_messages(kernel.recv(_RECEIVE)):
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                yield body


def _number(data: bytes) -> int:
    return int(struct.unpack("=I", data)[0]) if len(data) == struct.calcsize("=I") else 0


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


def _family(number: int) -> str:
    return "ipv4" if number == socket.AF_INET else "ipv6"


def _address(data: bytes) -> str:
    return str(ipaddress.ip_address(data)) if data else ""


def _destination(data: bytes, prefix: int) -> str:
    return f"{ipaddress.ip_address(data)}/{prefix}" if data else "default"
