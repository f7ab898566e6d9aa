"""Many executors and many agents: one operation each, one execution each, in the order of their requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_contracts.errors import Conflict
from writ_testing.installations.extra_agents import more_agents
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.exhaustive, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "3", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
TARGETS = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Eight executors and eight agents of one pool, which serves ten targets."""
    folder = tmp_path_factory.mktemp("crowd")
    targets = [local_target(f"web-{number}", folder / "files") for number in range(TARGETS)]
    home = prepare(folder, targets=targets, principals=[("alice", {})])
    async with (
        running_installation(folder, home=home, executors=8, environ=ENVIRON) as running,
        more_agents(running, 7, ENVIRON),
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def kinds(writ: Writ, operation_id: str) -> Counter[str]:
    return Counter(event.kind for event in (await writ.trace(operation_id=operation_id)).events)


async def test_one_request_before_eight_executors_and_eight_agents_is_executed_once(writ: Writ, files: Path) -> None:
    done = await writ.run("test_count", "web-0", {"path": str(files / "one")}, timeout=60)
    assert done.outcome == "succeeded"
    assert (files / "one").read_text().split() == [done.operation_id]


async def test_twenty_requests_at_once_are_executed_once_each(writ: Writ, files: Path) -> None:
    path = files / "twenty"
    runs = [writ.run("test_count", f"web-{number % TARGETS}", {"path": str(path)}, timeout=120) for number in range(20)]
    done = await asyncio.gather(*runs)
    assert [view.outcome for view in done] == ["succeeded"] * 20
    assert Counter(path.read_text().split()) == Counter(view.operation_id for view in done)
    for view in done:
        counts = await kinds(writ, view.operation_id)
        assert (counts["dispatched"], counts["granted"], counts["finished"]) == (1, 1, 1), counts


async def test_changes_of_one_target_are_executed_in_the_order_of_their_requests(writ: Writ, files: Path) -> None:
    path = files / "order"
    answers = await asyncio.gather(*(writ.submit("test_count", "web-1", {"path": str(path)}) for _ in range(20)))
    done = await asyncio.gather(*(writ.wait(answer.operation_id or "", timeout=120) for answer in answers))
    assert {view.outcome for view in done} == {"succeeded"}
    requested = {}
    for view in done:
        events = (await writ.trace(operation_id=view.operation_id)).events
        requested[view.operation_id] = next(event.sequence for event in events if event.kind == "requested")
    assert path.read_text().split() == sorted(requested, key=lambda operation_id: requested[operation_id])


async def test_one_key_from_two_clients_at_once_is_one_operation(
    installation: RunningInstallation, files: Path
) -> None:
    path = files / "same"
    async with await installation.client() as one, await installation.client() as two:
        for number in range(8):
            wish = {"path": str(path), "delay": 0.0}
            runs = [
                writ.run("test_count", "web-2", wish, idempotency_key=f"same-{number}", timeout=60)
                for writ in (one, two)
            ]
            mine, theirs = await asyncio.gather(*runs)
            assert mine.operation_id == theirs.operation_id
            assert (mine.outcome, theirs.outcome) == ("succeeded", "succeeded")
            assert (await kinds(one, mine.operation_id))["requested"] == 1
    assert set(Counter(path.read_text().split()).values()) == {1}
    assert len(path.read_text().split()) == 8


async def test_one_key_for_two_payloads_at_once_is_a_conflict_and_the_first_stays_what_it_was(
    installation: RunningInstallation, files: Path
) -> None:
    async with await installation.client() as one, await installation.client() as two:
        for number in range(8):
            path = files / f"which-{number}"
            writes = [
                writ.submit(
                    "file_write",
                    "web-3",
                    {"file_path": str(path), "content": content},
                    idempotency_key=f"which-{number}",
                )
                for writ, content in ((one, "one"), (two, "two"))
            ]
            answers = await asyncio.gather(*writes, return_exceptions=True)
            assert [isinstance(answer, Conflict) for answer in answers].count(True) == 1, answers
            won, content = next(
                (a, c) for a, c in zip(answers, ("one", "two"), strict=True) if not isinstance(a, BaseException)
            )
            done = await one.wait(won.operation_id or "", timeout=60)
            assert (done.outcome, path.read_text()) == ("succeeded", content)
