"""Second decisions on records from when the clock of NATS was set: an honest policy is not accused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.policy.publishing import publishable
from tests.policy.replica import Asking
from tests.policy.second_decisions import allowed, checker, recorded

from writ_contracts.decisions import Decision
from writ_contracts.history.records import Record
from writ_rules.second_decisions.checker import SET_BACK, Checker
from writ_rules.second_decisions.file_history import FileHistory
from writ_testing.memory.bus import MemoryBus

HOUR = 3600.0


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as asking:
        yield asking


async def checked(again: Checker, record: Record) -> tuple[str, str]:
    found = await again.check(record)
    assert found is not None
    return found.comparison.result, found.comparison.why


async def decided(asking: Asking) -> Decision:
    return await asking.decision(asking.subject())


async def stored_at(asking: Asking, step: float, decision: Decision) -> Record:
    """Store a request with this decision while the clock of NATS shows `step` seconds more than policy measured."""
    assert isinstance(asking.bus, MemoryBus)
    asking.bus.broker.disk.clock = lambda: asking.clock.now + step
    about = asking.subject()
    return await recorded(asking, about, structs.replace(decision, operation_id=about.operation_id))


async def test_decision_just_before_the_clock_was_set_back_is_the_same(asking: Asking, tmp_path: Path) -> None:
    decision = await decided(asking)
    await stored_at(asking, 0.0, decision)
    late = await stored_at(asking, -HOUR, decision)
    assert await checked(checker(asking, tmp_path), late) == ("same", "")


async def test_decision_of_the_future_differs_though_an_earlier_event_has_a_later_time(
    asking: Asking, tmp_path: Path
) -> None:
    """That event proves a step back, but not that the clock ever showed the decision's time."""
    decision = await decided(asking)
    await stored_at(asking, 0.0, decision)
    late = await stored_at(asking, -HOUR, structs.replace(decision, at=decision.at + HOUR))
    result, why = await checked(checker(asking, tmp_path), late)
    assert (result, why) == ("differs", "by its own time it was made -7200 s before it was stored")


async def test_decision_of_the_future_differs_without_a_step(asking: Asking, tmp_path: Path) -> None:
    decision = await decided(asking)
    await stored_at(asking, 0.0, decision)
    late = await stored_at(asking, 0.0, structs.replace(decision, at=decision.at + HOUR))
    assert (await checked(checker(asking, tmp_path), late))[0] == "differs"


@pytest.mark.parametrize(("known", "expected"), [(HOUR, "same"), (0.0, "differs")])
async def test_decision_just_before_the_clock_was_set_forward_is_the_same_if_the_step_was_measured(
    asking: Asking, tmp_path: Path, known: float, expected: str
) -> None:
    late = await stored_at(asking, HOUR, await decided(asking))
    again = checker(asking, tmp_path, set_forward=lambda since, until: known if since < until else 0.0)
    assert (await checked(again, late))[0] == expected


async def test_decisions_in_a_repeated_hour_stay_open_and_those_before_it_do_not(
    asking: Asking, tmp_path: Path
) -> None:
    """The version was stored before them, by a later time."""
    first = await stored_at(asking, 0.0, await decided(asking))
    asking.clock.now -= HOUR
    repeated = await stored_at(asking, 0.0, await decided(asking))
    asking.clock.now += 2 * HOUR
    again = checker(asking, tmp_path, at=first.time - 1)
    assert [await checked(again, one) for one in (first, repeated, first)] == [
        ("same", ""),
        ("open", SET_BACK),
        ("same", ""),
    ]


async def test_decision_of_the_future_differs_long_after_the_clock_was_set_back(asking: Asking, tmp_path: Path) -> None:
    """Policy measures the clock every 5 s, so no honest decision is from before the step any more."""
    decision = await decided(asking)
    await stored_at(asking, 0.0, decision)
    await stored_at(asking, -HOUR, decision)
    late = await stored_at(asking, 700.0 - HOUR, decision)
    assert (await checked(checker(asking, tmp_path), late))[0] == "differs"


async def test_wrong_decision_after_a_step_that_was_undone_differs(asking: Asking, tmp_path: Path) -> None:
    """One event from the year 2100 must not end the checks until then."""
    again = checker(asking, tmp_path)
    await checked(again, await stored_at(asking, 70 * 365 * 24 * HOUR, await decided(asking)))
    assert isinstance(asking.bus, MemoryBus)
    asking.bus.broker.disk.clock = asking.clock
    about = asking.subject("file_read", parameters={"file_path": "/srv/x"})
    wrong = await recorded(asking, about, allowed(await asking.decision(about)))
    assert (await checked(again, wrong))[0] == "differs"


async def test_decision_by_a_file_that_changed_before_the_clock_was_set_back_stays_open(
    asking: Asking, tmp_path: Path
) -> None:
    inventory = asking.files.path("inventory")
    history = FileHistory(tmp_path / "inputs", inventory)
    history.record_change(asking.clock.now - 90.0)
    first = await stored_at(asking, 0.0, await decided(asking))
    inventory.write_text(f"{inventory.read_text()}# changed\n")
    history.record_change(asking.clock.now)
    asking.clock.now -= HOUR
    decision = await decided(asking)
    policy = structs.replace(decision.policy, inventory_digest=history.versions[-1].digest)
    repeated = await stored_at(asking, 0.0, structs.replace(decision, policy=policy))
    asking.clock.now += 2 * HOUR
    again = checker(asking, tmp_path)
    assert [await checked(again, one) for one in (first, repeated)] == [("same", ""), ("open", SET_BACK)]
