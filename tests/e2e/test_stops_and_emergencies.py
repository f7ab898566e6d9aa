"""Stops and emergencies of a running Writ, by the command: set, shown, confirmed, ended, reviewed, on record."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.history.audit import SearchQuery
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
HUMANS: dict[str, Any] = {
    "name": "humans",
    "operations": [
        *("stop_set", "stop_lift", "operation_cancel", "audit_read"),
        *("emergency_declare", "emergency_confirm", "emergency_review"),
    ],
    "principal_kinds": ["human"],
    "allowed": True,
}
MACHINES: dict[str, Any] = {"name": "machines", "operations": ["stop_set"], "user_roles": ["scanner"], "allowed": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    people: list[tuple[str, dict[str, Any]]] = [
        ("alice", {"roles": ["admin"]}),
        ("trivy", {"kind": "service", "roles": ["scanner"]}),
    ]
    home = prepare(folder, policy=open_policy(HUMANS, MACHINES), principals=people)
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def test_stop_of_a_scanner_is_shown_everywhere_and_lifted_by_a_person(
    installation: RunningInstallation, writ: Writ
) -> None:
    made = await installation.json("stop", "set", "-r", "found something", "-t", "web-*", by="trivy")
    stop = made["stop"]["output"]["id"]
    refused = await writ.submit("test_sleep", "web-1", {"seconds": 1, "timeout": 5})
    assert (refused.outcome, refused.verdict and refused.verdict.code) == ("denied", "stopped")
    [listed] = await installation.json("stop", "list", by="alice")
    assert (listed["id"], listed["by"], listed["targets"]) == (stop, "trivy", ["web-*"])
    status = await installation.json("status")
    assert any(stop in one["details"].get("control", "") for one in status["processes"])
    lifts = await installation.json("stop", "lift", stop, by="trivy", status=3)
    assert lifts["code"] == "no_rule"
    await installation.json("stop", "lift", stop)
    done = await writ.run("test_sleep", "web-1", {"seconds": 0.1, "timeout": 5}, timeout=20)
    assert done.outcome == "succeeded"
    again = await installation.json("stop", "lift", stop, status=2)
    assert (again["outcome"], again["code"]) == ("invalid", "not_found")


async def test_misspelt_names_of_a_stop_are_refused_and_a_glob_without_targets_is_named(
    installation: RunningInstallation,
) -> None:
    for words, expected in (
        (("--operation", "test_slep"), "no operation 'test_slep'; did you mean 'test_sleep'?"),
        (("--principal", "alise"), "no principal 'alise'; did you mean 'alice'?"),
        (("--role", "prod"), "did you mean 'production'?"),
    ):
        refused = await installation.writ("stop", "set", "-r", "x", *words)
        assert (refused.status, expected in refused.out + refused.err) == (2, True), refused
    made = await installation.writ("stop", "set", "-r", "x", "-t", "wbe-1", "-t", "web-*", "-o", "json")
    assert (made.status, made.err.count("\n")) == (0, 1), made
    assert "'wbe-1' names no target that you may list now; did you mean 'web-1'?" in made.err
    await installation.json("stop", "lift", json.loads(made.out)["stop"]["output"]["id"])


async def test_cancel_running_ends_what_the_stop_came_too_late_for(
    installation: RunningInstallation, writ: Writ
) -> None:
    answer = await writ.submit("test_sleep", "web-1", {"seconds": 60, "timeout": 90})
    running = answer.operation_id or ""

    async def started() -> bool | None:
        return (await writ.get(running)).state == "started" or None

    await eventually(started)
    made = await installation.json("stop", "set", "-r", "stop it", "--operation", "test_sleep", "--cancel-running")
    assert made["stop"]["output"]["running"] == [running]
    assert [one["outcome"] for one in made["cancels"]] == ["succeeded"]
    assert (await writ.wait(running, timeout=30)).outcome == "cancelled"
    await installation.json("stop", "lift", made["stop"]["output"]["id"])


async def test_an_emergency_from_its_declaration_to_the_signed_off_review(
    installation: RunningInstallation, writ: Writ
) -> None:
    declare = ("emergency", "declare", "-r", "the shop is down", "-t", "web-*", "--for", "10m")
    made = await installation.json(*declare)
    emergency = made["id"]
    assert made["state"] == "unconfirmed"
    assert made["until"] - time.time() < 601
    await installation.json("emergency", "confirm", emergency, status=3)
    await installation.json("emergency", "confirm", emergency, by="alice")
    empty = await installation.writ("emergency", "report", emergency, environ={"WRIT_PRINCIPAL": "alice"})
    assert empty.out.splitlines()[-1] == "decided while it was in force: 0 operations"
    under = await writ.run("test_noop", "web-1", timeout=20)
    await installation.json(*declare, status=3)
    await installation.json("emergency", "end", emergency)
    [listed] = await installation.json("emergency", "list", by="trivy")
    assert (listed["state"], listed["confirmed_by"], listed["ended_by"]) == ("ended", "alice", "operator")

    async def reported() -> bool | None:
        report = await installation.json("emergency", "report", emergency, by="alice")
        return [one["operation_id"] for one in report["operations"]] == [under.operation_id] or None

    await eventually(reported)
    await installation.json("emergency", "review", emergency, "-r", "mine", status=3)
    await installation.json("emergency", "review", emergency, "-r", "one restart, needed", by="alice")
    assert await installation.json("emergency", "list") == []

    async def closed() -> bool | None:
        async with holding(installation, "executor") as bus:
            events = [decode(one.data, ControlEvent) for one in await bus.journal.read(subjects.CONTROL)]
        bodies = [one.body for one in events if one.kind == "emergency_closed"]
        return bodies == [{"emergency_id": emergency, "how": "ended"}] or None

    await eventually(closed)


async def test_audit_verifies_the_whole_record(installation: RunningInstallation) -> None:
    """Audit checks each signature, and whether policy allowed exactly the content of the control events."""
    async with holding(installation, "executor") as bus:
        last = await bus.journal.last(subjects.JOURNAL)
        async with await installation.client() as client:
            await eventually(lambda: reached(client, last.sequence if last else 0))
        assert await bus.journal.last(subjects.security_event("broken_record")) is None


async def reached(client: Writ, sequence: int) -> bool:
    return (await client.search(SearchQuery(limit=1))).as_of >= sequence
