"""A stolen executors' key holds a decided control event back and stores it when it suits: it does not count then."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import KEY, Asking, files, replica

from writ_audit.irregular_events import OperationHistories
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.catalogue.control import OPERATIONS, JournalArchive
from writ_contracts.decisions import Subject
from writ_contracts.errors import Untrusted
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_executor.journal.generations import control_events
from writ_installation.files.principal_changes import KnownChanges, taken_in
from writ_proof.archive.signatures import Signatures
from writ_proof.archive.write import control_digest
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.control_events import STORED_WITHIN
from writ_trust.copied_control_events import in_order

WEEK = 7 * 86_400.0
RULES = [{"name": "control", "operations": [one.name for one in OPERATIONS], "allowed": True, "inherit": False}]
RESTARTS = {"name": "restarts", "operations": ["service_restart"], "allowed": True}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Asking]:
    broker, known = Broker(), files(tmp_path)
    known.policy(*RULES, RESTARTS, emergency_policies=[{**RESTARTS, "name": "urgent"}])
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as one:
        yield one


async def decided(office: Asking, kind: str, **parameters: Any) -> tuple[Subject, dict[str, Any], Signed]:
    subject = office.signed(office.subject(kind, "writ", parameters=parameters))
    answer = await office.decide(subject)
    assert answer.decision is not None, answer
    return subject, dict(answer.effective), answer.decision


async def store(office: Asking, kind: str, held: tuple[Subject, dict[str, Any], Signed]) -> Record:
    subject, effective, decision = held
    about = {"operation_id": subject.operation_id, "id": subject.operation_id, "statement": subject.statement}
    await office.control(kind, effective, decision, parameters_key=KEY, **about)
    record = await office.bus.journal.last(subjects.CONTROL)
    assert record is not None
    return record


async def lift(office: Asking) -> tuple[Subject, dict[str, Any], Signed]:
    set_by = await store(office, "stop_set", await decided(office, "stop_set", scope=["*"], reason="a drill"))
    assert await office.code(office.subject(), control_sequence=set_by.sequence) == "stopped"
    stop_id = office.service._follower.state.stops[0].id  # type: ignore[union-attr]
    return await decided(office, "stop_lift", stop_id=stop_id)


@pytest.mark.parametrize("late", [0.0, STORED_WITHIN - 1, STORED_WITHIN + 1, WEEK])
async def test_lift_of_a_stop_that_was_held_back_lifts_nothing(office: Asking, late: float) -> None:
    held = await lift(office)
    office.clock.now += late
    record = await store(office, "stop_lift", held)
    code = await office.code(office.subject(), control_sequence=record.sequence)
    assert code == ("stopped" if late > STORED_WITHIN else "allowed")


async def test_emergency_that_was_held_back_opens_nothing(office: Asking) -> None:
    held = await decided(office, "emergency_declare", scope=["*"], reason="a drill", until=office.clock.now + 2 * WEEK)
    office.clock.now += WEEK
    record = await store(office, "emergency_declare", held)
    await office.code(office.subject(), control_sequence=record.sequence)
    assert office.service._follower is not None
    assert office.service._follower.state.emergencies == ()


async def test_stop_counts_whenever_it_is_stored(office: Asking) -> None:
    held = await decided(office, "stop_set", scope=["*"], reason="a drill")
    office.clock.now += WEEK
    record = await store(office, "stop_set", held)
    assert await office.code(office.subject(), control_sequence=record.sequence) == "stopped"


async def test_lift_that_was_held_back_is_a_security_event_and_damage_of_an_archive(office: Asking) -> None:
    held = await lift(office)
    early = await store(office, "stop_lift", held)
    assert OperationHistories().examine(early) is None
    late = structs.replace(early, time=early.time + WEEK)
    found = OperationHistories().examine(late)
    assert found is not None
    assert "was not stored when it was decided" in found.what
    keys = [office.files.keys["policy"].public]
    Signatures(keys).check(early)
    with pytest.raises(Untrusted, match="not stored when it was decided"):
        Signatures(keys).check(late)


async def test_change_of_principals_that_was_held_back_opens_no_access_to_nats(office: Asking) -> None:
    held = await decided(office, "principal_manage", action="enable", principal_id="bob")
    record = await store(office, "principal_manage", held)
    keys = {office.files.keys["policy"].public: sys.maxsize}
    late = structs.replace(record, time=record.time + WEEK)
    assert len(taken_in(KnownChanges(), [record], keys, "").changes) == 1
    assert taken_in(KnownChanges(), [late], keys, "").changes == []


@pytest.mark.parametrize("copied", [False, True], ids=["", "copied by the thief"])
async def test_archive_gives_no_life_to_a_lift_that_was_held_back(office: Asking, copied: bool) -> None:
    held = await lift(office)
    office.clock.now += WEEK
    late = await store(office, "stop_lift", held)
    journal = office.bus.journal
    if copied:
        await copy(office, late, late.sequence)
    end = (await journal.read(subjects.CONTROL))[-1].sequence
    control = await control_digest(journal, end)
    for at, record in (await control_events(journal)).items():
        await copy(office, record, at)
    kept = [one for one in await journal.read(subjects.CONTROL) if CARRIED_FROM in one.headers and one.sequence > end]
    archive = structs.replace(late, sequence=kept[-1].sequence + 1, subject=subjects.control_event("journal_archive"))
    body = {**dict.fromkeys(JournalArchive.__struct_fields__, 1), "last": end, "control": control}
    archive = structs.replace(archive, data=encode(event(office, "journal_archive", body)))
    assert [at for at in in_order([*kept, archive], lambda *_: True) if at == late.sequence] == []


def event(office: Asking, kind: str, body: dict[str, Any]) -> ControlEvent:
    return ControlEvent(
        id="archive",
        at=office.clock.now,
        correlation_id="c",
        principal="alice",
        operation_id="b" * 26,
        kind=kind,
        body=body,
    )


async def copy(office: Asking, record: Record, at: int) -> None:
    last = await office.bus.journal.last(record.subject)
    assert last is not None
    await office.bus.journal.append(
        Entry(
            subject=record.subject,
            data=record.data,
            event_id=f"copy-{at}-{last.sequence}",
            filter=record.subject,
            expected=last.sequence,
            headers={CARRIED_FROM: str(at)},
        )
    )
