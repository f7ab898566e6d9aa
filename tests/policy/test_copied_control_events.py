"""Control events stored again before their range was archived: all of them count, once, in order."""

from typing import Any

import pytest
from msgspec import structs

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.errors import Untrusted
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.inventory import Principal, Target
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import encode
from writ_policy.state.control_follower import ControlFollower
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.control import ControlState
from writ_testing.memory.bus import MemoryBus
from writ_trust.copied_control_events import in_order
from writ_trust.digests import of_all
from writ_trust.keys import Key, generate_seed

WEB = Target(id="anything", role="production", backend="local")


def held(state: ControlState, operation: str = "service_restart") -> bool:
    alice = Principal(id="alice", kind="human", key="U" + "A" * 55)
    return state.stop_of(WEB, alice, operation, 0.0) is not None


def event(kind: str, number: int, **body: Any) -> ControlEvent:
    return ControlEvent(
        id=f"event-{number}",
        at=float(number),
        correlation_id="c",
        kind=kind,
        principal="alice",
        operation_id=f"operation-{number}",
        body=body,
    )


def stored(sequence: int, what: ControlEvent, origin: int | None = None) -> Record:
    headers = {} if origin is None else {CARRIED_FROM: str(origin)}
    return Record(sequence, subjects.control_event(what.kind), encode(what), headers, 0.0)


def archive(generation: int, first: int, last: int, control: list[ControlEvent]) -> ControlEvent:
    expected = JournalArchive(
        generation=generation,
        first=first,
        last=last,
        events=last - first + 1,
        digest="0" * 64,
        control=of_all(map(encode, control)),
        reason="full",
    )
    return event(
        "journal_archive", 1000 + generation, **{name: getattr(expected, name) for name in expected.__struct_fields__}
    )


ONE, TWO, THREE = (
    event("stop_set", 1, scope=["a"]),
    event("stop_set", 2, scope=["b"]),
    event("stop_set", 3, scope=["c"]),
)
GONE = [stored(21, ONE, 5), stored(22, TWO, 7), stored(23, archive(1, 1, 10, [ONE, TWO]))]
"""What is left once the events 5 and 7 were archived with the range up to 10."""


def everything(*_: object) -> bool:
    return True


def test_events_come_once_and_in_the_order_that_they_had_at_first() -> None:
    before = [stored(5, ONE), stored(7, TWO), stored(12, THREE)]
    assert list(in_order([*before, *GONE], everything)) == [5, 7, 12, 23]
    assert list(in_order([before[2], *GONE], everything)) == [5, 7, 12, 23]
    assert list(in_order([before[1], before[2], *GONE], everything)) == [5, 7, 12, 23]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([GONE[0], GONE[2]], id="one that was archived is missing"),
        pytest.param([stored(21, ONE, 5), stored(22, THREE, 7), GONE[2]], id="one is another"),
        pytest.param([stored(21, TWO, 5), stored(22, ONE, 7), GONE[2]], id="they changed places"),
        pytest.param([*GONE[:2], stored(20, THREE, 6), GONE[2]], id="one was put between"),
        pytest.param([stored(5, ONE), stored(21, THREE, 5)], id="a copy is not what it is a copy of"),
        pytest.param([stored(5, ONE), stored(21, ONE, 6)], id="a copy of what never was"),
        pytest.param([stored(5, ONE), stored(21, ONE, 30)], id="a copy of what comes later"),
        pytest.param([*GONE, stored(30, THREE, 12)], id="a copy alone, after the archive"),
    ],
)
def test_incomplete_control_events_are_refused(records: list[Record]) -> None:
    with pytest.raises(Untrusted):
        in_order(sorted(records, key=lambda record: record.sequence), everything)


def test_an_archive_that_nobody_signed_for_names_nothing() -> None:
    with pytest.raises(Untrusted, match="only as a copy"):
        in_order(GONE, lambda *_: False)


class Control:
    """A journal with control events, and a replica behind it."""

    def __init__(self, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bus = bus
        self._monkeypatch = monkeypatch

    async def append(self, what: ControlEvent, origin: int | None = None) -> int:
        subject = subjects.control_event(what.kind)
        last = await self.bus.journal.last(subject)
        headers = {} if origin is None else {CARRIED_FROM: str(origin)}
        expected = last.sequence if last else 0
        entry = Entry(
            subject=subject,
            data=encode(what),
            event_id=f"{what.id}-{origin}",
            filter=subject,
            expected=expected,
            headers=headers,
        )
        return await self.bus.journal.append(entry)

    def follower(self) -> ControlFollower:
        key = Key(generate_seed())
        versions = Versions(self.bus.policies, key, lambda *_: None, lambda *_: None)  # type: ignore[arg-type]
        follower = ControlFollower(self.bus.journal, {key.public: 1 << 62}, versions)
        self._monkeypatch.setattr(follower, "_decided", everything)
        return follower


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    return Control(MemoryBus(), monkeypatch)


def lift(number: int, of: ControlEvent) -> ControlEvent:
    return event("stop_lift", number, stop_id=of.id)


async def test_a_replica_that_starts_or_was_away_knows_what_one_that_was_there_all_the_time_knows(
    control: Control,
) -> None:
    there, away = control.follower(), control.follower()
    history = [ONE, TWO, lift(8, ONE)]
    for what in history[:1]:
        await control.append(what)
    await there.read()
    await away.read()
    for what in history[1:]:
        await control.append(what)
    await there.read()
    later = await control.append(THREE)
    for number, what in enumerate(history, 1):
        await control.append(what, origin=number)
    end = await control.append(archive(1, 1, 3, history))
    new = control.follower()
    for follower in (there, away, new):
        await follower.read()
        assert [stop.id for stop in follower.state.stops] == [TWO.id, THREE.id]
        assert follower.state.sequence == end
    assert later < end


@pytest.mark.parametrize("stored_again", [(), (TWO,), (TWO, ONE)])
async def test_control_events_that_an_executor_leaves_out_or_moves_stop_everything(
    control: Control, stored_again: tuple[ControlEvent, ...]
) -> None:
    for _ in range(2):  # of the range that is gone
        await control.bus.journal.append(
            Entry(subject="writ.journal.x", data=b"", event_id="x", filter="x", expected=0)
        )
    for number, what in enumerate(stored_again, 1):
        await control.append(what, origin=number)
    await control.append(archive(1, 1, 2, [ONE, TWO]))
    follower = control.follower()
    await follower.read()
    assert held(follower.state)


async def test_an_earlier_lift_or_emergency_does_not_count_again(control: Control) -> None:
    follower = control.follower()
    declared = event("emergency_declare", 4, scope=["*"], until=9e9, reason="it burns")
    ended = event("emergency_confirm", 5, emergency_id=declared.id, verdict="end")
    for what in (declared, ended):
        await control.append(what)
    await control.append(structs.replace(declared, id="another"))
    await follower.read()
    assert follower.state.emergencies == ()
