"""Steps of the clocks of policy and executors while approvals and stops are pending, or a window of time holds.

All of these end by the clock of the NATS server, so a step of a service's clock neither ends nor prolongs them.
"""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_clocks import DAY, STEPS, Run, running

from writ_client.client import Writ
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually
from writ_testing.installations.installation import local_target, open_policy, prepare

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(240)]
SOON = 6.0
"""Seconds until a stop ends."""
PEOPLE: list[tuple[str, dict[str, Any]]] = [("bob", {"roles": ["approver"]})]
RULES: list[dict[str, Any]] = [
    {"name": "two", "operations": ["test_noop"], "allowed": True, "requires_approval": True},
    {"name": "short", "operations": ["test_fail"], "allowed": True, "approval": {"timeout": "4s"}},
    {"name": "control", "operations": ["stop_set"], "allowed": True},
]


def today() -> dict[str, Any]:
    """Return a rule that holds on this day of the week, by UTC, and on the next one if it begins during the test."""
    days = {(datetime.now(UTC) + ahead).isoweekday() % 7 for ahead in (timedelta(), timedelta(minutes=10))}
    restriction = {"timezone": "UTC", "days_of_week": sorted(days)}
    return {"name": "today", "operations": ["test_sleep"], "allowed": False, "time_restrictions": [restriction]}


async def approved(run: Run, bob: Writ, operation_id: str) -> str:
    card = await bob.approvals.card(operation_id, (run.installation.home.key("policy").public,))
    assert card.unverified == []
    return (await bob.approvals.approve(card, reason="fine")).state


def step_all(run: Run, step: float) -> None:
    for name in ("policy", "executor", "audit", "agent"):
        run.step(name, wall=step)


async def waiting(writ: Writ, operation: str) -> str:
    answer = await writ.submit(operation, "web-1", {}, reason="a test")
    assert (answer.state, answer.outcome) == ("awaiting_approval", None), answer
    return answer.operation_id or ""


async def test_approval_counts_after_a_step_of_the_services_clocks(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(*RULES), principals=PEOPLE)
    async with running(tmp_path, 2, home=home) as run, await run.installation.client("bob") as bob:
        for step in STEPS:
            operation_id = await waiting(run.writ, "test_noop")
            step_all(run, step)
            assert await approved(run, bob, operation_id) == "approved"
            ended: OperationView = await run.writ.wait(operation_id, timeout=30)
            assert ended.outcome == "succeeded", (step, ended)


async def test_approval_that_is_not_given_expires_in_time_after_a_step_of_the_services_clocks(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(*RULES), principals=PEOPLE)
    async with running(tmp_path, 2, home=home) as run:
        for step in STEPS:
            operation_id = await waiting(run.writ, "test_fail")
            step_all(run, step)
            assert (await run.writ.wait(operation_id, timeout=40)).outcome == "expired"
            events = (await run.writ.trace(operation_id=operation_id)).events
            times = {event.kind: event.at for event in events}
            assert max(times.values()) - times["awaiting_approval"] > 3.0, times


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_stop_ends_in_time_after_a_step_of_the_services_clocks(tmp_path: Path, step: float) -> None:
    home = prepare(tmp_path, policy=open_policy(*RULES, today()), targets=[local_target("web-1", tmp_path / "files")])
    async with running(tmp_path, 2, home=home) as run:
        until = time.time() + SOON
        assert (await run.writ.stop_set(["web-1"], reason="a test", until=until)).outcome == "succeeded"
        step_all(run, step)

        async def goes_on() -> bool:
            verdict = (await run.writ.simulate("test_count", "web-1", {"path": str(run.counted)})).verdict
            stopped = verdict is not None and verdict.code == "stopped"
            assert stopped or time.time() >= until, verdict
            return not stopped

        await eventually(goes_on, within=30, what="the end of the stop")
        assert time.time() >= until
        denied = await run.writ.run("test_sleep", "web-1", {"seconds": 0}, timeout=30)  # today, by the server
        assert denied.outcome == "denied", denied
