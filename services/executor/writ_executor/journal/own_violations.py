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
EARLIER = 2.0
"""Seconds by which audit's event may seem to be before the refusal, by the clock of this executor."""
RATE, BURST = 1 / 30, 5.0
MOST_READ = 1_000
_REFUSED = f"NATS refused {account_owner('EXECUTOR').text} to ".lower()

_log = Log("writ.executor")


class OwnViolations:
    """Defects or attacks. A late reply is neither: its permission ends with the connection of the requester."""

    def __init__(
        self, journal: Journal, record: Callable[[str], Awaitable[object]], clock: Callable[[], float]
    ) -> None:
        """`record` stores the security event with this detail; `clock` is the time of NATS."""
        self._journal, self._record, self._clock = journal, record, clock
        self._bucket = Bucket(RATE, BURST, BURST, time.monotonic())

    async def take(self, kind: str, subject: str, after: int) -> None:
        """Record the refusal of a subject. `after`: the last sequence of the journal known before it."""
        if kind == "publish" and is_inbox(subject.upper()):  # nats-py reports subjects in lower case
            _log.warning("answer.too_late", subject=subject)
            return
        since = self._clock() - EARLIER
        await asyncio.sleep(AUDIT_WITHIN)
        if await self._recorded_by_audit(subject, after, since):
            _log.warning("violation.recorded_by_audit", kind=kind, subject=subject)
        elif self._bucket.take(time.monotonic()):
            action = "subscribe" if kind == "subscription" else kind  # as the server names it
            await self._record(f"NATS does not permit this executor to {action} to {subject}")
        else:
            _log.warning("violation.not_recorded", kind=kind, subject=subject)

    async def _recorded_by_audit(self, subject: str, after: int, since: float) -> bool:
        """Return whether audit has recorded this refusal. The index may lag, so earlier ones may follow on `after`."""
        try:
            read = await self._journal.read(
                subjects.security_event("permission_violation"), after=after, limit=MOST_READ
            )
        except WritError as error:
            _log.warning("violation.not_compared", error=str(error))
            return False
        recent = [event for one in read if one.time >= since and (event := security_event(one)) is not None]
        return any(_is_of_executor(event.detail, subject) for event in recent)


def _is_of_executor(detail: str, subject: str) -> bool:
    """Return whether audit's event is about an executor and this subject. A client chooses later words of it."""
    refused, quoted, rest = detail.lower().partition('"')
    return refused.startswith(_REFUSED) and quoted != "" and rest.startswith(f'{subject.lower()}"')
