"""The provisioner of a NATS server started by others: users, accounts and streams follow the files, as with `writ up`.

It has the keys `bootstrap`, `sys` and `keeper`, no other. While a file is bad, the earlier state stays in force.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from writ_bus.errors import BusError
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.tls import TlsOptions
from writ_contracts.errors import ConfigError
from writ_documents import atomic_files
from writ_documents.readers import read_agents
from writ_installation.files import tokens
from writ_installation.files.home import Home
from writ_installation.files.sessions import ObservedSession, lasting
from writ_installation.nats.server import configuration, make_streams
from writ_installation.provisioner.enrolment_endpoint import EnrolmentEndpoint
from writ_installation.provisioner.folders import write_servers
from writ_installation.provisioner.reconciler import CHECK_SECONDS, Reconciler, Rounds
from writ_installation.server_access.server_address import address_of
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls, renew, tls_state
from writ_nats_server.system_account import reload_all, reload_late
from writ_runtime.files.watched_file import stamp
from writ_runtime.health import Attention, Check
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics

PATIENT_SECONDS = 5.0
LATE_EVERY = 5.0
"""Seconds between two looks for servers that have not loaded the present files."""
_log = Log("writ.keeper")


class Provisioner:
    """`follow` runs until cancelled; `checks` report whether NATS equals the files."""

    def __init__(self, home: Home, url: str, environ: Mapping[str, str], metrics: Metrics | None = None) -> None:
        self._home = home
        self._url = url
        self._environ = environ
        self._rounds = Rounds()
        self._enrolment_endpoint = EnrolmentEndpoint(home, environ, self._rounds, metrics)
        self._reconciler = Reconciler(self._rounds, self._files, self._settle, self._note)
        self._settled_files: list[object] | None = None
        """The state of the files that NATS equals."""
        self._reload_due = True
        self._written = time.monotonic()
        self._problem: str | None = "not made yet"
        self._warning = ""
        """The reason for which the certificate of NATS is not renewed."""
        self.settled = asyncio.Event()
        """Set once NATS has equalled the files."""

    @property
    def checks(self) -> Mapping[str, Check]:
        return {"servers": self._check, "certificate": self._check_certificate}

    async def _check(self) -> str | None:
        return self._problem

    async def _check_certificate(self) -> str | None:
        return Attention(self._warning) if self._warning else None

    async def follow(self) -> None:
        """Look for changed files, and retry failed steps."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_loaded())
            while True:
                await self._reconciler.round()
                await self._reconciler.pause(CHECK_SECONDS)

    def _files(self) -> ObservedSession:
        """Return a state that changes when a file does, or a token is made, used or revoked, or expires."""
        home, now = self._home, time.time()
        paths = (home.principals, home.principal_changes, home.agents, home.leaves, home.sizes, home.public_file)
        stamps = (stamp(path) for path in (*paths, home.keyring_file))
        files = [*stamps, *tls_state(home, now), *(token.id for token in tokens.good(home, now))]
        return ObservedSession(files, lasting(home, now))

    async def close(self) -> None:
        await self._enrolment_endpoint.close()

    def _note(self, failure: Exception | None, is_new: bool) -> None:
        if failure is not None:
            self._problem = str(failure)
            if is_new:
                _log.warning("keeper.not_settled", error=self._problem)
            return
        _log.info("keeper.settled")
        self.settled.set()
        self._problem = None

    def _tls(self) -> TlsOptions | None:
        return client_tls(self._home, self._environ)

    @asynccontextmanager
    async def _system_account(self) -> AsyncIterator[NatsBus]:
        bus = await connect(options_of(self._home, "sys", self._url, self._tls(), wait=PATIENT_SECONDS))
        try:
            yield bus
        finally:
            await bus.drain(1.0)

    async def _keep_loaded(self) -> None:
        """Reload a server that was passed over, since it hung when all were reloaded: it may accept removed keys."""
        while True:
            await asyncio.sleep(LATE_EVERY)
            if self._reload_due:
                continue
            try:
                async with self._system_account() as bus:
                    names = await reload_late(bus, time.monotonic() - self._written)
            except (BusError, ConfigError, OSError) as error:
                _log.warning("keeper.servers_not_compared", error=str(error))
            else:
                if names:
                    _log.info("keeper.late_servers_reloaded", servers=names)

    async def _settle(self) -> None:
        """Apply the files. A starting server reads its file by itself; a running one is reloaded."""
        files = self._files().files
        self._warning = await asyncio.to_thread(renew, self._home, time.time())
        if self.settled.is_set():  # until then the servers may wait for their files
            await self._enrolment_endpoint.restore_files(self._url)
        else:  # by a damaged file NATS would admit those who have lost their access: it stays as it is until the read
            await self._enrolment_endpoint.restore_damaged(self._url)
        if _write(self._home):
            self._written, self._reload_due = time.monotonic(), True
        if self._reload_due:
            async with self._system_account() as bus:
                await reload_all(bus)
            self._reload_due = False
        if files == self._settled_files:  # a session: nothing else depends on it
            return
        self._settled_files = None
        pools = {agent.pool for agent in read_agents(self._home.agents).agents}
        # The next round continues. A change of principals would have to wait for a long one.
        await make_streams(self._home, self._url, sorted(pools), self._tls(), patience=PATIENT_SECONDS)
        await self._enrolment_endpoint.open(self._url)
        self._settled_files = files


def _write(home: Home) -> bool:
    """Write the servers' configurations for the present files; return whether any of them changed."""
    if home.site is None:
        return write_servers(home)
    expected = configuration(home, address_of(home.site)).encode()
    if home.server_config.exists() and home.server_config.read_bytes() == expected:
        return False
    atomic_files.save(home.server_config, expected)
    return True
