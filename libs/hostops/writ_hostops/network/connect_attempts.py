"""One attempt to reach an address: an echo request, a TCP connection, an HTTP answer. Each ends within `seconds`.

An attempt returns a short text on the answer (for `detail`). It raises OSError if no answer or a wrong one came.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import time
from contextlib import closing

from writ_hostops.errors import HostError
from writ_hostops.network.resolve import Address
from writ_hostops.stop import CancelToken

_ECHO = {socket.AF_INET: (8, 0, socket.IPPROTO_ICMP), socket.AF_INET6: (128, 129, socket.IPPROTO_ICMPV6)}
_ICMP = struct.Struct("!BBHHH")
_MOST_ANSWER = 4096
HTTPS_PORT = 443


def icmp(address: Address, port: int, name: str, stop: CancelToken, seconds: float) -> str:
    """Send an ICMP echo. Its payload is random, so no other program's answer counts."""
    family, host = address
    request_type, reply_type, _ = _ECHO[socket.AddressFamily(family)]
    payload = os.urandom(16)
    header = _ICMP.pack(request_type, 0, 0, os.getpid() & 0xFFFF, 1)
    request = _ICMP.pack(request_type, 0, _checksum(header + payload), os.getpid() & 0xFFFF, 1) + payload
    deadline = time.monotonic() + seconds
    with _icmp_socket(family) as connection:
        connection.sendto(request, (host, 0))
        while True:
            answer = _within(connection, stop, deadline, _MOST_ANSWER)
            if answer.endswith(payload) and answer[-len(payload) - _ICMP.size] == reply_type:
                return ""


def tcp(address: Address, port: int, name: str, stop: CancelToken, seconds: float) -> str:
    """Open a TCP connection and close it at once."""
    with _connected(address, port, stop, time.monotonic() + seconds):
        return ""


def http(address: Address, port: int, name: str, stop: CancelToken, seconds: float) -> str:
    """Request HEAD / of the host, on port 443 over TLS with a valid certificate. Any HTTP status counts as an
    answer.
    """
    deadline = time.monotonic() + seconds
    host = f"[{name}]" if ":" in name else name
    request = f"HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: writ\r\nConnection: close\r\n\r\n"
    with _connected(address, port, stop, deadline) as plain:
        if port == HTTPS_PORT:
            plain.settimeout(max(0.1, deadline - time.monotonic()))
            with closing(ssl.create_default_context().wrap_socket(plain, server_hostname=name)) as secure:
                return _status(secure, request, stop, deadline)
        return _status(plain, request, stop, deadline)


def _status(connection: socket.socket, request: str, stop: CancelToken, deadline: float) -> str:
    connection.settimeout(max(0.1, deadline - time.monotonic()))
    connection.sendall(request.encode("ascii"))
    answer = b""
    while b"\n" not in answer and len(answer) < _MOST_ANSWER:
        answer += _within(connection, stop, deadline, 1024)
    line = answer.split(b"\n", 1)[0].strip()
    if not line.startswith(b"HTTP/"):
        raise OSError("the reply is not HTTP")
    return line[:200].decode("ascii", "replace")


def _connected(address: Address, port: int, stop: CancelToken, deadline: float) -> socket.socket:
    family, host = address
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        error = connection.connect_ex((host, port))
        if error in (errno.EINPROGRESS, errno.EAGAIN):
            if not select.select([stop.fileno()], [connection.fileno()], [], max(0.0, deadline - time.monotonic()))[1]:
                stop.check()
                raise TimeoutError("no reply in time")
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        connection.close()
        raise
    return connection


def _within(connection: socket.socket, stop: CancelToken, deadline: float, most: int) -> bytes:
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return connection.recv(most)
    if (
        connection.fileno()
        not in select.select([connection.fileno(), stop.fileno()], [], [], max(0.0, deadline - time.monotonic()))[0]
    ):
        stop.check()
        raise TimeoutError("no reply in time")
    data = connection.recv(most)
    if not data:
        raise ConnectionResetError("the connection was closed without an answer")
    return data


def _icmp_socket(family: int) -> socket.socket:
    """Open the socket type that needs no privilege where the kernel allows it (net.ipv4.ping_group_range), else a raw
    one.
    """
    protocol = _ECHO[socket.AddressFamily(family)][2]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            connection = socket.socket(family, kind, protocol)
        except PermissionError:
            continue
        connection.setblocking(False)
        return connection
    raise HostError("permission_denied", "the system lets this user send no ICMP")


def _checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071; over IPv6 the kernel fills it in."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
