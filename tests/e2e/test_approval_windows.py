"""Approval windows of a running installation: approved once, used exactly as often as approved, ended by people."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.history.audit import SearchQuery
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {},
    "bob": {"roles": ["approver"]},
    "copilot": {"kind": "agent", "acts_for": "alice"},
}
RULES: list[dict[str, Any]] = [
    {
        "name": "reviewed",
        "operations": ["test_noop", "service_start", "file_delete", "window_request"],
        "allowed": True,
        "requires_approval": True,
    },
    {
        "name": "each_by_itself",
        "operations": ["test_sleep"],
        "allowed": True,
        "approval": {"windows": False},
    },
    {"name": "never_there", "operations": ["test_noop"], "targets": ["web-3"], "allowed": False},
    {"name": "stops", "operations": ["stop_set", "stop_lift"], "allowed": True},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    targets = [local_target(f"web-{number}", folder / "files") for number in (1, 2, 3)]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=list(PEOPLE.items()))
    async with running_installation(folder, home=home, executors=2, environ={"WRIT_SWEEP": "0.5"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bob(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("bob") as client:
        yield client


async def opened(
    installation: RunningInstallation,
    asker: Writ,
    bob: Writ,
    *operations: str,
    targets: tuple[str, ...] = ("web-1",),
    uses: int = 3,
) -> str:
    """Return the id of a window approved by bob."""
    reply = await asker.windows.request(operations, targets, uses=uses, seconds=600, reason="a test")
    assert reply.answer.state == "awaiting_approval", reply
    card = await bob.approvals.card(reply.operation_id, (installation.home.key("policy").public,))
    assert card.unverified == []
    await bob.approvals.approve(card, reason="fine")
    done = await asker.wait(reply.operation_id, timeout=20)
    assert done.outcome == "succeeded", done
    return reply.operation_id


async def ends(writ: Writ, many: int, operation: str = "test_noop", target: str = "web-1") -> list[OperationView]:
    """Start so many requests at once; return those that ended and those that wait for approval."""
    parameters = {"service_name": "nginx"} if operation == "service_start" else {}
    answers = await asyncio.gather(*(writ.submit(operation, target, parameters, reason="a use") for _ in range(many)))
    started = [one.operation_id or "" for one in answers if one.state != "awaiting_approval"]
    return list(await asyncio.gather(*(writ.wait(one, timeout=40) for one in started)))


def counted(views: list[OperationView]) -> Counter[str]:
    return Counter(view.outcome or "" for view in views)


async def window_of(writ: Writ, window: str) -> Any:
    return next((one for one in (await writ.policy_status()).windows if one.id == window), None)


async def test_each_use_is_decided_recorded_and_names_its_window(
    installation: RunningInstallation, alice: Writ, bob: Writ
) -> None:
    window = await opened(installation, alice, bob, "test_noop", uses=2)
    [view] = await ends(alice, 1)
    assert view.outcome == "succeeded"
    trace = await alice.trace(operation_id=view.operation_id)
    assert [event.kind for event in trace.events if event.kind == "window_used"] == ["window_used"]
    shown = await window_of(alice, window)
    assert (shown.used, shown.approved_by, shown.by) == ([view.operation_id], ["bob"], "alice")
    async with await installation.client("copilot") as copilot:
        assert await ends(copilot, 1) == []  # requests of others wait as before, also of the requester's agent
    assert await ends(alice, 1, target="web-2") == []
    assert await ends(alice, 1, operation="service_start") == []
    await alice.windows.end(window)


async def test_uses_are_exact_under_concurrency_and_through_a_restart(
    installation: RunningInstallation, alice: Writ, bob: Writ
) -> None:
    window = await opened(installation, alice, bob, "test_noop", uses=7)
    first = counted(await ends(alice, 3))
    assert first == {"succeeded": 3}
    for name in ("policy", "executor-1", "executor-2"):
        before = installation.kill(name)
        await installation.until(name, other_than=before)
    then = await ends(alice, 12)
    assert counted(then)["succeeded"] == 4
    assert {view.code for view in then if view.outcome != "succeeded"} <= {"window_over"}
    assert len((await window_of(alice, window)).used) == 7
    assert await ends(alice, 1) == []
    await alice.windows.end(window)


@pytest.mark.parametrize("by", ["alice", "bob", "a stop"])
async def test_a_window_is_ended_by_requester_approver_or_a_stop(
    installation: RunningInstallation, alice: Writ, bob: Writ, by: str
) -> None:
    window = await opened(installation, alice, bob, "test_noop")
    if by == "a stop":
        stop = await bob.stop_set(["web-*"], reason="suspicion")
        await bob.stop_lift(stop.output["id"])
    else:
        ended = await (alice if by == "alice" else bob).windows.end(window)
        assert ended.view is not None
        assert ended.view.outcome == "succeeded"
    assert await window_of(alice, window) is None
    assert await ends(alice, 1) == []
    again = await alice.windows.end(window)
    assert again.answer.outcome in ("denied", "invalid")


async def test_an_agent_may_have_a_window_that_its_human_cannot_approve(
    installation: RunningInstallation, alice: Writ, bob: Writ
) -> None:
    async with await installation.client("copilot") as copilot:
        window = await opened(installation, copilot, bob, "test_noop", uses=1)
        assert counted(await ends(copilot, 1)) == {"succeeded": 1}
        assert await ends(alice, 1) == []  # the window is the agent's alone
        ended = await alice.windows.end(window)  # its human may end it
        assert ended.view is not None
        assert ended.view.outcome == "succeeded"


@pytest.mark.parametrize(
    ("operations", "target", "uses", "code"),
    [
        (["file_delete"], "web-1", 1, "no_window"),  # risk admin, and no rule says so
        (["test_sleep"], "web-1", 1, "no_window"),  # its rule says that none counts
        (["test_noop"], "web-1", 51, "too_many_uses"),
        (["nonsense"], "web-1", 1, "unknown_operation"),
        (["stop_lift"], "web-1", 1, "invalid_parameters"),
        (["test_noop"], "nowhere", 1, "unknown_target"),
    ],
)
async def test_a_window_that_the_policy_does_not_know_is_refused(
    alice: Writ, operations: list[str], target: str, uses: int, code: str
) -> None:
    reply = await alice.windows.request(operations, [target], uses=uses, seconds=600, reason="a test")
    verdict, error = reply.answer.verdict, reply.answer.error
    assert reply.answer.outcome in ("denied", "invalid")
    assert code in (verdict and verdict.code, error and error.code)


async def test_a_deny_wins_over_a_window(installation: RunningInstallation, alice: Writ, bob: Writ) -> None:
    window = await opened(installation, alice, bob, "test_noop", targets=("web-1", "web-3"))
    denied = await ends(alice, 1, target="web-3")
    assert [view.code for view in denied] == ["denied"]
    assert counted(await ends(alice, 1)) == {"succeeded": 1}
    await alice.windows.end(window)


async def test_the_command_requests_lists_shows_and_ends_windows(
    installation: RunningInstallation, alice: Writ, bob: Writ
) -> None:
    run_json = partial(installation.json, by="alice")
    misspelt = ("window", "request", "test_noop", "-r", "a deploy", "-t", "wbe-1")
    assert "did you mean 'web-" in (await run_json(*misspelt, status=2))["error"]["message"]
    reply = await run_json(
        *("window", "request", "test_noop", "-t", "web-1", "--uses", "2", "--for", "10m", "-r", "a deploy"), status=4
    )
    window = reply["operation_id"]
    card = await bob.approvals.card(window, (installation.home.key("policy").public,))
    await bob.approvals.approve(card, reason="fine")
    await alice.wait(window, timeout=20)
    assert [one["id"] for one in await run_json("window", "list")] == [window]
    shown = await run_json("window", "show", window)
    assert (shown["uses"], shown["targets"], shown["reason"]) == (2, ["web-1"], "a deploy")
    await run_json("window", "end", window)
    assert await run_json("window", "list") == []


async def test_audit_verifies_the_whole_record(installation: RunningInstallation) -> None:
    """Audit checks each signature, and whether policy allowed exactly the content of the control events."""
    async with holding(installation, "executor") as bus:
        last = await bus.journal.last(subjects.JOURNAL)
        async with await installation.client() as client:
            await eventually(lambda: reached(client, last.sequence if last else 0))
        assert await bus.journal.last(subjects.security_event("broken_record")) is None


async def reached(client: Writ, sequence: int) -> bool:
    return (await client.search(SearchQuery(limit=1))).as_of >= sequence
