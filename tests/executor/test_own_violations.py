"""An executor records NATS' refusal of its own messages, unless audit has recorded the same one."""

import asyncio
import os
import time

import pytest

from writ_bus.port import Entry
from writ_bus.tasks import start
from writ_contracts import subjects
from writ_contracts.ids import encode_id
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import encode
from writ_executor.journal import own_violations
from writ_executor.journal.own_violations import OwnViolations
from writ_testing.memory.bus import MemoryBus

SUBJECT = "writ.Other"
OWN = f'NATS refused account EXECUTOR to publish "{SUBJECT}" (key U, cid:1 from ::1, client "executor")'


class Violations:
    """An executor's own violations, and audit beside it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.recorded: list[str] = []
        self.ahead = 0.0
        self.own = OwnViolations(self.bus.journal, self._record, lambda: time.time() + self.ahead)

    async def _record(self, detail: str) -> None:
        self.recorded.append(detail)

    async def by_audit(self, detail: str) -> None:
        event = SecurityEvent(
            id=encode_id(os.urandom(16)), at=time.time(), correlation_id="c", kind="permission_violation", detail=detail
        )
        subject = subjects.security_event("permission_violation")
        await self.bus.journal.append(
            Entry(subject=subject, data=encode(event), event_id=event.id, filter=subject, expected=0)
        )

    async def taken(self, detail: str) -> list[str]:
        """Return the executor's records while audit records this."""
        taking = start(self.own.take("publish", SUBJECT.lower(), after=0), "violation")
        await asyncio.sleep(0)
        await self.by_audit(detail)
        await taking
        return self.recorded


@pytest.fixture
async def violations(monkeypatch: pytest.MonkeyPatch) -> Violations:
    monkeypatch.setattr(own_violations, "AUDIT_WITHIN", 0.2)
    return Violations()


async def test_violation_recorded_by_audit_is_not_recorded_again(violations: Violations) -> None:
    assert await violations.taken(f"{OWN}; 2 more since the last event about this sender") == []


@pytest.mark.parametrize(
    "detail",
    [
        f'NATS refused principal bot to publish "{SUBJECT}" (key U, cid:1 from ::1, client "account EXECUTOR")',
        f'NATS refused principal bot to publish "account.EXECUTOR" (key U, cid:1 from ::1, client "{SUBJECT}")',
        f'NATS refused account EXECUTOR to publish "x" (key U, cid:1 from ::1, client "{SUBJECT}")',
    ],
    ids=["client-named-like-the-executor", "client-named-like-the-subject", "another-subject"],
)
async def test_no_client_can_name_itself_so_that_it_is_taken_for_recorded(violations: Violations, detail: str) -> None:
    assert len(await violations.taken(detail)) == 1


async def test_old_event_of_audit_does_not_prevent_the_record_of_a_new_violation(violations: Violations) -> None:
    """The index of a starting executor has not read it yet."""
    await violations.by_audit(OWN)
    violations.ahead = 60.0
    await violations.own.take("publish", SUBJECT.lower(), after=0)
    assert len(violations.recorded) == 1
