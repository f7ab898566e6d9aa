"""Keep NATS's users equal to the changes of principals and the sessions in the journal. An executor requests it after
each change.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

from writ_bus.nats.bus import connect
from writ_bus.port import Endpoint, Message
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.history.records import Record
from writ_contracts.installation.known_changes import KnownChanges
from writ_contracts.installation.provisioning import ProvisionReply, ProvisionRequest
from writ_contracts.registry import channel
from writ_contracts.wire import decode
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import keep_changes, known_changes, taken_in
from writ_installation.files.sessions import (
    KnownSessions,
    SessionRecord,
    damaged,
    keep_sessions,
    known_sessions,
    report_damaged,
)
from writ_installation.provisioner.reconciler import Rounds
from writ_installation.provisioner.reply_frame import provisioner_handler
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_runtime.endpoint_frame import Observe
from writ_runtime.files.watched_file import Stamp, stamp
from writ_trust.sessions import Session

LARGEST = 4096
MOST_REQUESTS = 100


class PrincipalChangeEndpoint:
    """Answers `writ.provision`: a round applies what the journal has, which the bootstrap user reads."""

    def __init__(self, home: Home, rounds: Rounds, environ: Mapping[str, str], observe: Observe) -> None:
        self._home = home
        self._observe = observe
        self._rounds = rounds
        self._environ = environ
        self._url = ""
        self._sessions = SessionRecord()
        self._kept: list[Stamp | None] = []
        """Both files as they were when they last equalled the journal; empty before the first read."""
        self._reading = asyncio.Lock()
        self._requested_rounds: deque[tuple[int, int]] = deque(maxlen=MOST_REQUESTS)
        """The control events that were read by a request's time, each with the round that applies them."""

    async def read(self, url: str) -> None:
        """Read sessions and changes, and keep them on file. Raises BusError, ConfigError, Invalid."""
        self._url = url
        async with self._reading:
            await self._read(url)

    async def restore_files(self, url: str) -> None:
        """Write the files again if they are lost or damaged, or may not be those that were written last: by older ones
        NATS would admit those who have lost their access since. Raises as `read`.
        """
        if not self._has_files():
            await self.read(url)

    async def restore_damaged(self, url: str) -> None:
        """Write damaged files again, before NATS is made to follow the files. Raises as `read`."""
        if damaged(self._home):
            await self.read(url)

    def _has_files(self) -> bool:
        return self._home.principal_changes.exists() and self._kept == self._stamps()

    def _stamps(self) -> list[Stamp | None]:
        return [stamp(self._home.principal_changes), stamp(self._home.sessions)]

    async def _read(self, url: str) -> None:
        bus = await connect(options_of(self._home, "bootstrap", url, client_tls(self._home, self._environ)))
        try:
            events = await bus.journal.read(subjects.CONTROL, after=max(self._sessions.sequence - 1, 0))
            if self._sessions.continues(events) and self._has_files():
                self._sessions.take_in(events, self._home.policy_keys(), self._home.installation)
            else:
                self._take_in_all(await bus.journal.read(subjects.CONTROL))
            self._keep_sessions()
            self._kept = self._stamps()  # nothing is awaited since they were compared: another may put an older one
        finally:
            await bus.drain(1.0)

    def _take_in_all(self, records: Sequence[Record]) -> None:
        keys, installation, lost = self._home.policy_keys(), self._home.installation, damaged(self._home)
        for path in lost:
            report_damaged(path)
        changes = self._home.principal_changes
        known = KnownChanges() if changes in lost else known_changes(self._home)
        found = taken_in(known, records, keys, installation)
        if found != known or changes in lost or not changes.exists():  # without a file, its readers know of no change
            keep_changes(self._home, found)
        if self._home.sessions in lost:  # after that nobody has access by it, until it is written again
            self._home.sessions.unlink()
        self._sessions = SessionRecord(known_sessions(self._home).sessions)
        self._sessions.take_in(records, keys, installation)

    def _keep_sessions(self) -> None:
        sessions = list(self._sessions.sessions.values())
        if sessions != known_sessions(self._home).sessions:
            keep_sessions(self._home, KnownSessions(sequence=self._sessions.sequence, sessions=sessions))

    def lasting(self) -> list[Session]:
        """Return the open sessions."""
        now = time.time()
        return [one for one in self._sessions.sessions.values() if one.lasts(now)]

    async def apply(self) -> int:
        """Read on, and have a round apply it; return its number. Raises as `read`."""
        await self.read(self._url)
        number = self._rounds.request()
        self._requested_rounds.append((self._sessions.sequence, number))
        return number

    def endpoint(self) -> Endpoint:
        """Return the endpoint for the provisioner's service."""
        request = channel("provision")
        respond = provisioner_handler(request.name, self._provision, ProvisionReply, self._observe)
        return Endpoint(name=request.name, subject=request.subject(), handler=respond, concurrency=1)

    async def _provision(self, message: Message) -> ProvisionReply:
        request = decode(message.data, ProvisionRequest, limit=LARGEST)
        return ProvisionReply(applied=await self._is_applied(request))

    async def _is_applied(self, request: ProvisionRequest) -> bool:
        """Return whether NATS follows the change; have it follow at the first question. One round serves all changes
        that were read before it.
        """
        number = next((number for read, number in self._requested_rounds if read >= request.sequence), None)
        if number is None:
            number = await self.apply()
            if self._sessions.sequence < request.sequence:
                raise Unreachable(f"the change at {request.sequence} of the journal was not found", code="behind")
        return self._rounds.is_done(number)
