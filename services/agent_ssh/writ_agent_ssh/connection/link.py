"""One authenticated SSH connection to a target, with those to its jump hosts: opened, used, closed together.

asyncssh's exceptions become ours here. Nothing of the user running this is read: no ssh config or default key, and an
ssh-agent only where the configuration names it.
"""

import asyncio
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.packet import PacketDecodeError

from writ_agent_ssh.connection import algorithms, ignored_messages
from writ_agent_ssh.connection.algorithm_offer import listen
from writ_agent_ssh.connection.client_keys import client_key
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts, PinnedHostKeys
from writ_agent_ssh.settings import JumpHost, SshConnection, Way
from writ_agent_ssh.tailnet.tailscale import Carrier, Tailnet
from writ_bus.backoff import backoff
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.host_addresses import host_and_port
from writ_runtime.logs import Log

NONSENSE = (PacketDecodeError, UnicodeError)
"""Exceptions that asyncssh lets through for malformed packets of a server; they are not of its own kind."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 1.5
"""Seconds between two attempts at a server that turns us away."""
_log = Log("writ.agent.ssh")
C = TypeVar("C", bound="asyncssh.SSHClientSession[bytes]")


class SocketForward(Protocol):
    """A local socket whose connections end at one on the host."""

    def close(self) -> None: ...


class SshLink:
    """An open connection. `lost` once either side has closed it."""

    def __init__(self, hops: list[asyncssh.SSHClientConnection], watch: "ConnectionWatch") -> None:
        self._hops = hops
        self._watch = watch

    @property
    def host_key(self) -> str:
        """Return the fingerprint of the host's key, as ssh prints it."""
        key = self._hops[-1].get_server_host_key()
        return key.get_fingerprint() if key else ""

    @property
    def lost(self) -> bool:
        """Return whether the connection is unusable."""
        return self._watch.lost

    async def channel(self, factory: Callable[[], C], command: str) -> C:
        """Open a channel running this command. Return its session. Raises Unreachable."""
        listener = factory()
        with translated("the host"):
            try:
                await self._hops[-1].create_session(lambda: listener, command, encoding=None)
            except asyncssh.ChannelOpenError as error:
                if self.lost:  # asyncssh raises it for a channel that was about to open, too
                    raise
                message = f"sshd accepts the login and opens no session: {_short(error)} (MaxSessions limits them)"
                raise Unreachable(message, code="no_session") from error
        return listener

    async def check_socket(self, path: str, seconds: float) -> None:
        """Connect to a Unix socket on the host, and leave. Raises Unreachable.

        sshd answers alike where the socket is absent and where it may not forward it.
        """
        try:
            with translated(f"{path} on the host"):
                async with asyncio.timeout(seconds):
                    _, writer = await self._hops[-1].open_unix_connection(path)
                writer.close()
        except Unreachable as error:
            advice = "check that the socket exists, and that sshd (AllowStreamLocalForwarding) and the key allow it"
            raise Unreachable(f"{error}; {advice}", code="unreachable") from error

    async def forward_socket(self, local: str, path: str) -> "SocketForward":
        """Listen on a local socket for connections to one on the host. Raises Unreachable."""
        with translated(f"{path} on the host"):
            return await self._hops[-1].forward_local_path(local, path)

    def abort(self) -> None:
        """Abort at once, without waiting for the host."""
        for hop in reversed(self._hops):
            hop.abort()

    async def close(self) -> None:
        """Close in order; abort if that takes too long."""
        for hop in reversed(self._hops):
            hop.close()
        try:
            async with asyncio.timeout(2.0):
                for hop in reversed(self._hops):
                    await hop.wait_closed()
        except TimeoutError:
            self.abort()


class ConnectionWatch(asyncssh.SSHClient):
    """Notices the end of the connection."""

    def __init__(self) -> None:
        self.lost = False
        self.carrier: Carrier | None = None
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def greeted(self) -> bool:
        """Return whether the server has named its version, as it does unless it turns us away."""
        return self._connection is not None and bool(self._connection.get_extra_info("server_version"))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection, self.lost = conn, False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.end()

    def end(self) -> None:
        """Close the carrier of the connection as well."""
        if self.carrier is not None:
            self.carrier.end()


async def connect(
    target: str,
    connection: SshConnection,
    credentials: SshCredentials,
    known: KnownHosts,
    tailnet: Tailnet | None,
    logins: Mapping[Way, asyncio.Semaphore],
) -> SshLink:
    """Connect through the jump hosts, or the tailnet.

    `logins`: the bounds of simultaneous logins. The wait for a place at a jump host counts in the connection's own
    time, that for its own place does not: the host has not been asked yet. Raises Invalid, Untrusted
    (`host_key_changed`, …), Unreachable; leaves nothing open.
    """
    hops: list[asyncssh.SSHClientConnection] = []
    watch, agents = ConnectionWatch(), AsyncExitStack()
    own = JumpHost(host=connection.host, user=connection.user, port=connection.port)
    try:
        async with logins[connection.way], asyncio.timeout(connection.connect_timeout), agents:
            for number, address in enumerate(connection.jump, 1):
                trusted = known.of(address.host, address.port)
                key = await client_key(credentials.of(target, jump=True), agents)
                options = _options(connection, key, trusted)
                bound = logins[connection.way[:number]]
                hops.append(await _hop(hops, address, options, trusted, ConnectionWatch(), bound))
            name = connection.host_key_alias or own.host
            trusted = known.of(name, own.port, connection)
            options = _options(connection, await client_key(credentials.of(target), agents), trusted)
            with translated(host_and_port(own.host, own.port), trusted):
                carried = await _carried(connection, tailnet, watch)
            more = {"sock": carried, "host_key_alias": name}
            hops.append(await _hop(hops, own, {**options, **more}, trusted, watch, nullcontext()))
    except BaseException as error:
        for hop in reversed(hops):
            hop.abort()
        watch.end()
        if isinstance(error, TimeoutError):
            seconds = connection.connect_timeout
            raise Unreachable(
                f"{connection.host} did not accept the login within {seconds:g} s", code="unreachable"
            ) from None
        raise
    _log_negotiated(target, hops[-1])
    return SshLink(hops, watch)


async def _carried(connection: SshConnection, tailnet: Tailnet | None, watch: ConnectionWatch) -> socket.socket | None:
    """Return a socket to the pinned peer of the tailnet, if the inventory names one (and then no jump hosts); else
    None.
    """
    if connection.via is None:
        return None
    if tailnet is None:
        raise Invalid("this agent is not configured for a tailnet", code="invalid_connection")
    watch.carrier = await tailnet.dial(connection)
    return watch.carrier.sock


async def _hop(
    hops: list[asyncssh.SSHClientConnection],
    address: JumpHost,
    options: dict[str, Any],
    trusted: PinnedHostKeys,
    watch: ConnectionWatch,
    bound: AbstractAsyncContextManager[None],
) -> asyncssh.SSHClientConnection:
    """Connect. A server that hangs up before it names its version is tried again for half of the login's time, counted
    from the first attempt. `bound`: held while connecting, and not in the pauses.

    sshd does so at random while many others log in (MaxStartups in sshd_config(5)). It has read nothing of us then.
    """
    where, loop = host_and_port(address.host, address.port), asyncio.get_running_loop()
    options = {**options, "username": address.user, "tunnel": hops[-1] if hops else (), "client_factory": lambda: watch}
    patience, until = options["login_timeout"] / 2, math.inf
    with translated(where, trusted):
        for pause in backoff(first=FIRST_PAUSE, most=LONGEST_PAUSE):
            async with bound:
                until = min(until, loop.time() + patience)
                try:
                    hop = await asyncssh.connect(address.host, address.port, **options)
                except (asyncssh.ConnectionLost, ConnectionResetError):
                    if options.get("sock") is not None:  # of the tailnet, and used up
                        raise
                    if watch.greeted or loop.time() + pause >= until:
                        await tell_why(where, await _raw(hops, address), options)
                        raise
                else:
                    ignored_messages.leave_out(hop)
                    return hop
            await asyncio.sleep(pause)
    raise AssertionError("backoff never ends")


async def tell_why(
    where: str, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], ours: Mapping[str, Any]
) -> None:
    """Raise the reason of a server that hung up, if it gives one to a connection without SSH."""
    offer = await listen(*streams, ours)
    if offer.lacks:
        raise asyncssh.KeyExchangeFailed(offer.lacks) from None
    if offer.banner:
        raise Unreachable(f"{where} refuses the connection: {offer.banner}", code="turned_away") from None


async def _raw(
    hops: list[asyncssh.SSHClientConnection], address: JumpHost
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection without SSH. asyncssh's streams are like asyncio's."""
    if not hops:
        return await asyncio.open_connection(address.host, address.port)
    return await hops[-1].open_connection(address.host, address.port, encoding=None)  # type: ignore[return-value]


def _options(connection: SshConnection, key: object, trusted: PinnedHostKeys) -> dict[str, Any]:
    names = [name.decode() for name in get_kex_algs()]
    ciphers = [name.decode() for name in get_encryption_algs()]
    macs = [name.decode() for name in get_mac_algs()]
    return {
        "config": None,
        "agent_path": None,
        "client_keys": [key],
        "known_hosts": trusted.hosts,
        "x509_trusted_certs": None,
        "server_host_key_algs": trusted.algorithms,
        "kex_algs": algorithms.narrowed("kex", algorithms.KEX, connection.kex, names),
        "encryption_algs": algorithms.narrowed("ciphers", algorithms.CIPHERS, connection.ciphers, ciphers),
        "mac_algs": algorithms.narrowed("macs", algorithms.MACS, connection.macs, macs),
        "compression_algs": None,
        "preferred_auth": ["publickey"],
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "agent_forwarding": False,
        "disable_trivial_auth": True,
        "login_timeout": connection.connect_timeout,
        "keepalive_interval": connection.keepalive,
        "keepalive_count_max": 3,
    }


def _log_negotiated(target: str, connection: asyncssh.SSHClientConnection) -> None:
    key = connection.get_server_host_key()
    _log.info(
        "ssh.connected",
        target=target,
        host_key=key.get_fingerprint() if key else "",
        cipher=str(connection.get_extra_info("send_cipher")),
        mac=str(connection.get_extra_info("send_mac")),
        server=str(connection.get_extra_info("server_version")),
    )


@contextmanager
def translated(where: str, trusted: PinnedHostKeys | None = None) -> Iterator[None]:
    """Turn asyncssh's exceptions into ours, with a code for the operator's next step."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise _not_the_host(where, trusted) from error
    except asyncssh.PermissionDenied as error:
        raise Invalid(f"{where} does not accept this key", code="auth_failed") from error
    except asyncssh.KeyExchangeFailed as error:
        raise Untrusted(
            f"{where} offers no algorithm that this agent accepts: {error.reason}", code="weak_algorithms"
        ) from error
    except (asyncssh.Error, OSError, *NONSENSE) as error:
        raise Unreachable(f"{where} cannot be reached: {_short(error)}", code="unreachable") from error


def _not_the_host(where: str, trusted: PinnedHostKeys | None) -> WritError:
    if trusted is None or trusted.pinned:
        return Untrusted(f"{where} does not show the host key that is on record for it", code="host_key_changed")
    return Untrusted(f"no host key is on record for {where}", code="host_key_unknown")


def _short(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        text = os.strerror(error.errno)  # asyncio's own text is "Connect call failed" for any reason
    else:
        text = error.reason if isinstance(error, asyncssh.Error) else getattr(error, "strerror", None) or str(error)
    return (text or type(error).__name__)[:200]
