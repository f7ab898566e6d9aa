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
from writ_contracts.installation.known_changes import KnownChanges
from writ_contracts.journal import ControlEvent
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_executor.journal.generations import control_events
from writ_installation.files.principal_changes import taken_in
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
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    broker, known = Broker(), files(tmp_path)
    known.policy(*RULES, RESTARTS, emergency_policies=[{**RESTARTS, "name": "urgent"}])
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as one:
        yield one


async def decided(asking: Asking, kind: str, **parameters: Any) -> tuple[Subject, dict[str, Any], Signed]:
    subject = asking.signed(asking.subject(kind, "writ", parameters=parameters))
    answer = await asking.decide(subject)
    assert answer.decision is not None, answer
    return subject, dict(answer.effective), answer.decision


async def store(asking: Asking, kind: str, held: tuple[Subject, dict[str, Any], Signed]) -> Record:
    subject, effective, decision = held
    about = {"operation_id": subject.operation_id, "id": subject.operation_id, "statement": subject.statement}
    await asking.control(kind, effective, decision, parameters_key=KEY, **about)
    record = await asking.bus.journal.last(subjects.CONTROL)
    assert record is not None
    return record


async def lift(asking: Asking) -> tuple[Subject, dict[str, Any], Signed]:
    set_by = await store(asking, "stop_set", await decided(asking, "stop_set", scope=["*"], reason="a drill"))
    assert await asking.code(asking.subject(), control_sequence=set_by.sequence) == "stopped"
    stop_id = asking.service._follower.state.stops[0].id  # type: ignore[union-attr]
    return await decided(asking, "stop_lift", stop_id=stop_id)


@pytest.mark.parametrize("late", [0.0, STORED_WITHIN - 1, STORED_WITHIN + 1, WEEK])
async def test_lift_of_a_stop_that_was_held_back_lifts_nothing(asking: Asking, late: float) -> None:
    held = await lift(asking)
    asking.clock.now += late
    record = await store(asking, "stop_lift", held)
    code = await asking.code(asking.subject(), control_sequence=record.sequence)
    assert code == ("stopped" if late > STORED_WITHIN else "allowed")


async def test_emergency_that_was_held_back_opens_nothing(asking: Asking) -> None:
    held = await decided(asking, "emergency_declare", scope=["*"], reason="a drill", until=asking.clock.now + 2 * WEEK)
    asking.clock.now += WEEK
    record = await store(asking, "emergency_declare", held)
    await asking.code(asking.subject(), control_sequence=record.sequence)
    assert asking.service._follower is not None
    assert asking.service._follower.state.emergencies == ()


async def test_stop_counts_whenever_it_is_stored(asking: Asking) -> None:
    held = await decided(asking, "stop_set", scope=["*"], reason="a drill")
    asking.clock.now += WEEK
    record = await store(asking, "stop_set", held)
    assert await asking.code(asking.subject(), control_sequence=record.sequence) == "stopped"


async def test_lift_that_was_held_back_is_a_security_event_and_damage_of_an_archive(asking: Asking) -> None:
    held = await lift(asking)
    early = await store(asking, "stop_lift", held)
    assert OperationHistories().examine(early) is None
    late = structs.replace(early, time=early.time + WEEK)
    found = OperationHistories().examine(late)
    assert found is not None
    assert "was not stored when it was decided" in found.what
    keys = [asking.files.keys["policy"].public]
    Signatures(keys).check(early)
    with pytest.raises(Untrusted, match="not stored when it was decided"):
        Signatures(keys).check(late)


async def test_change_of_principals_that_was_held_back_opens_no_access_to_nats(asking: Asking) -> None:
    held = await decided(asking, "principal_manage", action="enable", principal_id="bob")
    record = await store(asking, "principal_manage", held)
    keys = {asking.files.keys["policy"].public: sys.maxsize}
    late = structs.replace(record, time=record.time + WEEK)
    assert len(taken_in(KnownChanges(), [record], keys, "").changes) == 1
    assert taken_in(KnownChanges(), [late], keys, "").changes == []


@pytest.mark.parametrize("copied", [False, True], ids=["", "copied by the thief"])
async def test_archive_gives_no_life_to_a_lift_that_was_held_back(asking: Asking, copied: bool) -> None:
    held = await lift(asking)
    asking.clock.now += WEEK
    late = await store(asking, "stop_lift", held)
    journal = asking.bus.journal
    if copied:
        await copy(asking, late, late.sequence)
    end = (await journal.read(subjects.CONTROL))[-1].sequence
    control = await control_digest(journal, end)
    for at, record in (await control_events(journal)).items():
        await copy(asking, record, at)
    kept = [one for one in await journal.read(subjects.CONTROL) if CARRIED_FROM in one.headers and one.sequence > end]
    archive = structs.replace(late, sequence=kept[-1].sequence + 1, subject=subjects.control_event("journal_archive"))
    body = {**dict.fromkeys(JournalArchive.__struct_fields__, 1), "last": end, "control": control}
    archive = structs.replace(archive, data=encode(event(asking, "journal_archive", body)))
    assert [at for at in in_order([*kept, archive], lambda *_: True) if at == late.sequence] == []


def event(asking: Asking, kind: str, body: dict[str, Any]) -> ControlEvent:
    return ControlEvent(
        id="archive",
        at=asking.clock.now,
        correlation_id="c",
        principal="alice",
        operation_id="b" * 26,
        kind=kind,
        body=body,
    )


async def copy(asking: Asking, record: Record, at: int) -> None:
    last = await asking.bus.journal.last(record.subject)
    assert last is not None
    await asking.bus.journal.append(
        Entry(
            subject=record.subject,
            data=record.data,
            event_id=f"copy-{at}-{last.sequence}",
            filter=record.subject,
            expected=last.sequence,
            headers={CARRIED_FROM: str(at)},
        )
    )
