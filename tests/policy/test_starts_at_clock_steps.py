"""A start is granted although NATS' clock was set, and a step of it hides no decision that was held back."""

from tests.policy.replica import Asking
from tests.policy.test_starts import alarms, refused

from writ_testing.memory.bus import MemoryBus
from writ_trust.statements import sign

DAY = 86_400.0


async def set_forward(asking: Asking, seconds: float) -> None:
    """Set the server's clock while policy measures it."""
    assert isinstance(asking.bus, MemoryBus)
    asking.bus.broker.disk.clock = asking.clock
    await asking.service.time.measure()
    asking.clock.now += seconds
    await asking.service.time.measure()


async def test_request_starts_although_policy_measured_a_step_of_nats_clock_after_the_record(asking: Asking) -> None:
    """Between the decision and the record, and after them, for longer than a request may wait for its start."""
    subject = asking.subject()
    decided = asking.first_decision(subject)
    await set_forward(asking, DAY)
    await asking.record(subject, sign(asking.files.keys["policy"], decided))
    await set_forward(asking, 8 * DAY)
    assert (await asking.granted_as_recorded(subject)).grant is not None
    assert await alarms(asking) == []


async def test_step_of_nats_clock_hides_no_decision_that_was_held_back(asking: Asking) -> None:
    early, late = asking.subject(), asking.subject()
    decided = asking.first_decision(late)
    old = asking.first_decision(early, at=asking.clock.now - 3600.0)
    await asking.record(early, sign(asking.files.keys["policy"], old))
    await set_forward(asking, 3600.0)
    assert await refused(asking, early) == "forged_start"
    asking.clock.now += 700.0
    await asking.record(late, sign(asking.files.keys["policy"], decided))
    assert await refused(asking, late) == "forged_start"


async def test_step_forward_that_was_undone_lets_no_request_start_later(asking: Asking) -> None:
    """Neither one from before the two steps, nor one from after them."""
    before, after = asking.subject(), asking.subject()
    await asking.record(before, sign(asking.files.keys["policy"], asking.first_decision(before)))
    await set_forward(asking, 8 * DAY)
    await set_forward(asking, 60.0 - 8 * DAY)
    await asking.record(after, sign(asking.files.keys["policy"], asking.first_decision(after)))
    asking.clock.now += 8.5 * DAY
    assert [await refused(asking, one) for one in (before, after)] == ["forged_start"] * 2


async def test_step_forward_that_was_undone_hides_no_decision_that_was_held_back(asking: Asking) -> None:
    subject = asking.subject()
    await set_forward(asking, 3600.0)
    await set_forward(asking, -3600.0)
    decided = asking.first_decision(subject)
    asking.clock.now += 3660.0
    await asking.record(subject, sign(asking.files.keys["policy"], decided))
    assert await refused(asking, subject) == "forged_start"
