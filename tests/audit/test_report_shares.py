"""A flood of reports by the key of one pool hides no report of another pool from audit, and is on record itself."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio

from writ_agent.reporting.security_reports import MOST_PENDING
from writ_audit import reports
from writ_audit.index_follower import IndexFollower
from writ_audit.reports import ReportEndpoint
from writ_bus.tasks import spawn
from writ_contracts import subjects
from writ_contracts.agents import ReportMessage, SecurityKind, SecurityReport
from writ_contracts.wire import encode
from writ_runtime.journal.security_events import SecurityEvents, security_event
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

THIEF, HONEST = Key(generate_seed()), Key(generate_seed())


class AtTheBeginning:
    """A follower of an index without events."""

    position = 0


class Audit:
    """Audit's endpoint of reports, beside executors that record none of them."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.security = SecurityEvents(self.bus.journal, lambda: 1.0, lambda _: None)
        follower = cast(IndexFollower, AtTheBeginning())
        self.endpoint = ReportEndpoint(self.bus.journal, follower, self.security, "")

    async def report(self, key: Key, pool: str, detail: str) -> None:
        report = SecurityReport(kind="path_escape", pool=pool, instance="i-1", detail=detail)
        await self.bus.publish(subjects.report(pool), encode(ReportMessage(report=sign(key, report))))

    async def recorded(self, kind: SecurityKind, pool: str) -> list[str]:
        events = [security_event(one) for one in await self.bus.journal.read(subjects.security_event(kind))]
        return [one.detail for one in events if one is not None and one.pool == pool]


@pytest_asyncio.fixture
async def audit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Audit]:
    monkeypatch.setattr(reports, "PATIENCE", 0.0)
    made = Audit()
    await made.endpoint.listen(made.bus)
    recording = spawn(made.security.run(), "security events")
    yield made
    recording.cancel()
    await made.bus.close()


async def test_flood_of_one_pool_hides_no_report_of_another(audit: Audit) -> None:
    for number in range(300):
        await audit.report(THIEF, "a", f"nothing {number}")
    await audit.report(HONEST, "b", "seen")
    await eventually(lambda: audit.recorded("flood", "a"))
    watching = spawn(audit.endpoint.watch(), "reports")
    assert await eventually(lambda: audit.recorded("path_escape", "b")) == [
        "an agent's report that no executor recorded: seen"
    ]
    watching.cancel()


async def test_burst_of_one_honest_agent_is_no_flood(audit: Audit) -> None:
    """Such as that of an agent over SSH whose hosts all have new keys."""
    for number in range(MOST_PENDING):
        await audit.report(HONEST, "a", f"host {number} has another key")
    for number in range(MOST_PENDING + 100):
        await audit.report(THIEF, "b", f"nothing {number}")
    await eventually(lambda: audit.recorded("flood", "b"))
    assert await audit.recorded("flood", "a") == []


async def test_flood_of_reports_is_recorded_once(audit: Audit) -> None:
    for number in range(600):
        await audit.bus.publish(subjects.report("a"), b"unreadable %d" % number)
    await eventually(lambda: audit.recorded("flood", "a"))
    await audit.report(HONEST, "b", "seen")
    watching = spawn(audit.endpoint.watch(), "reports")
    await eventually(lambda: audit.recorded("path_escape", "b"))
    assert await audit.recorded("flood", "a") == [
        "pool a sends more reports than audit compares with the record: the rest is not read"
    ]
    watching.cancel()
