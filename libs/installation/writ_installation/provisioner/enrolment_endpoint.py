"""The provisioner's endpoints: it enrols agents, applies changes of principals, and ends idle sessions."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from writ_bus import tasks
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, WritError
from writ_contracts.notices import Notice
from writ_contracts.version import VERSION
from writ_installation.files.home import Home
from writ_installation.provisioner.enrolments import Enrolments, finish
from writ_installation.provisioner.idle_sessions import IdleSessions
from writ_installation.provisioner.principal_changes import PrincipalChangeEndpoint
from writ_installation.provisioner.reconciler import Rounds
from writ_installation.provisioner.reply_frame import ENDPOINTS
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_nats_server.system_account import idle_seconds
from writ_runtime.journal.journal_notices import NoticeSender, dropped_notices
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer

CLOSED_WITHIN = 5.0
IDLE_CHECK_SECONDS = 1.0
_log = Log("writ.keeper")


class EnrolmentEndpoint:
    """Closed until `open`; `open` and `close` may be called at any time, and repeatedly."""

    def __init__(self, home: Home, environ: Mapping[str, str], rounds: Rounds, metrics: Metrics | None = None) -> None:
        """`rounds`: of the loop that makes NATS equal to the files. `metrics`: those of its process, if it has any."""
        measured = metrics or Metrics(ENDPOINTS)
        self._observe = Observer(_log, measured)
        self._changes = PrincipalChangeEndpoint(home, rounds, environ, self._observe)
        self._home = home
        self._environ = environ
        self._bus: NatsBus | None = None
        self._key = ""
        """The public key of that connection."""
        self._notifier = NoticeSender(subjects.NOTICE_PROVISIONER, dropped_notices(measured))
        self._idle = IdleSessions()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str) -> None:
        """Serve from now on, with the present key: NATS soon refuses a connection with a rotated one.

        Raises BusError where the server refuses, ConfigError for a bad agents.yaml.
        """
        finish(self._home)
        key = self._home.key("keeper").public
        if self._bus is not None and key == self._key:
            return
        await self._changes.read(url)
        bus = await connect(options_of(self._home, "keeper", url, client_tls(self._home, self._environ)))
        try:
            await self.close()
            enrolments = Enrolments(
                self._home, self._notifier.queue, partial(self._notifier.record, bus), self._observe
            )
            await bus.serve(enrolments.service(VERSION, self._changes.endpoint()))
        except BaseException:
            await bus.close()
            raise
        self._bus, self._key = bus, key
        self._tasks = [
            tasks.keep("enrolment notices", partial(self._notifier.run, bus)),
            tasks.keep("idle sessions", partial(self._end_idle_sessions, url, bus)),
        ]

    async def restore_files(self, url: str) -> None:
        """Write changes of principals and sessions again where their files are not those of the journal. Raises as
        `open`.
        """
        await self._changes.restore_files(url)

    async def restore_damaged(self, url: str) -> None:
        """Write the damaged ones of these files again. Raises as `open`."""
        await self._changes.restore_damaged(url)

    async def _end_idle_sessions(self, url: str, bus: Bus) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_SECONDS)
            try:
                await self._check_idle(url, bus)
            except (WritError, ConfigError, OSError) as error:
                _log.warning("keeper.idle_unknown", error=str(error))

    async def _check_idle(self, url: str, bus: Bus) -> None:
        now = time.monotonic()
        due = self._idle.due(self._changes.lasting(), now)
        if not due:
            return
        system = await connect(options_of(self._home, "sys", url, client_tls(self._home, self._environ)))
        try:
            ended = await self._idle.ended(due, now, partial(idle_seconds, system))
        finally:
            await system.drain(1.0)
        for one in ended:
            detail = f"session {one.id} of {one.by} sent no message for {one.idle} s"
            await self._notifier.record(bus, Notice(kind="session_idle", detail=detail, session=one.id))
        if ended:
            await self._changes.apply()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bus is not None:
            bus, self._bus = self._bus, None
            await bus.drain(CLOSED_WITHIN)
