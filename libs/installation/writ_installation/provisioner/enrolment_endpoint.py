"""The provisioner's endpoints: it enrols agents and applies changes of principals, on the installation's server."""

import asyncio
from collections.abc import Mapping
from functools import partial

from writ_bus import tasks
from writ_bus.nats.bus import NatsBus, connect
from writ_contracts import subjects
from writ_contracts.version import VERSION
from writ_installation.files.home import Home
from writ_installation.nats.server import options_of
from writ_installation.nats.server_tls import client_tls
from writ_installation.provisioner.enrolments import Enrolments, finish
from writ_installation.provisioner.principal_changes import PrincipalChangeEndpoint
from writ_installation.provisioner.reconciler import Rounds
from writ_runtime.journal_notices import Notifier

CLOSED_WITHIN = 5.0


class EnrolmentEndpoint:
    """Closed until `open`; `open` and `close` may be called at any time, and repeatedly."""

    def __init__(self, home: Home, environ: Mapping[str, str], rounds: Rounds) -> None:
        """`rounds`: of the loop that makes NATS equal to the files."""
        self._changes = PrincipalChangeEndpoint(home, rounds, environ)
        self._home = home
        self._environ = environ
        self._bus: NatsBus | None = None
        self._notifier = Notifier(subjects.NOTICE_PROVISIONER)
        self._telling: asyncio.Task[None] | None = None

    async def open(self, url: str) -> None:
        """Serve from now on. Raises BusError where the server refuses, ConfigError for a bad agents.yaml."""
        finish(self._home)
        if self._bus is not None:
            return
        await self._changes.read(url)
        bus = await connect(options_of(self._home, "keeper", url, client_tls(self._home, self._environ)))
        try:
            enrolments = Enrolments(self._home, self._notifier.tell, partial(self._notifier.record, bus))
            await bus.serve(enrolments.service(VERSION, self._changes.endpoint()))
        except BaseException:
            await bus.close()
            raise
        self._bus = bus
        self._telling = tasks.keep("enrolment notices", partial(self._notifier.run, bus))

    async def close(self) -> None:
        """Stop enrolling."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        if self._bus is not None:
            bus, self._bus = self._bus, None
            await bus.drain(CLOSED_WITHIN)
