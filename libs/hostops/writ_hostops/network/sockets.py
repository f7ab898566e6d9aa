"""Listening sockets, from /proc/net/{tcp,tcp6,udp,udp6} (proc(5)), and the process behind each where /proc shows it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
import sys
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from writ_hostops.errors import system_errors
from writ_hostops.stop import CancelToken

_FILES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
_TCP_LISTEN, _UDP_UNCONNECTED = "0A", "07"
_ANYWHERE = ("00000000:0000", "00000000000000000000000000000000:0000")
_WORD = "<I" if sys.byteorder == "little" else ">I"


@dataclass(frozen=True)
class Socket:
    protocol: str
    address: str
    port: int
    uid: int
    inode: int


def listening(stop: CancelToken) -> List[Dict[str, Any]]:
    """Return listening sockets sorted by protocol, port and address. `pid` 0 and `process` "" for hidden processes
    of other users.
    """
    sockets = [item for name, protocol in _FILES for item in parse_table(protocol, _lines(name))]
    owners = _owners({item.inode for item in sockets}, stop)
    sockets.sort(key=lambda item: (item.protocol, item.port, item.address))
    return [
        {
            "protocol": item.protocol,
            "address": item.address,
            "port": item.port,
            "uid": item.uid,
            "pid": owners.get(item.inode, 0),
            "process": _process_name(owners.get(item.inode, 0)),
        }
        for item in sockets
    ]


def ports() -> List[int]:
    """Return all listening ports, of any user."""
    return sorted({item.port for name, protocol in _FILES for item in parse_table(protocol, _lines(name))})


def parse_table(protocol: str, lines: Iterable[str]) -> Iterator[Socket]:
    """Return the listening sockets in the lines of a /proc/net table, without its heading."""
    state = _TCP_LISTEN if protocol == "tcp" else _UDP_UNCONNECTED
    for line in lines:
        fields = line.split()
        if len(fields) >= 10 and fields[3] == state and fields[2] in _ANYWHERE:
            address, _, port = fields[1].partition(":")
            yield Socket(protocol, parse_address(address), int(port, 16), int(fields[7]), int(fields[9]))


def parse_address(text: str) -> str:
    """Parse an address as /proc writes it: words of 32 bits in hex, each in the machine's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(struct.pack(_WORD, word) for word in words)))


def _lines(name: str) -> List[str]:
    with system_errors(f"/proc/net/{name}"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                return file.readlines()[1:]
        except FileNotFoundError:
            return []  # a kernel without IPv6


def _owners(inodes: "set[int]", stop: CancelToken) -> Dict[int, int]:
    """Return the pid that holds each of these sockets. A socket may have several; the lowest counts."""
    owners: Dict[int, int] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        stop.check()
        for inode in _sockets_of(pid):
            if inode in inodes:
                owners.setdefault(inode, pid)
    return owners


def _sockets_of(pid: int) -> Iterator[int]:
    # A process may end at any moment, and others' are not shown to everyone: then it owns nothing that we can see.
    with contextlib.suppress(OSError):
        for fd, directory in _descriptors(pid):
            with contextlib.suppress(OSError):
                link = os.readlink(f"{directory}/{fd}")
                if link.startswith("socket:["):
                    yield int(link[len("socket:[") : -1])


def _descriptors(pid: int) -> Iterator[Tuple[str, str]]:
    directory = f"/proc/{pid}/fd"
    for fd in os.listdir(directory):
        yield fd, directory


def _process_name(pid: int) -> str:
    if not pid:
        return ""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
