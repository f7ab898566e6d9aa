"""The connections, one for each target and none shared: opened when needed, kept, closed when idle, renewed when lost.

Retries happen only before a claim. After it there is one attempt, and its true result.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count

from writ_agent.backends.connection_retries import retried
from writ_agent.backends.target_health import TargetHealth
from writ_agent.backends.turn_waits import TurnWait, TurnWaits
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.connection.link import SshLink, connect
from writ_agent_ssh.host_sessions.plain_session import PlainSession
from writ_agent_ssh.host_sessions.quarantine import HostQuarantine
from writ_agent_ssh.host_sessions.recent_failures import RecentFailures, RefusedPasswords
from writ_agent_ssh.host_sessions.session import HostopsSession, HostSession
from writ_agent_ssh.settings import SshConnection, Way, connection_of
from writ_agent_ssh.startup.archive import Archive
from writ_agent_ssh.tailnet.tailscale import Tailnet
from writ_bus import tasks
from writ_contracts.errors import Invalid, Unreachable, WritError
from writ_contracts.inventory import Target


class _TargetSession:
    """The session and locks of one target."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.connection: SshConnection | None = None
        self.link: SshLink | None = None
        self.sessions: dict[bool, HostSession] = {}
        """By whether it is root's."""
        self.used_at = 0.0
        self.leases = 0

    @property
    def busy(self) -> bool:
        """Return whether something uses the connection or is about to."""
        return bool(self.opening.locked() or self.leases or any(one.busy for one in self.sessions.values()))

    def open_link(self, connection: SshConnection) -> SshLink | None:
        """Return the link if it is usable for this connection, with whatever sessions it has."""
        if self.link is None or self.link.lost or self.connection != connection:
            return None
        return None if any(one.lost for one in self.sessions.values()) else self.link

    def ready(self, connection: SshConnection, *, root: bool) -> HostSession | None:
        """Return the session if it is usable for this connection."""
        return self.sessions.get(root) if self.open_link(connection) else None

    def drop(self) -> None:
        sessions, link, self.sessions, self.link = self.sessions, self.link, {}, None
        for session in sessions.values():
            session.close()
        if link is not None:
            link.abort()


class Pool:
    """The sessions of hosts, by target: opened when needed, renewed when lost."""

    def __init__(
        self,
        archive: Archive,
        credentials: SshCredentials,
        known: KnownHosts,
        *,
        idle: float,
        connects: int,
        tailnet: Tailnet | None = None,
        set_aside: HostQuarantine | None = None,
    ) -> None:
        """`idle`: seconds for which an unused session is kept. `connects`: simultaneous logins to one host, as a
        target or jump host, and simultaneous connections in the making to one target's address.
        """
        self._archive, self._credentials, self._known = archive, credentials, known
        self._tailnet = tailnet
        self._set_aside = set_aside or HostQuarantine(None)
        self._idle = idle
        self._target_sessions: dict[str, _TargetSession] = defaultdict(_TargetSession)
        self._logins: dict[Way, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(connects))
        self._making: dict[Way, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(connects))
        self._turn_waits = TurnWaits()
        self._opening: set[asyncio.Task[HostSession]] = set()
        self._failures, self._refused = RecentFailures(), RefusedPasswords()
        self.target_health = TargetHealth()
        self._sweeping: asyncio.Task[None] | None = None

    async def session(
        self,
        target: Target,
        operation: str = "",
        *,
        patience: float = 0.0,
        eager: bool = False,
        wait: TurnWait | None = None,
    ) -> HostSession:
        """Return the target's session, root's for operations that need root. An unreachable host is tried again for
        `patience` seconds. `wait`: counts the wait for a turn, which does not use up the patience. Raises WritError.

        A target that just failed fails at once, unless `eager`: for what has begun there. Further attempts of its
        `connect_retries` are such, too: a host that is slow to fail would else use them up by remembered failures.
        """
        self._set_aside.check(target.id)
        connection = connection_of(target)
        root = connection.needs_root(operation)

        attempts = count()

        async def attempt() -> HostSession:
            further = next(attempts) > 0 and connection.connect_retries is not None
            return await self._session(target.id, connection, eager=eager or further, root=root)

        wait = wait or TurnWait()
        with self._turn_waits.counted(target.id, wait):
            retries = None if eager else connection.connect_retries
            return await retried(attempt, retries, patience, lambda: wait.seconds)

    @asynccontextmanager
    async def lease(self, target: Target, wait: TurnWait | None = None) -> AsyncIterator[SshLink]:
        """Return the kept connection of the target for more than hostops; it is not idle within the block. Raises
        WritError.
        """
        place = self._target_sessions[target.id]
        place.leases += 1
        try:
            await self.session(target, wait=wait)
            if place.link is None:  # dropped again meanwhile
                raise Unreachable(f"the connection to {target.id} ended", code="unreachable")
            yield place.link
        finally:
            place.used_at = time.monotonic()
            place.leases -= 1

    @asynccontextmanager
    async def fresh_link(self, target: str, connection: SshConnection) -> AsyncIterator[SshLink]:
        """Open a connection besides the kept one, closed afterwards. Its outcome is recorded."""
        with self._remembered(target), self._failures.watch(target):
            self._set_aside.check(target)
            async with self._turn(connection):
                link = await self._connect(target, connection)
            try:
                yield link
            finally:
                await link.close()

    @asynccontextmanager
    async def started(
        self, target: str, link: SshLink, connection: SshConnection, *, root: bool = False
    ) -> AsyncIterator[HostSession]:
        """Start hostops on that connection; end it afterwards."""
        async with self._turn(connection):
            session = await self._start(target, link, connection, root=root)
        try:
            yield session
        finally:
            session.close()

    def is_queued(self, target: Target) -> bool:
        """Return whether its connection waits until others to the same address are made."""
        return self._turn_waits.is_waiting(target.id)

    def drop(self, target: Target) -> None:
        """Drop the hanging connection to the target."""
        if target.id in self._target_sessions:
            self._target_sessions[target.id].drop()

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for place in self._target_sessions.values():
            place.drop()
        self._target_sessions.clear()

    async def _session(self, target: str, connection: SshConnection, *, eager: bool, root: bool) -> HostSession:
        place = self._target_sessions[target]
        place.used_at = time.monotonic()
        if session := place.ready(connection, root=root):
            return session
        async with AsyncExitStack() as held:
            await held.enter_async_context(place.opening)
            if session := place.ready(connection, root=root):
                return session
            if place.open_link(connection) is None:
                place.drop()
            if not eager:
                self._failures.check(target)
            with self._turn_waits.waiting(target):
                await held.enter_async_context(self._turn(connection))
            open_it = self._open(held.pop_all(), place, target, connection, root=root)
            opening = tasks.start(open_it, "ssh open")
            opening.add_done_callback(lambda _: open_it.close())  # a stop before its first step leaves it unawaited
        self._opening.add(opening)
        opening.add_done_callback(self._opened_or_failed)
        return await asyncio.shield(opening)

    async def _open(
        self, held: AsyncExitStack, place: _TargetSession, target: str, connection: SshConnection, *, root: bool
    ) -> HostSession:
        """Open the session, and release what is `held`. It is opened to its end, also if nobody waits any more: sshd
        penalises logins that are given up, and turns away others from this address.
        """
        async with held:
            with self._remembered(target), self._failures.watch(target):
                session = await self._opened(place, target, connection, root=root)
            place.sessions[root] = session
            place.used_at = time.monotonic()  # it is as old as this, however long it was in the making
        if self._sweeping is None:
            self._sweeping = tasks.keep("ssh sweep", self._sweep)
        return session

    def _opened_or_failed(self, opening: asyncio.Task[HostSession]) -> None:
        self._opening.discard(opening)
        if not opening.cancelled():
            opening.exception()  # retrieved, also where nobody waits any more; it is on record

    async def _opened(
        self, place: _TargetSession, target: str, connection: SshConnection, *, root: bool
    ) -> HostSession:
        link = place.open_link(connection)
        if link is None:
            place.drop()
            link = place.link = await self._connect(target, connection)
            place.connection = connection
        try:
            return await self._start(target, link, connection, root=root)
        except BaseException:
            if not place.sessions:
                place.drop()
            raise

    async def _connect(self, target: str, connection: SshConnection) -> SshLink:
        return await connect(target, connection, self._credentials, self._known, self._tailnet, self._logins)

    @asynccontextmanager
    async def _turn(self, connection: SshConnection) -> AsyncIterator[None]:
        """Hold a place among the connections in the making to the target's address.

        The start of hostops counts as a part of it: dozens at once on one busy machine are all too slow. Logins to
        targets behind this host have places of their own, so a slow start holds up none of them.
        """
        async with self._making[connection.way]:
            yield

    async def _start(self, target: str, link: SshLink, connection: SshConnection, *, root: bool) -> HostSession:
        """Start hostops, or a session without Python if the host has none. Root's has root's own folder there."""
        seconds, reading = connection.connect_timeout, self._set_aside.reading(target)
        if root:
            sudo = self._credentials.sudo(target, connection.user)
            with self._refused.watch(target, sudo):
                return await HostopsSession.start(link, self._archive, "", seconds, reading, sudo)
        try:
            return await HostopsSession.start(link, self._archive, connection.folder or "", seconds, reading)
        except Invalid as error:
            if error.code != "no_python":
                raise
            return await PlainSession.start(link, self._archive.operations, seconds)

    @contextmanager
    def _remembered(self, target: str) -> Iterator[None]:
        """Record the outcome of the block as the target's latest result."""
        try:
            yield
        except WritError as error:
            self.target_health.record(target, error.code)
            raise
        self.target_health.record(target, "")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 4)
            for target, place in list(self._target_sessions.items()):
                unused = time.monotonic() - place.used_at > self._idle
                if unused and not place.busy:
                    place.drop()
                    del self._target_sessions[target]
