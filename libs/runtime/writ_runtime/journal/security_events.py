"""Security events written to the journal by a service itself, since an executor might be their cause.

Each is stored once, even if several replicas find it: its id is made of the finding.
"""

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

from writ_bus import tracing
from writ_bus.backoff import backoff
from writ_bus.port import Entry, Journal
from writ_bus.shared_subjects import SharedSubjects
from writ_contracts import subjects
from writ_contracts.agents import VIOLATIONS, SecurityKind
from writ_contracts.errors import Invalid, TimedOut, Unreachable, WritError
from writ_contracts.history.records import Record
from writ_contracts.journal import SecurityEvent
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event, encode
from writ_runtime.buckets import Bucket, Buckets
from writ_runtime.logs import Log
from writ_runtime.metric_series import Counter
from writ_runtime.metrics import Metrics

RATE, BURST = 1.0, 200.0
SENDER_RATE, SENDER_BURST = RATE / 2, BURST / 2
"""Of findings that name one principal or pool. A principal that sent bad approvals took the whole burst: then no
`forged_start` was recorded.
"""
MOST_WAITING = 200
PAGE = 1_000
"""Findings that are read at once."""

_log = Log("writ.security")


class SecurityFinding(Struct, frozen=True, kw_only=True):
    """A finding. `after`: the sequence of the journal at which it was found. `again`: it was most
    likely found and counted before.
    """

    kind: SecurityKind
    detail: str
    operation_id: str | None = None
    principal: str | None = None
    pool: str | None = None
    report: Signed | None = None
    after: int = 0
    again: bool = False


class StoredFindings:
    """The findings that are stored on one subject behind a sequence: read once, and continued for the next finding.

    A journal of an earlier release, or a holder of the executors' key, may cause thousands. When each read all others,
    audit needed hours for 100,000 events.
    """

    def __init__(self, journal: Journal, subject: str) -> None:
        self._journal = journal
        self._subject = subject
        self._begin: int | None = None
        self._end = 0
        self._sequences: dict[bytes, int] = {}
        """The last sequence of each content."""

    async def has(self, event: SecurityEvent, after: int, last: int) -> bool:
        """Return whether the event is stored behind `after`. `last`: the subject's last sequence."""
        if self._begin is None or after < self._begin:  # the first finding, or the index is made again
            self._begin = self._end = after
            self._sequences.clear()
        while self._end < last:
            records = await self._journal.read(self._subject, after=self._end, limit=PAGE)
            for record in records:
                self._put(security_event(record), record.sequence)
            if len(records) < PAGE:
                break
        return self._sequences.get(_content(event), 0) > after

    def appended(self, event: SecurityEvent, expected: int, sequence: int) -> None:
        """Add an event of this process, which was stored as the next one after `expected`."""
        if self._begin is not None and self._end == expected:
            self._put(event, sequence)

    def _put(self, event: SecurityEvent | None, sequence: int) -> None:
        self._end = max(self._end, sequence)
        if event is not None:
            self._sequences[_content(event)] = sequence


class SecurityEvents:
    """`record` returns once it is stored. `report` returns at once and leaves it to `run`, which never ends itself."""

    def __init__(self, journal: Journal, clock: Callable[[], float], count: Callable[[SecurityKind], None]) -> None:
        """`count` gets the kind of each finding once, recorded or not: an alert depends on it. It does not get one
        found again that is stored. Any other is counted also if it is stored: a holder of the executors' key could do
        that in advance, to keep the alert from firing.
        """
        self._journal = journal
        self._shared = SharedSubjects()
        self._stored = dict[str, StoredFindings]()
        self._clock = clock
        self._count = count
        self._bucket = Bucket(RATE, BURST, BURST, time.monotonic())
        self._senders = Buckets(SENDER_RATE, SENDER_BURST)
        self._waiting: asyncio.Queue[SecurityFinding] = asyncio.Queue(MOST_WAITING)
        self._recording: SecurityFinding | None = None

    def report(
        self,
        kind: SecurityKind,
        detail: str,
        operation_id: str | None,
        principal: str | None,
        pool: str | None = None,
    ) -> None:
        """Have it recorded. Findings beyond the rate go to the log alone, so nobody fills the journal this way."""
        finding = SecurityFinding(
            kind=kind, detail=detail[:1000], operation_id=operation_id, principal=principal, pool=pool
        )
        about = {"operation_id": operation_id, "principal": principal, "pool": pool}
        _log.warning("security.found", kind=kind, detail=finding.detail, **about)
        sender, now = principal or pool, time.monotonic()
        try:
            if sender is not None and not self._senders.take(sender, now):
                self._give_up(finding, f"too many that name {sender}")
            elif self._bucket.take(now):
                self._waiting.put_nowait(finding)
            else:
                self._give_up(finding, "too many at once")
        except asyncio.QueueFull:
            self._give_up(finding, "too many wait already")

    @property
    def waits(self) -> bool:
        """Return whether a reported finding is not recorded yet: it is lost if this process ends now."""
        return self._recording is not None or not self._waiting.empty()

    async def run(self) -> None:
        """Record the queued findings in order, until cancelled."""
        while True:
            finding = self._recording = await self._waiting.get()
            for pause in backoff(first=0.2, most=5.0):
                try:
                    await self.record(finding)
                    break
                except (Unreachable, TimedOut) as error:
                    _log.warning("security.waiting", kind=finding.kind, error=str(error))
                    await asyncio.sleep(pause)
            self._recording = None

    async def record(self, finding: SecurityFinding) -> None:
        """Store it, unless it is stored already behind `after`. Raises Unreachable and TimedOut: try again then.

        Any other failure is counted and logged alone, since a holder of the executors' key can cause it.
        """
        try:
            is_new = await self._store(finding)
        except (Unreachable, TimedOut):
            raise
        except WritError as error:
            self._give_up(finding, str(error))
        else:
            if is_new or not finding.again:
                self._count(finding.kind)

    def _give_up(self, finding: SecurityFinding, why: str) -> None:
        self._count(finding.kind)
        _log.error("security.not_recorded", kind=finding.kind, detail=finding.detail, error=why)

    async def _store(self, finding: SecurityFinding) -> bool:
        """Store it, and return whether it was not there."""
        subject, event = subjects.security_event(finding.kind), self._event(finding)
        stored = self._stored.setdefault(subject, StoredFindings(self._journal, subject))

        async def attempt() -> bool:
            found = await self._journal.last(subject)
            last = found.sequence if found else 0
            if finding.after and last > finding.after and await stored.has(event, finding.after, last):
                return False
            entry = Entry(
                subject=subject,
                data=encode(event),
                event_id=event.id,
                filter=subject,
                expected=last,
            )
            stored.appended(event, last, await self._journal.append(entry))
            _log.warning("security.recorded", kind=finding.kind, detail=finding.detail)
            return True

        return await self._shared.append(subject, attempt)

    def _event(self, finding: SecurityFinding) -> SecurityEvent:
        stamp = tracing.stamp(self._clock())
        if finding.after:
            named = f"{finding.after} {finding.kind} {finding.operation_id} {finding.detail}"
            stamp["id"] = sha256(named.encode()).hexdigest()[:32]
        return SecurityEvent(
            **stamp,
            kind=finding.kind,
            detail=finding.detail[:1000],
            operation_id=finding.operation_id,
            principal=finding.principal,
            pool=finding.pool,
            report=finding.report,
        )


def security_event(record: Record) -> SecurityEvent | None:
    """Return the security event in a record, or None for any other content: executors write there as well."""
    try:
        event = decode_event(record.data)
    except Invalid:
        return None
    return event if isinstance(event, SecurityEvent) else None


def _content(event: SecurityEvent) -> bytes:
    """Return a digest of the content. The id alone can be computed, and given to an event of other content."""
    return sha256(encode([event.id, event.kind, event.detail, event.operation_id, event.principal])).digest()


def security_counter(measured: Metrics) -> Counter:
    """Declare the counter of the alert `WritSecurityViolation`, in each service with findings."""
    text = "Security events that no correct component causes, by kind: recorded, or found and not recorded."
    return measured.counter("writ_security_events_total", text, {"kind": VIOLATIONS})
