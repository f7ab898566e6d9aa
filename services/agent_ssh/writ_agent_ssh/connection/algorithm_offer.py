"""A server's algorithm offer, read before any is agreed on (RFC 4253, 4.2, 6 and 7.1).

sshd hangs up on a client without a common algorithm, often so fast that the reason is lost. Reading its offer without
sending one distinguishes this from a host that is away. It also finds a server that turns us away with a message: sshd
does so for a while after some refused logins (PerSourcePenalties in sshd_config(5)).
"""

import asyncio
import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple

LONGEST_LINE, LONGEST_PACKET, MOST_LINES = 1024, 65_536, 50
KEXINIT, COOKIE = 20, 16
SECONDS = 3.0
LISTS = ("kex_algs", "server_host_key_algs", "encryption_algs")
"""The first three lists of a KEXINIT, by asyncssh's names."""


class ServerOffer(NamedTuple):
    """`lacks`: the algorithm list without one of ours, and the server's list. `banner`: text instead of an offer.
    Either is empty where there is none.
    """

    lacks: str = ""
    banner: str = ""


class NoOffer(Exception):
    """The server sent this text and hung up."""


async def listen(
    reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter", ours: Mapping[str, Collection[str]]
) -> ServerOffer:
    """Read the server's offer, or the text in its place, and close the connection.

    `ours`: our algorithms, of the kinds compared.
    """
    try:
        async with asyncio.timeout(SECONDS):
            await _identified(reader)
            writer.write(b"SSH-2.0-Writ\r\n")
            offered = await _offer(reader)
    except NoOffer as banner:
        return ServerOffer(banner=str(banner))
    except (OSError, EOFError, TimeoutError, ValueError, struct.error, asyncio.LimitOverrunError):
        return ServerOffer()
    finally:
        writer.close()
    for name, names in offered.items():
        if name in ours and not set(names) & set(ours[name]):
            return ServerOffer(lacks=f"{name.removesuffix('_algs').replace('_', ' ')}: {', '.join(names)[:300]}")
    return ServerOffer()


async def _identified(reader: "asyncio.StreamReader") -> None:
    """Read up to its version line. Sent first, ours would make a server that hangs up reset the connection, and its
    text would be lost.
    """
    banner = ""
    for _ in range(MOST_LINES):
        try:
            line = (await reader.readuntil(b"\n"))[:LONGEST_LINE]
        except EOFError:
            break
        if line.startswith(b"SSH-"):
            return
        banner = banner or "".join(char for char in line.decode("ascii", "replace") if char.isprintable())[:100]
    raise NoOffer(banner)


async def _offer(reader: "asyncio.StreamReader") -> dict[str, list[str]]:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > LONGEST_PACKET:
        raise ValueError("the packet is longer than the protocol allows")
    packet = await reader.readexactly(length)
    if packet[1] != KEXINIT:
        raise ValueError("it is not a key exchange message")
    offset, offered = 2 + COOKIE, {}
    for name in LISTS:
        (size,) = struct.unpack_from(">I", packet, offset)
        offered[name] = packet[offset + 4 : offset + 4 + size].decode("ascii").split(",")
        offset += 4 + size
    return offered
