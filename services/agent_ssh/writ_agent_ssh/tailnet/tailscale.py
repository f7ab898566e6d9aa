"""`via: tailscale`: reach a target as exactly the tailnet peer that the inventory pins, or not at all.

Before each connection the agent checks with tailscaled that a peer of that name or address exists, is online, has a
valid key, is the pinned node, has the pinned tags, and owns the address. It connects to that address, never to one that
a resolver returns. It checks the host key, too: a node key is no host key.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from writ_agent_ssh.settings import SshConnection
from writ_agent_ssh.tailnet import socks
from writ_agent_ssh.tailnet.local_api import LocalApi, PeerStatus, Status, Whois
from writ_contracts.errors import Invalid, Unreachable, Untrusted

DOWN, UNKNOWN, OFFLINE = "tailscale_down", "tailscale_unknown_peer", "tailscale_offline"
EXPIRED, WRONG_NODE, WRONG_TAGS = "tailscale_expired", "tailscale_wrong_node", "tailscale_wrong_tags"
USERSPACE = "tailscale_userspace"
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class Carrier(NamedTuple):
    """A connected socket, owned by the caller, and the function that ends its carrier afterwards."""

    sock: socket.socket
    end: Callable[[], None]


class Tailnet:
    """The tailnet of this host. It is reached by SOCKS5 (`proxy`) or `tailscale nc` (`program`) if configured, else
    directly.
    """

    def __init__(self, api: LocalApi, *, proxy: str | None = None, program: Path | None = None) -> None:
        self._api = api
        self._proxy = proxy
        self._program = program

    async def dial(self, connection: SshConnection) -> Carrier:
        """Connect to the peer. The caller bounds the time. Raises Unreachable, Untrusted (another peer), Invalid."""
        status = await self._api.status(peers=True)
        if not status.tun and self._proxy is None and self._program is None:
            raise Invalid(
                "this tailscaled runs in userspace mode: WRIT_TAILSCALE_SOCKS5 or WRIT_TAILSCALE_PROGRAM must be given",
                code=USERSPACE,
            )
        peer = peer_of(status, connection.host)
        check(peer, connection, time.time())
        address = address_of(peer, connection.host)
        confirm(peer, await self._api.whois(joined(address, connection.port)))
        if self._proxy is not None:
            return Carrier(await socks.connect(self._proxy, address, connection.port), _nothing)
        if self._program is not None:
            return await _netcat(command(self._program, self._api.socket, address, connection.port))
        return Carrier(await _direct(address, connection.port), _nothing)


def peer_of(status: Status, host: str) -> PeerStatus:
    """Return the one peer with this Tailscale address or MagicDNS name, whole or its first label.

    A node's own name (`HostName`) does not count: any node can choose it. Raises Unreachable, Invalid.
    """
    if status.state != "Running":
        raise Unreachable(f"tailscaled is not running its network, it is in state {status.state}", code=DOWN)
    expected = host.rstrip(".").lower()
    names = {expected, f"{expected}.{status.suffix.strip('.').lower()}"}
    address = _address(expected)
    for peer in (status.peers or {}).values():
        if peer.dns_name.rstrip(".").lower() in names or (address and address in map(_address, peer.addresses or ())):
            return peer
    raise Invalid(f"no peer of the tailnet is {host}", code=UNKNOWN)


def check(peer: PeerStatus, connection: SshConnection, now: float) -> None:
    """Check the peer's identity, then its presence. Raises Untrusted, Unreachable."""
    name = peer.dns_name.rstrip(".") or connection.host
    pinned = connection.tailscale_node_key
    if pinned is not None and peer.public_key != pinned:
        raise Untrusted(f"{name} has the node key {peer.public_key}, not the one on record", code=WRONG_NODE)
    if missing := sorted(set(connection.tailscale_tags) - set(peer.tags or ())):
        raise Untrusted(f"{name} lacks the tag {', '.join(missing)}", code=WRONG_TAGS)
    if peer.expired or _past(peer.key_expiry, now):
        when = peer.key_expiry if _is_set(peer.key_expiry) else "its expiry is not known"
        raise Untrusted(f"the key of {name} has expired ({when})", code=EXPIRED)
    if not peer.online:
        last_seen_at = peer.last_seen if _is_set(peer.last_seen) else "never"
        raise Unreachable(f"{name} is offline, last seen {last_seen_at}", code=OFFLINE)


def address_of(peer: PeerStatus, host: str) -> str:
    """Return the address in the inventory, else the peer's first. Raises Unreachable without one."""
    addresses = [found for found in map(_address, peer.addresses or ()) if found]
    if not addresses:
        raise Unreachable(f"{peer.dns_name.rstrip('.') or host} has no address", code=OFFLINE)
    return _address(host) if _address(host) in addresses else addresses[0]


def confirm(peer: PeerStatus, whois: Whois | None) -> None:
    """Check that the address belongs to the peer by tailscaled's routing tables. Raises Untrusted."""
    if whois is None or whois.node.key != peer.public_key:
        whose = whois.node.key if whois else "nobody"
        raise Untrusted(f"the address of {peer.dns_name.rstrip('.')} belongs to {whose}", code=WRONG_NODE)
    if missing := sorted(set(peer.tags or ()) - set(whois.node.tags or ())):
        raise Untrusted(f"{peer.dns_name.rstrip('.')} lacks the tag {', '.join(missing)}", code=WRONG_TAGS)


def command(program: Path, api: Path, address: str, port: int) -> list[str]:
    """Return the argument vector of `tailscale nc`."""
    return [str(program), f"--socket={api}", "nc", str(ip_address(address)), str(port)]


def joined(address: str, port: int) -> str:
    """Return `IP:port`, with brackets for IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


async def _direct(address: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _netcat(argv: list[str]) -> Carrier:
    """Run it on a socket pair, without our environment. It ends by itself when our end is closed."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    return Carrier(ours, lambda: _kill(process))


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def _nothing() -> None:
    """Do nothing: only the socket needs closing."""


def _address(text: str) -> str:
    """Return the address in its comparable form; empty for anything else."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _is_set(moment: str | None) -> bool:
    """Return whether the time is set: Go's zero time is not."""
    return bool(moment) and not str(moment).startswith("0001-")


def _past(moment: str | None, now: float) -> bool:
    """Return whether the time (RFC 3339, as Go writes it) is past. An unreadable one counts as past."""
    if not moment or not _is_set(moment):
        return False
    try:
        return datetime.fromisoformat(moment).timestamp() <= now
    except (ValueError, OverflowError):
        return True
