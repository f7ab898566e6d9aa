"""Record what NATS refuses to this executor, unless audit has recorded it from the log of NATS."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from writ_bus.grammar import is_inbox
from writ_bus.port import Journal
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.installation.account_names import account_owner
from writ_runtime.buckets import Bucket
from writ_runtime.journal.security_events import security_event
from writ_runtime.logs import Log

AUDIT_WITHIN = 3.0
"""Seconds for audit, which reads the log four times a second and knows the key and the address."""
RATE, BURST = 1 / 30, 5.0
MOST_READ = 1_000
_ACCOUNT = account_owner("EXECUTOR").text

_log = Log("writ.executor")


class OwnViolations:
    """Defects or attacks. A late reply is neither: its permission ends with the connection of the requester."""

    def __init__(self, journal: Journal, record: Callable[[str], Awaitable[object]]) -> None:
        """`record` stores the security event with this detail."""
        self._journal, self._record = journal, record
        self._bucket = Bucket(RATE, BURST, BURST, time.monotonic())

    async def take(self, kind: str, subject: str, after: int) -> None:
        """Record the refusal of a subject. `after`: the last sequence of the journal known before it."""
        if kind == "publish" and is_inbox(subject.upper()):  # nats-py reports subjects in lower case
            _log.warning("answer.too_late", subject=subject)
            return
        await asyncio.sleep(AUDIT_WITHIN)
        if await self._recorded_by_audit(subject, after):
            _log.warning("violation.recorded_by_audit", kind=kind, subject=subject)
        elif self._bucket.take(time.monotonic()):
            await self._record(f"NATS does not permit this executor {kind} to {subject}")
        else:
            _log.warning("violation.not_recorded", kind=kind, subject=subject)

    async def _recorded_by_audit(self, subject: str, after: int) -> bool:
        try:
            read = await self._journal.read(
                subjects.security_event("permission_violation"), after=after, limit=MOST_READ
            )
        except WritError as error:
            _log.warning("violation.not_compared", error=str(error))
            return False
        details = [event.detail.lower() for one in read if (event := security_event(one)) is not None]
        return any(_ACCOUNT.lower() in detail and f'"{subject.lower()}"' in detail for detail in details)
