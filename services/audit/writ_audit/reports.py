"""Receive the security reports of agents beside the executors, and record those that the executors did not.

Someone with an executor's key could acknowledge a report and drop it, and the agent would not send it again.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict

from writ_audit.index_follower import IndexFollower
from writ_bus.backoff import backoff
from writ_bus.port import Bus, Journal, Message
from writ_contracts import subjects
from writ_contracts.agents import LARGEST_REPORT, ReportMessage, SecurityReport
from writ_contracts.errors import Invalid, TimedOut, Unreachable, Untrusted, WritError
from writ_contracts.history.records import Record
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_runtime.buckets import Buckets
from writ_runtime.journal.security_events import SecurityEvents, SecurityFinding, security_event
from writ_runtime.logs import Log
from writ_trust.statements import open_signed

PATIENCE = 5.0
"""Seconds that executors have to record a report."""
MARGIN = 1_000
"""Events by which the index may be ahead of a report that is not yet read here."""
RATE, BURST = 0.2, 50.0
"""Reports of one pool: a second on average, and at once."""
MOST_WAITING, REMEMBERED = 256, 1_000

_log = Log("writ.audit")


class ReportEndpoint:
    """Subscribes to `writ.report.<pool>`. One replica of audit handles each report."""

    def __init__(self, journal: Journal, follower: IndexFollower, security: SecurityEvents, installation: str) -> None:
        self._journal = journal
        self._installation = installation
        self._follower = follower
        self._security = security
        self._buckets = Buckets(RATE, BURST)
        self._waiting: asyncio.Queue[tuple[float, int, str, Signed, SecurityReport]] = asyncio.Queue(MOST_WAITING)
        self._known_reports: OrderedDict[str, None] = OrderedDict()

    async def listen(self, bus: Bus) -> None:
        await bus.subscribe(subjects.report("x").replace(".x", ".*"), self._receive, queue="q-audit")

    async def _receive(self, message: Message) -> None:
        name = hashlib.sha256(message.data).hexdigest()
        if name in self._known_reports:  # agents repeat a report until it is acknowledged
            return
        try:
            pool = subjects.parse_pool(message.subject)
            signed = decode(message.data, ReportMessage, limit=LARGEST_REPORT).report
            report = open_signed(signed, SecurityReport, [signed.key], self._installation)
        except (Invalid, Untrusted) as error:
            _log.warning("report.refused", error=str(error))
            return
        self._known_reports[name] = None
        if len(self._known_reports) > REMEMBERED:
            self._known_reports.popitem(last=False)
        try:
            self._waiting.put_nowait((time.monotonic() + PATIENCE, self._follower.position, pool, signed, report))
        except asyncio.QueueFull:
            _log.warning("report.not_watched", pool=pool, kind=report.kind, reason="too many wait already")

    async def watch(self) -> None:
        """Check that each report arrives in the journal, until cancelled."""
        while True:
            due, position, pool, signed, report = await self._waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for pause in backoff(first=0.2, most=5.0):
                if await self._done(max(0, position - MARGIN), pool, signed, report):
                    break
                await asyncio.sleep(pause)

    async def _done(self, after: int, pool: str, signed: Signed, report: SecurityReport) -> bool:
        """Wait until the report is stored or can never be, and return True; False if it has to be checked later.

        It waits for a server that is away, since agents do not send the report again.
        """
        try:
            await self._see_to(after, pool, signed, report)
        except (Unreachable, TimedOut) as error:
            _log.warning("report.waiting", pool=pool, kind=report.kind, error=str(error))
            return False
        except WritError as error:
            _log.error("report.not_recorded", pool=pool, kind=report.kind, error=str(error))
        return True

    async def _see_to(self, after: int, pool: str, signed: Signed, report: SecurityReport) -> None:
        kind, detail = report.recorded
        there = await self._journal.read(subjects.security_event(kind), after=after)
        if any(_holds(record, signed) for record in there):
            return
        if not self._buckets.take(pool, time.monotonic()):
            _log.warning(
                "report.not_recorded",
                pool=pool,
                kind=report.kind,
                error="this pool sends more reports than are recorded in this time",
            )
            return
        finding = SecurityFinding(
            kind=kind,
            detail=f"an agent's report that no executor recorded: {detail}"[:1000],
            operation_id=report.operation_id,
            principal=report.principal,
            pool=pool,
            report=signed,
        )
        await self._security.record(finding)


def _holds(record: Record, signed: Signed) -> bool:
    event = security_event(record)
    return event is not None and event.report is not None and event.report.signature == signed.signature
