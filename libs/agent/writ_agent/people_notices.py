"""Notices of the directory of people's credentials, which an agent takes without a grant."""

import asyncio
import hashlib
from collections.abc import Callable

from writ_agent.refusals import SecurityRefusal
from writ_agent.reporting.security_reports import SecurityReporter
from writ_agent.verification import VerificationContext
from writ_bus.port import Message
from writ_contracts.errors import Invalid, Untrusted, WritError
from writ_contracts.people.directory import PeopleNotice, PeopleNoticeMessage
from writ_contracts.wire import decode
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.logs import Log
from writ_trust.statements import digest, open_signed

_log = Log("writ.agent")


class PeopleNoticeHandler:
    """Verifies each notice by policy's key, and its directory by the pinned people-key and its successors."""

    def __init__(
        self,
        trust: VerificationContext,
        people: KnownDirectory,
        reporter: SecurityReporter,
        changed: Callable[[], None],
    ) -> None:
        """`changed`: called once another version is known."""
        self._trust, self._people, self._reporter, self._changed = trust, people, reporter, changed
        self._refused = ("", "")
        """Digest of the last refused directory, or of the last message that is no notice, and the reason. A repeated
        one is reported once.
        """

    async def handle(self, message: Message) -> None:
        """Take the directory, or report a forged one. Never raises."""
        if not self._people.pinned:
            return
        try:
            body = decode(message.data, PeopleNoticeMessage)
        except Invalid as error:
            await self._report(error, hashlib.sha256(message.data).hexdigest())
            return
        try:
            await self._take(body)
        except (Untrusted, Invalid) as error:
            await self._report(error, digest(body.directory))
        except WritError as error:
            _log.warning("people.not_taken", error=str(error))

    async def _take(self, body: PeopleNoticeMessage) -> None:
        notice = open_signed(body.notice, PeopleNotice, self._trust.policy_keys, self._trust.installation)
        if digest(body.directory) != notice.directory.digest:
            raise Untrusted("it has another directory than policy's notice names")
        before = self._people.value
        if await asyncio.to_thread(self._people.newest, body.directory) is not before:
            self._changed()

    async def _report(self, error: WritError, refused: str) -> None:
        """Report the refusal to the journal. `refused`: the digest of the refused directory."""
        if (refused, str(error)) != self._refused:
            self._refused = refused, str(error)
            refusal = SecurityRefusal("forged_directory", f"a notice of people's credentials: {error}"[:400])
            await self._reporter.report(refusal, None)
