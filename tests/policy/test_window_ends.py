"""Starts whose approval window no longer covers them are denied with the reason."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs
from tests.policy.approving import Pending, awaiting, know, stamp
from tests.policy.replica import KEY, Asking

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.journal import WindowUsed
from writ_contracts.wire import encode
from writ_trust.statements import read

RULES = [
    {"name": "restarts", "operations": ["service_restart"], "allowed": True, "requires_approval": True},
    {
        "name": "ahead",
        "operations": ["window_request", "window_end"],
        "allowed": True,
        "inherit": False,
        "requires_approval": True,
    },
]
WINDOW = {"operations": ["service_restart"], "targets": ["web-a"], "uses": 1, "seconds": 600, "reason": "deploy"}


async def opened(asking: Asking) -> tuple[Pending, int]:
    """Return a window of alice approved by bob, and the sequence of its event."""
    asking.files.policy(*RULES)
    expected = asking.signed(asking.subject("window_request", "writ", parameters=dict(WINDOW)))
    one = await awaiting(asking, expected)
    assert (await one.decide(step="ahead#1")).state == "approved"
    again = await asking.decide(structs.replace(one.subject, recorded=True))
    assert again.decision is not None
    number = one.subject.operation_id
    event = {"id": number, "operation_id": number, "parameters_key": KEY, "statement": one.subject.statement}
    sequence = await asking.control("window_request", again.effective, again.decision.detached(), **event)
    return one, sequence


async def ended(asking: Asking, window: str) -> None:
    await asking.control("window_end", {"window_id": window})


async def over(asking: Asking, _: str) -> None:
    asking.clock.now += 601


async def used(asking: Asking, window: str) -> None:
    line = subjects.window_uses(window)
    event = WindowUsed(
        **stamp(asking, "use"),
        window=window,
        use=1,
        most=1,
        target="web-a",
        operation_id="b" * 26,
        principal="alice",
    )
    await asking.bus.journal.append(Entry(subject=line, data=encode(event), event_id="use", filter=line, expected=0))


async def without_roles(asking: Asking, _: str) -> None:
    know(asking, bob=["reader"])


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (ended, "which allowed it, is over"),
        (over, "which allowed it, is over"),
        (used, "which allowed it, has no use left"),
        (without_roles, "which allowed it, no longer suffice"),
    ],
    ids=["ended", "over by its time", "used up", "its approver has no role any more"],
)
async def test_a_start_by_a_window_that_lapsed_names_the_cause(
    asking: Asking, happens: Callable[[Asking, str], Awaitable[None]], why: str
) -> None:
    window, sequence = await opened(asking)
    restart = asking.subject()
    allowed = await asking.decide(restart, control_sequence=sequence)
    assert allowed.decision is not None, allowed
    assert read(allowed.decision, Decision).window == window.subject.operation_id
    await asking.record(restart, allowed.decision.detached())
    await happens(asking, window.subject.operation_id)
    last = await asking.bus.journal.last(subjects.CONTROL)
    answer = await asking.granted_as_recorded(restart, control_sequence=last.sequence if last else 0)
    assert answer.grant is None
    assert answer.decision is not None, answer
    decision = read(answer.decision, Decision)
    assert (decision.effect, decision.code) == ("deny", "window_over")
    assert why in decision.reason


async def test_a_start_by_a_window_with_other_parameters_than_at_its_request_is_forged(asking: Asking) -> None:
    """The operation has no approvals of its own."""
    window, sequence = await opened(asking)
    restart = asking.subject()
    allowed = await asking.decide(restart, control_sequence=sequence)
    assert allowed.decision is not None, allowed
    assert read(allowed.decision, Decision).window == window.subject.operation_id
    await asking.record(restart, allowed.decision.detached())
    other = structs.replace(restart, parameters={**restart.parameters, "timeout": 33})
    answer = await asking.granted_as_recorded(other, control_sequence=sequence)
    assert answer.error is not None
    assert answer.error.code == "forged_start"
    assert (await asking.granted_as_recorded(restart, control_sequence=sequence)).grant is not None
