"""A TCP connection through a SOCKS5 proxy without a password (RFC 1928), such as tailscaled in userspace mode."""

import asyncio
import socket
from ipaddress import IPv4Address, ip_address

from writ_contracts.errors import Unreachable

CODE = "socks_failed"
REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


async def connect(proxy: str, address: str, port: int) -> socket.socket:
    """Return a socket to that address through the proxy (`host:port`). The caller bounds the time. Raises
    Unreachable.
    """
    where = f"the SOCKS5 proxy {proxy}"
    host, _, number = proxy.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, number, type=socket.SOCK_STREAM)
        family, kind, protocol, _, name = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, name)
            await _negotiate(sock, where, address, port)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise Unreachable(f"{where} cannot be used: {error.strerror or type(error).__name__}", code=CODE) from error
    return sock


async def _negotiate(sock: socket.socket, where: str, address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"\x05\x01\x00")
    if await _exactly(sock, where, 2) != b"\x05\x00":
        raise Unreachable(f"{where} needs a password, or is not a SOCKS5 proxy", code=CODE)
    await loop.sock_sendall(sock, b"\x05\x01\x00" + _encoded(address) + port.to_bytes(2, "big"))
    version, reply, _, kind = await _exactly(sock, where, 4)
    if version != 5:
        raise Unreachable(f"{where} does not speak SOCKS5", code=CODE)
    if reply != 0:
        reason = REASONS.get(reply, f"reply {reply}")
        raise Unreachable(f"{where} cannot reach {address}:{port}: {reason}", code=CODE)
    # The address that it bound to, which we do not need. Not one byte more is read: what follows is the host's.
    sizes = {1: 4, 4: 16, 3: 0}
    if kind not in sizes:
        raise Unreachable(f"{where} does not speak SOCKS5", code=CODE)
    size = sizes[kind] or (await _exactly(sock, where, 1))[0]
    await _exactly(sock, where, size + 2)


def _encoded(address: str) -> bytes:
    parsed = ip_address(address)
    return (b"\x01" if isinstance(parsed, IPv4Address) else b"\x04") + parsed.packed


async def _exactly(sock: socket.socket, where: str, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(got))
        if not piece:
            raise Unreachable(f"{where} closed the connection during the handshake", code=CODE)
        got += piece
    return got
