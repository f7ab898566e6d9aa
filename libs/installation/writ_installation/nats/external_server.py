"""A NATS server or cluster of somebody else's (`NATS_URL`), and the type of either kind of server.

Its operator loads the file of `writ up --write-server-config`. The file carries a mark of its content as a tag of the
server, which each server reports: so a server that still serves a removed key is known by its name.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field, structs

from writ_bus.errors import BusError, BusRefused, Forbidden, Unreachable
from writ_bus.nats.bus import connect
from writ_bus.nats.monitoring import PINGED, STATE, ping
from writ_bus.port import Bus
from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.nats.server import BundledServer, configuration, plan
from writ_installation.processes.report import read_report
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_nats_server.config import SYSTEM, render
from writ_nats_server.system_account import account_of, reload_all

TAG = "writ-configuration:"
QUERIED_EVERY = 5.0
PATIENT_SECONDS = 3.0
"""For a connection, and for replies if a server is missing among those of the first second."""
LOAD_AGAIN = "write the file again (`writ up --write-server-config FILE`), and have each NATS server load it"
"""The next step for the operator of a server that is not Writ's own."""
GIVE_FILE = "give it the file that `writ up --write-server-config FILE` writes"
NO_ACCOUNTS = f"this NATS server has none of Writ's accounts: {GIVE_FILE}"
"""A server without accounts accepts every key, and all keys in one account."""
_ANY_ADDRESS = ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222)


class _StoreConfig(Struct, frozen=True):
    sync_always: bool = False


class _JetStream(Struct, frozen=True):
    config: _StoreConfig | None = None


class _ServerState(Struct, frozen=True):
    """`remotes`: the number of other servers of its cluster with a connection to it."""

    tags: list[str] = field(default_factory=list)
    remotes: int = 0
    jetstream: _JetStream = _JetStream()

    @property
    def is_synced(self) -> bool:
        """Return true if it stores no stream, or syncs each event to its disk before it acknowledges it."""
        return self.jetstream.config is None or self.jetstream.config.sync_always


def external_configuration(home: Home, address: ServerAddress) -> str:
    """Return the file for a server of somebody else's."""
    return f"{configuration(home, address)}server_tags: {json.dumps([TAG + mark(home)])}\n"


def mark(home: Home) -> str:
    """Return a digest of the users and permissions in the present files.

    Tokens and sessions do not count: they end by themselves, and every end would call for a reload.
    """
    found = plan(home, _ANY_ADDRESS, math.inf)
    in_order = structs.replace(  # a rotation that begins to use the new key changes the order alone
        found,
        store_dir="",
        roles={role: sorted(keys) for role, keys in found.roles.items()},
        pools={pool: sorted(keys) for pool, keys in found.pools.items()},
        **{name: sorted(getattr(found, name)) for name in ("bootstrap", "system", "status")},
    )
    return hashlib.sha256(render(in_order).encode()).hexdigest()[:16]


def is_external(home: Home) -> bool:
    """Return true if `writ up` runs here with a NATS server of somebody else's: it cannot write that server's file."""
    report = read_report(home.report_file)
    return report is not None and report.external and holder(home.lock) is not None


class ExternalServer:
    """The server named by NATS_URL. It needs our configuration (`writ up --write-server-config`), or it accepts
    nobody.
    """

    def __init__(self, home: Home, url: str, show: Callable[[str], None], environ: Mapping[str, str]) -> None:
        self.url = url
        self.log: Path | None = None
        self.state = "ready"
        self.restarts = 0
        self.pid: int | None = None
        self.problem = ""
        self.warning = ""
        """The servers that have an earlier configuration, do not reply, or acknowledge events before they are safe."""
        self._not_loaded = False
        self._home = home
        self._show = show
        self._environ = environ
        self._loaded = ""
        self._names = frozenset[str]()
        """The servers at the last query to which all replied."""
        self._reload_due = False
        self._queried = float("-inf")

    async def start(self) -> None:
        """Show which servers lack the present configuration: a process with a new key cannot start. Raises Unreachable
        for a server without Writ's accounts.
        """
        await self._query()
        if self.warning == NO_ACCOUNTS:
            raise Unreachable(self.warning)

    async def check(self) -> None:
        """See whether every server has the present configuration. Its disk is on another host, or may be.

        A file with an error is a warning: the processes go on by what was read before.
        """
        try:
            await self._query()
        except (ConfigError, OSError) as error:
            self.warning, self._queried = str(error), float("-inf")

    async def _query(self) -> None:
        """Compare every few seconds, and show a new warning. Raises ConfigError."""
        if time.monotonic() - self._queried >= QUERIED_EVERY:
            before = self.warning
            try:
                await self._compare(mark(self._home))
            except BusRefused as error:
                self.warning = str(error)
            except BusError:
                return  # no server replies: the services report it
            if self.warning and self.warning != before:
                self._show(self.warning)

    async def adapt(self) -> bool:
        """Return whether principals or pools changed, once every server has loaded them.

        Raises BusRefused with the operator's next step until then; BusError.
        """
        expected = mark(self._home)
        if expected == self._loaded:
            return False
        if not self._not_loaded or time.monotonic() - self._queried >= QUERIED_EVERY:
            await self._compare(expected)
        if self._not_loaded:
            raise BusRefused(self.warning)
        return True

    async def _compare(self, expected: str) -> None:
        """Compare the servers' marks with this one. Once all have a new one, reload them: nats-server connects the
        service imports of a new account at the second reload only.
        """
        tls = client_tls(self._home, self._environ)
        bus = await connect(options_of(self._home, "sys", self.url, tls, wait=PATIENT_SECONDS))
        try:
            states = await _states(bus)
            late = sorted(name for name, one in states.items() if TAG + expected not in one.tags)
            silent = _number_silent(states)
            self._reload_due = self._reload_due or bool(late or silent) or self._loaded not in ("", expected)
            if not (late or silent) and self._reload_due:
                await reload_all(bus, len(states))
                self._reload_due = False
        finally:
            self._queried = time.monotonic()
            await bus.drain(1.0)
        self._loaded = self._loaded if late or silent else expected
        self._names = self._names if silent else frozenset(states)
        self._not_loaded = bool(late or silent)
        unsynced = sorted(name for name, one in states.items() if not one.is_synced)
        warnings = (_late_warning(late), self._silence(silent, states), _unsynced_warning(unsynced))
        self.warning = "; ".join(filter(None, warnings))

    def _silence(self, number: int, states: Mapping[str, _ServerState]) -> str:
        """Return the consequence of servers that do not reply, with their names if these are known."""
        if not number:
            return ""
        names = sorted(self._names - states.keys())
        who = ", ".join(names) if len(names) == number else f"{number} of {number + len(states)}"
        return f"these NATS servers do not reply, and may accept removed keys: {who}"

    async def stop(self) -> None:
        """Do nothing: others stop it."""


async def _states(bus: Bus) -> dict[str, _ServerState]:
    """Return the states of the servers by name. Raises Unreachable without a reply, which shows nothing; BusRefused
    if this is no server with Writ's accounts.
    """
    replies = await ping(bus, PINGED[STATE], {}, _ServerState)
    if not replies and await account_of(bus) != SYSTEM:
        raise BusRefused(NO_ACCOUNTS)
    if not replies:
        raise Unreachable("no NATS server replies with its configuration's tag")
    if _number_silent(dict(replies)):
        replies += await ping(bus, PINGED[STATE], {}, _ServerState, within=PATIENT_SECONDS)
    return dict(replies)


def _number_silent(states: Mapping[str, _ServerState]) -> int:
    """Return how many servers are connected to those that replied, and did not reply. One that is down is not
    connected: it reads its file when it starts, and is compared then.
    """
    return max(max(one.remotes for one in states.values()) + 1 - len(states), 0)


def _late_warning(late: list[str]) -> str:
    """Return the consequence and the next step."""
    if not late:
        return ""
    names = ", ".join(late)
    return f"these NATS servers have another configuration and may accept removed keys: {names}; {LOAD_AGAIN}"


def _unsynced_warning(unsynced: list[str]) -> str:
    """Return the consequence and the next step."""
    if not unsynced:
        return ""
    names = ", ".join(unsynced)
    return f"a power cut of these NATS servers loses acknowledged events: {names}; set `sync_interval: always` there"


Server = BundledServer | ExternalServer


def hint(error: BusError, server: Server) -> str:
    """Return the error, with the next step for an external server that refuses us."""
    if isinstance(server, ExternalServer) and isinstance(error, Forbidden):
        return f"{error}: {GIVE_FILE}"
    return str(error)
