"""Receive the security reports of agents beside the executors, and record those that the executors did not.

Someone with an executor's key could acknowledge a report and drop it, and the agent would not send it again. With an
agent's key, too, they could flood audit at the same time: each pool has a share of its own, and a flood is recorded.
"""

import asyncio
import hashlib
import time
from collections import Counter, OrderedDict

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
from writ_runtime.sender_warnings import SenderWarnings
from writ_trust.statements import open_signed

PATIENCE = 5.0
"""Seconds that executors have to record a report."""
MARGIN = 1_000
"""Events by which the index may be ahead of a report that is not yet read here."""
RATE, BURST = 0.2, 50.0
"""Reports of one pool: a second on average, and at once."""
MOST_WAITING, REMEMBERED = 256, 1_000
"""Reports of one pool that wait, as many as an agent sends at once, and digests of all."""
READ_RATE, READ_BURST = 10.0, 256.0
"""Messages of one pool whose signature is verified."""
FLOOD_AGAIN = 60.0
"""Seconds after which a flood of a pool is recorded again."""

_log = Log("writ.audit")


class ReportEndpoint:
    """Subscribes to `writ.report.<pool>`. One replica of audit handles each report."""

    def __init__(self, journal: Journal, follower: IndexFollower, security: SecurityEvents, installation: str) -> None:
        self._journal = journal
        self._installation = installation
        self._follower = follower
        self._security = security
        self._buckets = Buckets(RATE, BURST)
        self._read = Buckets(READ_RATE, READ_BURST)
        self._warnings = SenderWarnings(_log)
        self._waiting: asyncio.Queue[tuple[float, int, str, Signed, SecurityReport]] = asyncio.Queue()
        self._waiting_of = Counter[str]()
        self._floods: dict[str, float] = {}
        self._known_reports: OrderedDict[str, None] = OrderedDict()

    async def listen(self, bus: Bus) -> None:
        await bus.subscribe(subjects.report("x").replace(".x", ".*"), self._receive, queue="q-audit")

    async def _receive(self, message: Message) -> None:
        name = hashlib.sha256(message.data).hexdigest()
        if name in self._known_reports:  # agents repeat a report until it is acknowledged
            return
        pool, now = subjects.parse_pool(message.subject), time.monotonic()
        if self._waiting_of[pool] >= MOST_WAITING or not self._read.take(pool, now):
            self._note_flood(pool, now)
            return
        try:
            signed = decode(message.data, ReportMessage, limit=LARGEST_REPORT).report
            report = open_signed(signed, SecurityReport, [signed.key], self._installation)
        except (Invalid, Untrusted) as error:
            self._warnings.warning("report.refused", pool, error=str(error))
            return
        self._known_reports[name] = None
        if len(self._known_reports) > REMEMBERED:
            self._known_reports.popitem(last=False)
        self._waiting_of[pool] += 1
        self._waiting.put_nowait((now + PATIENCE, self._follower.position, pool, signed, report))

    def _note_flood(self, pool: str, now: float) -> None:
        """Record that reports of this pool are not read: true ones may be among them."""
        if now - self._floods.get(pool, float("-inf")) >= FLOOD_AGAIN:
            self._floods[pool] = now
            detail = f"pool {pool} sends more reports than audit compares with the record: the rest is not read"
            self._security.report("flood", detail, None, None, pool)

    async def watch(self) -> None:
        """Check that each report arrives in the journal, until cancelled."""
        while True:
            due, position, pool, signed, report = await self._waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for pause in backoff(first=0.2, most=5.0):
                if await self._done(max(0, position - MARGIN), pool, signed, report):
                    break
                await asyncio.sleep(pause)
            self._waiting_of[pool] -= 1

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
            self._note_flood(pool, time.monotonic())
            self._warnings.warning("report.not_recorded", pool, kind=report.kind, error="too many of this pool")
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
