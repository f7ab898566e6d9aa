"""Reads of one line ask the server for what is there: a search through a long journal holds up everybody."""

from collections.abc import Mapping, Sequence

import pytest

from writ_bus.nats.line_reads import EXPECTED, EXPECTED_UNDER, MOST, line, next_events
from writ_contracts.records import Record

LINE = "writ.journal.op.alice.x.>"
CONTROL = "writ.journal.control.>"


def event(sequence: int, subject: str, expected: int, under: str = "") -> Record:
    headers: Mapping[str, str] = {EXPECTED: str(expected), EXPECTED_UNDER: under or subject}
    return Record(sequence, subject, b"", headers, 0.0)


def stop(sequence: int, expected: int, kind: str = "stop_set") -> Record:
    return event(sequence, f"writ.journal.control.{kind}", expected)


class Stored:
    """The events of one filter in a journal, and what was asked for."""

    def __init__(self, events: Sequence[Record]) -> None:
        self.events = list(events)
        self.asked: list[object] = []

    async def page(self, _: str, after: int, size: int) -> tuple[list[Record], int]:
        self.asked.append(size)
        found = [one for one in self.events if one.sequence > after]
        assert size <= len(found), "the server would search on to the end of the journal"
        return found[:size], len(found) - size

    async def latest(self, _: str) -> list[Record]:
        self.asked.append("latest")
        return sorted({one.subject: one for one in self.events}.values(), key=lambda one: one.sequence)

    async def at(self, sequence: int) -> Record | None:
        self.asked.append(f"at {sequence}")
        return next((one for one in self.events if one.sequence == sequence), None)


async def test_an_operation_takes_one_request() -> None:
    kinds = ("requested", "dispatched.local-vm.web-1", "granted", "finished")
    life = [event(n, f"writ.journal.op.alice.x.{kind}", n - 1 if n > 1 else 0, LINE) for n, kind in enumerate(kinds, 1)]
    stored = Stored(life)
    assert await line(stored, LINE, 0) == life
    assert await line(stored, LINE, 2) == life[2:]
    assert stored.asked == ["latest", "latest"]


async def test_earlier_events_of_a_subject_are_found_by_the_sequence_expected() -> None:
    events = [stop(1, 0), stop(50, 0, "stop_lift"), stop(70_000, 1), stop(4_000_000, 70_000)]
    stored = Stored(events)
    assert await line(stored, CONTROL, 0) == events
    assert stored.asked == ["latest", "at 70000", "at 1"]
    stored.asked.clear()
    assert await line(stored, CONTROL, 69_999) == events[2:]
    assert stored.asked == ["latest", "at 70000"]


async def test_nothing_new_takes_one_request() -> None:
    stored = Stored([stop(1, 0), stop(9, 1)])
    assert await line(stored, CONTROL, 9) == []
    assert stored.asked == ["latest"]


async def test_events_before_the_first_one_that_is_left_are_not_waited_for() -> None:
    events = [stop(70, 3), stop(90, 70)]
    assert await line(Stored(events), CONTROL, 0) == events


@pytest.mark.parametrize(
    "headers",
    [{}, {EXPECTED: "1"}, {EXPECTED: "1", EXPECTED_UNDER: "writ.journal.other"}, {EXPECTED: "-", EXPECTED_UNDER: LINE}],
)
async def test_an_event_that_does_not_tell_its_predecessor_is_no_end(headers: Mapping[str, str]) -> None:
    """Its writer could hide earlier events otherwise: the server checks the sequence under the named filter."""
    events = [event(1, "writ.journal.op.alice.x.a", 0, LINE), Record(2, "writ.journal.op.alice.x.a", b"", headers, 0.0)]
    assert await line(Stored(events), LINE, 0) is None


async def test_a_predecessor_that_is_no_event_of_the_line_was_named_by_a_former_leader() -> None:
    """What it took in last is gone: its sequences are other events now."""

    class Parted(Stored):
        async def at(self, sequence: int) -> Record | None:
            return event(sequence, "writ.journal.op.bob.y.requested", 0)

    assert await line(Parted([stop(5, 0), stop(9, 5)]), CONTROL, 0) is None


async def test_a_line_of_many_events_is_read_in_pages() -> None:
    events = [stop(n, n - 1) for n in range(1, MOST + 3)]
    assert await line(Stored(events), CONTROL, 0) is None


@pytest.mark.parametrize(("size", "asked"), [(1, [1]), (2, [1, 1]), (3, [1, 2]), (256, [1, 2])])
async def test_a_page_is_as_large_as_what_is_there(size: int, asked: Sequence[int]) -> None:
    stored = Stored([stop(5, 0), stop(9, 5), stop(12, 9)])
    found, more = await next_events(stored, CONTROL, 0, size)
    assert (found, more) == (stored.events[:size], max(0, 3 - size))
    assert stored.asked == asked
