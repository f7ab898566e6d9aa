"""Samples of recorded decisions, as audit takes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs
from tests.policy.approving import NEEDS, awaiting, stamp
from tests.policy.publishing import publishable
from tests.policy.replica import Asking
from tests.policy.second_decisions import recorded

from writ_audit import decision_samples
from writ_audit.config import AuditConfig
from writ_audit.decision_samples import AFTER, FILE, MOST_WAITING, CheckedVerdicts, DecisionSamples
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.history.records import Record
from writ_contracts.journal import Rejected, SecurityEvent
from writ_contracts.wire import decode
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.state_file import StateFile
from writ_runtime.journal.security_events import SecurityEvents
from writ_testing.eventually import eventually
from writ_trust.approvals import sign_approval

Counted = asyncio.Queue[str]


@pytest.fixture(autouse=True)
def frequent_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_samples, "CHECK_EVERY", 0.05)


@asynccontextmanager
async def sampling(
    asking: Asking, folder: Path, *, age: float = AFTER, indexed: int = 0, **changed: Any
) -> AsyncIterator[tuple[DecisionSamples, Counted]]:
    """Yield running samples, which choose every decision, and what they count. `age`: of the events, in seconds.
    `changed`: other parts of the bus.
    """
    counted = Counted()
    config = AuditConfig(
        nats_url="nats://127.0.0.1",
        installation="",
        key_file=folder / "audit.seed",
        policy_key=asking.files.keys["policy"].public,
        state_dir=folder / "audit",
        inventory=asking.files.path("inventory"),
        principals=asking.files.path("principals"),
        recheck_one_in=1,
        recheck_rate=100.0,
    )
    parts = {"journal": asking.bus.journal, "policies": asking.bus.policies, **changed}
    samples = DecisionSamples(
        config,
        cast(Bus, SimpleNamespace(**parts)),
        PolicyKeys(config.policy_key, None),
        SecurityEvents(parts["journal"], asking.clock, print),
        counted.put_nowait,
        lambda: asking.clock.now + age,
        indexed=indexed,
    )
    running = asyncio.create_task(samples.run())
    try:
        async with asyncio.timeout(20):
            yield samples, counted
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_record_that_breaks_the_check_is_counted_open_and_ends_nothing(tmp_path: Path) -> None:
    """The stored versions are broken for one record, and whole for the next."""
    async with publishable(tmp_path) as asking:
        about, again = asking.subject(), asking.subject()
        records = [await recorded(asking, one, await asking.decision(one)) for one in (about, again)]
        async with sampling(asking, tmp_path, policies=Breaking(asking.bus.policies)) as (samples, counted):
            for record, result in zip(records, ("open", "same"), strict=True):
                samples.offer(record)
                assert await counted.get() == result


async def forged_rejection(asking: Asking) -> Record:
    """Return the record of a rejection that bob did not sign."""
    asking.files.policy(NEEDS)
    one = await awaiting(asking, asking.subject())
    signed = sign_approval(asking.files.keys["stranger"], one.approval(verdict="reject"))
    common = {**stamp(asking, "rejected"), "operation_id": one.subject.operation_id}
    await asking.append(one.subject, Rejected(**common, approver="bob", approval=signed))
    own = subjects.operation_filter(one.subject.principal, one.subject.operation_id)
    return (await asking.bus.journal.read(own))[-1]


async def findings(asking: Asking) -> list[str]:
    """Return the events that were reported, in the order of the reports."""
    found = await asking.bus.journal.read(subjects.security_event("broken_record"))
    return [decode(one.data, SecurityEvent).detail.partition(":")[0] for one in found]


async def test_a_verdict_is_checked_once_the_journal_can_be_read_and_written_again(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        record = await forged_rejection(asking)
        journal = Interrupted(asking.bus.journal)
        async with sampling(asking, tmp_path, journal=journal) as (samples, counted):
            samples.offer(record)
            assert await counted.get() == "differs"
        assert await findings(asking) == [f"event {record.sequence}"]
        assert journal.failures == {"read": 0, "last": 0, "append": 0}


async def test_no_number_of_other_verdicts_displaces_one(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        record = await forged_rejection(asking)
        other = structs.replace(record, sequence=record.sequence + 1)
        async with sampling(asking, tmp_path) as (samples, counted):
            for one in [record, *[other] * (2 * MOST_WAITING)]:
                samples.offer(one)
            assert await counted.get() == "differs"
        assert await findings(asking) == [f"event {record.sequence}"]


async def test_a_verdict_that_waited_when_audit_ended_is_checked_once_by_the_next_process(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        async with sampling(asking, tmp_path):
            await reached(tmp_path, 0)
        first = await forged_rejection(asking)
        before = first.sequence - 1
        async with sampling(asking, tmp_path, age=0, indexed=before) as (samples, counted):
            samples.offer(first)
            await reached(tmp_path, before)
            assert counted.empty()
        journal = Interrupted(asking.bus.journal)
        async with sampling(asking, tmp_path, indexed=first.sequence, journal=journal) as (_, counted):
            assert await counted.get() == "differs"
            await reached(tmp_path, first.sequence)
        second = await forged_rejection(asking)
        async with sampling(asking, tmp_path, indexed=first.sequence) as (samples, counted):
            samples.offer(second)
            assert await counted.get() == "differs"
            await reached(tmp_path, second.sequence)
            assert counted.empty()
        assert await findings(asking) == [f"event {one.sequence}" for one in (first, second)]


async def reached(folder: Path, sequence: int) -> None:
    """Wait until the stored position is this event."""
    file = StateFile(folder / "audit" / FILE, CheckedVerdicts)

    async def is_stored() -> bool:
        return file.read() == CheckedVerdicts(sequence)

    await eventually(is_stored, what=f"the position {sequence}")


class Interrupted:
    """A journal that cannot be reached at the first read and the first writing of each kind."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self.failures = {"read": 1, "last": 1, "append": 1}

    def __getattr__(self, name: str) -> Any:
        async def attempt(*arguments: Any, **more: Any) -> Any:
            if self.failures.get(name):
                self.failures[name] -= 1
                raise Unreachable("no NATS server")
            return await getattr(self._journal, name)(*arguments, **more)

        return attempt


class Breaking:
    """Breaks the first reading by an unexpected error."""

    def __init__(self, policies: Any) -> None:
        self._policies = policies
        self._broken = False

    async def read(self, *arguments: Any, **more: Any) -> Any:
        if not self._broken:
            self._broken = True
            raise ValueError("an error that nobody foresaw")
        return await self._policies.read(*arguments, **more)
