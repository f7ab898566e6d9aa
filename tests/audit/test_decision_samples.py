"""Samples of recorded decisions, as audit takes them."""

import asyncio
import hashlib
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

from writ_audit import decision_samples, file_copies
from writ_audit.config import AuditConfig
from writ_audit.decision_samples import AFTER, FILE, MOST_WAITING, CheckedVerdicts, DecisionSamples
from writ_audit.file_copies import FOLDER
from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.projection import project
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
    monkeypatch.setattr(file_copies, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(decision_samples, "STORE_EVERY", 0.0)


@asynccontextmanager
async def sampling(
    asking: Asking, folder: Path, *, age: float = AFTER, indexed: int = 0, on: bool = True, **changed: Any
) -> AsyncIterator[tuple[DecisionSamples, Counted]]:
    """Yield running samples, which choose every decision, and what they count. `age`: of the events, in seconds.
    `indexed`: the last event that an earlier process got. `changed`: other parts of the bus; `alarmed` for findings.
    """
    counted, alarmed = Counted(), changed.pop("alarmed", print)
    config = AuditConfig(
        nats_url="nats://127.0.0.1",
        installation="",
        key_file=folder / "audit.seed",
        policy_key=asking.files.keys["policy"].public,
        state_dir=folder / "audit",
        inventory=asking.files.path("inventory"),
        principals=asking.files.path("principals"),
        recheck_one_in=int(on),
        recheck_rate=100.0,
    )
    index = await index_of(asking, config.state_dir, indexed)
    parts = {"journal": asking.bus.journal, "policies": asking.bus.policies, **changed}
    samples = DecisionSamples(
        config,
        cast(Bus, SimpleNamespace(**parts)),
        PolicyKeys(config.policy_key, None),
        SecurityEvents(parts["journal"], asking.clock, alarmed),
        counted.put_nowait,
        lambda: asking.clock.now + age,
        index,
    )
    running = [asyncio.create_task(work) for work in (samples.keep_copies(), samples.run())]
    try:
        async with asyncio.timeout(20):
            yield samples, counted
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        index.close()


async def index_of(asking: Asking, folder: Path, last: int) -> AuditIndex:
    """Return audit's index of the journal up to this event."""
    folder.mkdir(exist_ok=True)
    index = AuditIndex(folder / "audit.sqlite")
    new = await asking.bus.journal.read(subjects.JOURNAL, after=index.place.position)
    changes = [project(one.sequence, one.subject, one.data, one.time) for one in new if one.sequence <= last]
    index.apply(changes, IndexPosition(last))
    return index


async def test_a_record_that_breaks_the_check_is_counted_open_and_ends_nothing(tmp_path: Path) -> None:
    """The stored versions are broken for one record, and whole for the next."""
    async with publishable(tmp_path) as asking:
        about, again = asking.subject(), asking.subject()
        records = [await recorded(asking, one, await asking.decision(one)) for one in (about, again)]
        async with sampling(asking, tmp_path, policies=Breaking(asking.bus.policies)) as (samples, counted):
            for record, result in zip(records, ("open", "same"), strict=True):
                samples.offer(record)
                assert await counted.get() == result


async def test_a_record_from_before_the_clock_of_nats_was_set_back_holds_up_no_check(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        about = asking.subject()
        record = await recorded(asking, about, await asking.decision(about))
        async with sampling(asking, tmp_path, age=-3_600.0) as (samples, counted):
            samples.offer(record)
            assert await counted.get() == "open"


async def test_files_that_change_while_a_large_policy_is_compiled_cause_no_alarm(tmp_path: Path) -> None:
    """The first decision waits for its policy, while principals come and go and are decided on."""
    async with publishable(tmp_path) as asking:
        versions = Held(asking.bus.policies)
        first = asking.subject()
        record = await recorded(asking, first, await asking.decision(first))
        listed, key = asking.files.path("principals").read_text(), asking.files.keys["stranger"].public
        async with sampling(asking, tmp_path, policies=versions) as (samples, counted):
            samples.offer(record)
            await versions.reached.wait()
            for name in ("carol", "dave"):
                asking.files.write("principals", f"{listed}\n- {{id: {name}, kind: human, key: {key}}}\n")
                about = structs.replace(asking.subject(principal=name), key=key)
                decision = await asking.decision(about)
                assert decision.effect == "allow"
                samples.offer(await recorded(asking, about, decision))
                await copies_of(asking, tmp_path, "principals")
            versions.go_on.set()
            assert [await counted.get() for _ in range(3)] == ["same"] * 3
        assert await findings(asking) == []


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


async def test_a_finding_made_again_after_a_rebuild_of_the_index_raises_no_second_alarm(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        record, alarms = await forged_rejection(asking), list[str]()
        for again in (False, True):
            async with sampling(asking, tmp_path, alarmed=alarms.append) as (samples, counted):
                samples.offer(record, again)
                assert await counted.get() == "differs"
        later = await forged_rejection(asking)  # received before a kill, and not checked then
        async with sampling(asking, tmp_path, alarmed=alarms.append) as (samples, counted):
            samples.offer(later, again=True)
            assert await counted.get() == "differs"
        assert alarms == ["broken_record", "broken_record"]
        assert await findings(asking) == [f"event {one.sequence}" for one in (record, later)]


async def test_a_sampled_decision_that_a_rebuild_of_the_index_finds_broken_raises_an_alarm(tmp_path: Path) -> None:
    """It may not have been in the sample before. Another key than audit's can have stored the finding in advance."""
    async with publishable(tmp_path) as asking:
        about, alarms = asking.subject("file_delete", parameters={"file_path": "/srv/a"}), list[str]()
        decision = await asking.decision(about)
        assert decision.effect == "deny"
        record = await recorded(asking, about, structs.replace(decision, effect="allow", code="allowed"))
        for again in (False, True):
            async with sampling(asking, tmp_path, alarmed=alarms.append) as (samples, counted):
                samples.offer(record, again)
                assert await counted.get() == "differs"
                await reached(tmp_path, record.sequence)
        assert alarms == ["broken_record", "broken_record"]


async def test_a_sampled_decision_that_waited_when_audit_ended_is_checked_once_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_samples, "STORE_EVERY", 1000.0)
    async with publishable(tmp_path) as asking:
        about = asking.subject()
        record = await recorded(asking, about, await asking.decision(about))
        async with sampling(asking, tmp_path, age=0) as (samples, counted):
            await reached(tmp_path, 0)
            samples.offer(record)
        for expected in (["same"], []):
            async with sampling(asking, tmp_path, indexed=record.sequence) as (_, counted):
                for result in expected:
                    assert await counted.get() == result
            assert counted.empty()
            assert position(tmp_path) == CheckedVerdicts(record.sequence)


async def test_the_position_is_stored_once_in_a_while_and_not_with_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_samples, "STORE_EVERY", 1000.0)
    async with publishable(tmp_path) as asking:
        records = [await forged_rejection(asking) for _ in range(2)]
        async with sampling(asking, tmp_path) as (samples, counted):
            await reached(tmp_path, 0)
            for record in records:  # the second one is checked in a later pass
                samples.offer(record)
                assert await counted.get() == "differs"
            assert position(tmp_path) == CheckedVerdicts(0)
        assert position(tmp_path) == CheckedVerdicts(records[-1].sequence)


async def test_verdicts_that_came_while_checks_were_off_are_not_checked_afterwards(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        async with sampling(asking, tmp_path):
            await reached(tmp_path, 0)
        last = (await forged_rejection(asking)).sequence
        async with sampling(asking, tmp_path, on=False):
            await reached(tmp_path, None)
        async with sampling(asking, tmp_path, indexed=last) as (_, counted):
            await reached(tmp_path, last)
            assert counted.empty()


def position(folder: Path) -> CheckedVerdicts | None:
    return StateFile(folder / "audit" / FILE, CheckedVerdicts).read()


async def reached(folder: Path, sequence: int | None) -> None:
    """Wait until the stored position is this event, or until there is none."""

    async def is_stored() -> bool:
        return position(folder) == (None if sequence is None else CheckedVerdicts(sequence))

    await eventually(is_stored, what=f"the position {sequence}")


async def copies_of(asking: Asking, folder: Path, name: str) -> None:
    """Wait until there is a copy of the file as it is."""
    data = asking.files.path(name).read_bytes()
    copy = folder / "audit" / FOLDER / f"{name}-{hashlib.sha256(data).hexdigest()}.yaml"

    async def is_kept() -> bool:
        return copy.exists()

    await eventually(is_kept, what=f"the copy {copy.name}")


class Held:
    """Holds the first reading of versions until it may go on."""

    def __init__(self, policies: Any) -> None:
        self._policies = policies
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, *arguments: Any, **more: Any) -> Any:
        self.reached.set()
        await self.go_on.wait()
        return await self._policies.read(*arguments, **more)


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
