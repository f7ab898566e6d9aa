"""The NATS server of an installation: the bundled one, kept running and equal to the files; or an external one.

Its configuration follows from keys, principals and pools alone; streams and consumers are made by the bootstrap user.
"""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path

from writ_bus import tasks
from writ_bus.errors import BusError, TimedOut
from writ_bus.nats.bus import connect
from writ_bus.nats.tls import TlsOptions
from writ_contracts.errors import ConfigError
from writ_contracts.inventory import GATEWAY, SCANNER, Principal
from writ_documents import atomic_files
from writ_documents.readers import read_agents
from writ_installation.files import tokens
from writ_installation.files.home import Home
from writ_installation.files.lock import turn
from writ_installation.files.principal_changes import admitted_principals
from writ_installation.files.sessions import damaged, discard_damaged, known_sessions, session_keys
from writ_installation.nats import disk
from writ_installation.nats.leaf_sites import check_listener, listener, read_leaves
from writ_installation.nats.recovered_streams import require_recovered_streams
from writ_installation.nats.stream_sizes import sizes
from writ_installation.processes.child import FIRST_PAUSE, LONGEST_PAUSE, ending, rotate_log, tie
from writ_installation.processes.report import ProcessReport
from writ_installation.processes.services import passed_on
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import encrypted, exposure, is_on, renew, server_files
from writ_nats_server.config import SERVICES, GatewayUser, ServerPlan, render
from writ_nats_server.leaf import LeafListener
from writ_nats_server.process import READY_WITHIN, PortTaken, ServerProcess, check_config, must_be_free
from writ_nats_server.streams import ELECTED_WITHIN, provision
from writ_runtime.logs import Log
from writ_trust.keys import is_public

SLACK = 1_000_000
"""Nanoseconds. Go's runtime checks its threads every 20 µs; at the default slack that is 14,000 wake-ups a second, each
interrupting other work (ADR 28).
"""
QUIET_PORTS = range(20_000, 32_768)
"""Below the ports that Linux assigns to connecting sockets (ip(7), `ip_local_port_range`)."""

_log = Log("writ.keeper")


def free_port(host: str = LOOPBACK, besides: int = 0) -> int:
    """Return a port free now and likely to stay free until the server listens: a quiet one, or any. `besides`: one that
    is chosen already.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        for port in random.SystemRandom().sample([one for one in QUIET_PORTS if one != besides], 20):
            with suppress(OSError):
                listener.bind((host, port))
                return port
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def configuration(home: Home, address: ServerAddress) -> str:
    """Return the server's configuration for the present principals.yaml and agents.yaml."""
    sizes(home)  # chosen now, so that they can be changed before the streams are made
    return render(plan(home, address))


def plan(home: Home, address: ServerAddress, now: float | None = None) -> ServerPlan:
    """Return the plan of a server for the present files, and for the tokens and sessions that are valid `now`."""
    now = time.time() if now is None else now
    leaves = read_leaves(home.leaves)
    links = {pool: _accepted(keys, home.leaves) for pool, keys in leaves.links().items()} if leaves else {}
    enrolling = {token.id: token.key for token in tokens.good(home, now)}
    own = {name: home.keys_of(name) for name in ("bootstrap", "sys", "status")}
    ring, pools = home.keyring(), dict[str, list[str]]()
    for agent in read_agents(home.agents).agents:
        if agent.key not in ring.former(f"agent-{agent.pool}"):
            pools.setdefault(agent.pool, []).extend(_accepted([agent.key], home.agents))
    roles = {role: home.keys_of(role.value) for role in SERVICES}
    held = set(chain(*own.values(), enrolling.values(), *pools.values(), *roles.values(), *links.values()))
    known = admitted_principals(home, held)
    sessions = session_keys(known_sessions(home).sessions, known, held, now)
    principals = {one.id: [one.key, *sessions.get(one.id, ())] for one in known if one.kind != GATEWAY}
    scanners = [one.id for one in known if one.kind == "service" and SCANNER in one.roles]
    return ServerPlan(
        store_dir=str(home.store),
        host=address.host,
        port=address.port,
        monitor_port=address.monitor_port,
        bootstrap=own["bootstrap"],
        system=own["sys"],
        status=own["status"],
        roles=roles,
        principals=principals,
        scanners=scanners,
        gateways=_gateways(known),
        pools=pools,
        tokens=enrolling,
        tls=server_files(home),
        leaf=listener(home),
        links=links,
    )


def _accepted(keys: Iterable[str], file: Path) -> list[str]:
    """Return the keys without those whose check sum is wrong: NATS would refuse its whole configuration, and with it
    every later revocation.
    """
    found = list(keys)
    wrong = [key for key in found if not is_public(key)]
    if wrong:
        _log.error("keeper.keys_refused", path=str(file), keys=wrong[:20], effect="they have no access to NATS")
    return [key for key in found if key not in wrong]


def _gateways(known: Iterable[Principal]) -> dict[str, GatewayUser]:
    served: dict[str, list[str]] = {}
    for one in known:
        if one.via is not None:
            served.setdefault(one.via, []).append(one.id)
    return {one.id: GatewayUser(key=one.key, principals=served.get(one.id, ())) for one in known if one.kind == GATEWAY}


async def make_streams(
    home: Home, url: str, pools: Iterable[str], tls: TlsOptions | None, *, patience: float = ELECTED_WITHIN
) -> None:
    """Make all streams, and the consumers of these pools. Raises BusError; see `provision`."""
    bus = await connect(options_of(home, "bootstrap", url, tls))
    try:
        async with turn(home.streams_lock):
            recovered = partial(require_recovered_streams, home, url, tls)
            await provision(bus, pools, sizes(home), patience=patience, may_create=recovered)
    finally:
        await bus.drain(1.0)


@contextmanager
def _port_advice() -> Iterator[None]:
    """Add the remedy to the error of a taken port."""
    try:
        yield
    except PortTaken as error:
        raise PortTaken(f"{error}; `writ up --nats-port 0` takes a free port") from error


class BundledServer:
    """A nats-server of our own: a child process that is restarted when it dies."""

    def __init__(
        self, home: Home, address: ServerAddress, show: Callable[[str], None], environ: Mapping[str, str]
    ) -> None:
        self.address = address
        self.encrypted = is_on(home)
        self.url = self._url()
        self.state = "starting"
        self.restarts = 0
        self.restarted_for = ""
        self.restarted_at: float | None = None
        self.problem = ""
        """Why nothing can be stored."""
        self._warnings: tuple[str, ...] = ()
        self._short = ""
        self.log = home.log / "nats.log"
        self._home = home
        self._show = show
        self._environ = passed_on(environ)
        self._server: ServerProcess | None = None
        self._loaded = ""
        self._leaf: LeafListener | None = None
        self._stopped_for = ""
        self._serves = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def warning(self) -> str:
        """What may go wrong: with the certificate, by an open address, and with the disk."""
        return "; ".join(self._warnings)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._server.pid if self._server is not None and not self._server.exited.is_set() else None

    def move(self, address: ServerAddress) -> None:
        """Change the address, before the start."""
        self.address = address
        self.url = self._url()

    def _url(self) -> str:
        return encrypted(self.address.url) if self.encrypted else self.address.url

    async def check_port(self) -> None:
        """Raises PortTaken where another process has the port for clients."""
        with _port_advice():
            await must_be_free(self.address.host, self.address.port)

    async def start(self) -> None:
        """Returns when it serves. Raises BusError: a port is taken, or in the server's own words."""
        self._home.store.mkdir(parents=True, exist_ok=True)
        self._short = disk.shortage(self._home.store, sizes(self._home))
        self._warn(renew(self._home, time.time()))
        discard_damaged(self._home)  # the journal, which has their content, cannot be read before
        with _port_advice():
            await self._spawn()
        self._watcher = tasks.keep("keep nats", self._keep_running)

    def _warn(self, not_renewed: str) -> None:
        """Keep all warnings, and show the new ones."""
        known = self._warnings
        self._warnings = tuple(filter(None, (not_renewed, exposure(self._home, self.address.host), self._short)))
        for warning in [one for one in self._warnings if one not in known]:
            self._show(warning)

    async def _spawn(self) -> None:
        address = self.address
        if self._server is not None and damaged(self._home):  # until the journal can be read again
            expected = self._home.server_config.read_text()
        else:
            expected = configuration(self._home, address)
        leaf = listener(self._home)
        atomic_files.save(self._home.server_config, expected.encode())
        rotate_log(self.log)
        self._server = await ServerProcess.start(
            self._home.server_config,
            self.log,
            host=address.host,
            port=address.port,
            monitor_port=address.monitor_port,
            through=tie(SLACK),
            environ=self._environ,
        )
        self._loaded, self._leaf = expected, leaf
        self.state, self.problem = "ready", ""
        self._serves.set()

    async def adapt(self) -> bool:
        """Apply changes of the files; return whether there were any. Raises ConfigError, BusError."""
        if is_on(self._home) != self.encrypted:
            raise ConfigError(f"{self._home.tls_file}: to switch TLS on or off, run `writ down` and `writ up`")
        self._warn(await asyncio.to_thread(renew, self._home, time.time()))
        expected = configuration(self._home, self.address)
        if expected == self._loaded:
            return False
        self._loaded = ""  # until it is known: after a stop in between the former content has to be applied again, too
        if self._server is not None and self.pid is not None:  # else it reads its new file when it is started again
            if (leaf := listener(self._home)) != self._leaf:
                await asyncio.to_thread(check_listener, leaf, self._leaf)
            atomic_files.save(self._home.server_config, expected.encode())
            if leaf == self._leaf:
                await self._server.reload()
                self._loaded = expected
            else:  # the one setting of ours that nats-server cannot reload
                await check_config(self._home.server_config)
                await self._start_again(self._server)
        return True

    async def check(self) -> None:
        """See whether it can write; start it again once there is room after it could not."""
        if self._server is None or self.pid is None:
            return
        latched = await self._server.write_error()
        problem = latched or disk.full(self._home.store)
        if problem and problem != self.problem:
            self._show(f"nothing can be stored: {problem}")
        self.problem = problem
        if latched and disk.free(self._home.store) >= disk.ROOM:
            self._show("there is room again: nats is restarted, since it stores nothing after a write error")
            self._stopped_for = "was restarted, since it stored nothing after a write error, as after a full disk"
            await self._server.stop()

    async def _start_again(self, server: ServerProcess) -> None:
        """Stop it, and return when the next one serves."""
        self._show("nats is restarted to accept leaf nodes at another address")
        self._serves.clear()
        self._stopped_for = "was restarted to accept leaf nodes at another address"
        await server.stop()
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._serves.wait()
        except TimeoutError:
            raise TimedOut(f"nats did not start again within {READY_WITHIN:g} s: {self.problem}") from None

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE
        while self._server is not None:
            await self._server.exited.wait()
            self.state = "restarting"
            self.restarts += 1
            self.restarted_for, self.restarted_at = self._stopped_for or ending(self._server.returncode), time.time()
            self._stopped_for = ""
            self._show(f"nats ended: starting it again in {pause:g} s (log: {self.log})")
            await asyncio.sleep(pause)
            try:
                await self._spawn()
                self._show("nats is ready again")
                pause = FIRST_PAUSE
            except (BusError, ConfigError, OSError) as error:
                self.problem = str(error)
                self._show(self.problem)
                pause = min(pause * 2, LONGEST_PAUSE)

    def report(self) -> ProcessReport:
        """Return its part of the supervisor's report."""
        return ProcessReport(
            name="nats",
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            problem=self.problem,
            restarted_for=self.restarted_for,
            restarted_at=self.restarted_at,
        )

    async def stop(self) -> None:
        """Stop it, after it has synced."""
        self.state = "stopping"
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
        self.state = "stopped"
