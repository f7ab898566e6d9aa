"""Versions of the policy in a real installation: published, in force at once, recorded, rolled back, and never trusted
without their signatures.
"""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import json, structs
from tests.e2e.stolen_keys import holding

from writ_bus.port import Bus, Entry
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import Denied, Invalid
from writ_contracts.journal import ControlEvent, SecurityEvent
from writ_contracts.policy.versions import StoredPolicy
from writ_contracts.wire import decode, encode
from writ_documents import yaml_file
from writ_rules.analysis.lockout import GOVERNING
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONTROLS: dict[str, Any] = {
    "name": "controls",
    "operations": [
        *("policy_publish", "policy_rollback", "stop_lift", "journal_archive", "audit_read"),
        *("emergency_declare", "emergency_confirm", "emergency_review"),
    ],
    "allowed": True,
    "user_roles": ["admin"],
}
CANARY = "canary-77ab01"
NOBODY = {"name": f"nobody-{CANARY}", "operations": ["test_noop"], "allowed": False}
OPEN, CLOSED = open_policy(CONTROLS), open_policy(CONTROLS, NOBODY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    home = prepare(folder, policy=OPEN, principals=[("alice", {})])
    async with running_installation(folder, home=home, executors=2, environ={"WRIT_RATE": "100000"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def outcome(writ: Writ) -> str | None:
    return (await writ.run("test_noop", "web-1", timeout=20)).outcome


async def number(writ: Writ) -> int:
    version = (await writ.policy_status()).version
    assert version is not None
    return version.number


async def closed_and_open_again(writ: Writ) -> int:
    """Publish a closing and an opening policy, whatever was in force; return the number of the version in force."""
    await writ.policy_publish(CLOSED, reason="a test closes")
    return int((await writ.policy_publish(OPEN, reason="and opens")).output["version"])


async def test_policy_file_is_version_1_and_its_edit_the_next_version(
    installation: RunningInstallation, writ: Writ
) -> None:
    status = await writ.policy_status()
    assert status.version is not None
    assert (status.version.number, status.version.origin, status.version.author) == (1, "file", "file")
    assert await outcome(writ) == "succeeded"
    installation.home.policy.write_text(CLOSED)
    assert await outcome(writ) == "denied"
    installation.home.policy.write_text(OPEN)
    assert await outcome(writ) == "succeeded"
    assert await number(writ) == 3


async def test_refused_rollback_shows_what_is_wrong_with_the_version(
    installation: RunningInstallation, writ: Writ
) -> None:
    installation.home.policy.write_text(open_policy())  # nobody could ever publish under it
    assert await outcome(writ) == "succeeded"
    locking = await number(writ)
    installation.home.policy.write_text(OPEN)
    assert await outcome(writ) == "succeeded"
    assert await number(writ) == locking + 1, "only before the first publish: the file counts"
    refused = await installation.writ("policy", "rollback", str(locking), "-r", "back", environ={"COLUMNS": "250"})
    assert refused.status == 2, refused
    assert "nobody could ever carry out policy_publish or policy_rollback" in refused.err
    for operation in GOVERNING:
        assert refused.out.count(f"version {locking}:1:1: error: {operation}: ") == 1
        assert refused.out.count(f"{operation}: ") == 1


async def test_a_published_version_decides_the_very_next_request_and_is_on_record(
    installation: RunningInstallation, writ: Writ
) -> None:
    before = await number(writ)
    done = await writ.policy_publish(CLOSED, reason="nobody works today", replaces=before)
    assert (done.outcome, done.output["version"]) == ("succeeded", before + 1)
    denied = await writ.submit("test_noop", "web-1")
    assert denied.outcome == "denied"
    trace = await writ.trace(operation_id=denied.operation_id)
    decision = json.decode(json.encode(trace.events[0].body["decision"]))["payload"]
    assert decision["policy"]["number"] == before + 1
    recorded = json.encode(await writ.trace(operation_id=done.operation_id)).decode()
    assert "policy_publish" in recorded
    assert CANARY not in recorded, "the document is in the record"
    card = await installation.writ("approvals", "show", done.operation_id)
    assert card.status == 0, card.err
    assert "operator requests policy_publish on writ" in card.out
    assert "not to approve" not in card.out
    shown = await writ.policy_show()
    assert (shown.document, shown.version and shown.version.author) == (CLOSED, "operator")
    undone = await writ.policy_rollback(before, reason="they do")
    assert undone.output["version"] == before + 2
    assert await outcome(writ) == "succeeded"
    redone = await writ.policy_rollback(before + 1, reason="they do not")
    assert redone.output["version"] == before + 3
    assert await outcome(writ) == "denied"
    await writ.policy_rollback(before + 2, reason="they do after all")
    history = await writ.policy_history(limit=4)
    kinds = [(one.number - before, one.origin, one.restores and one.restores - before) for one in history.versions]
    assert kinds == [(4, "rollback", 2), (3, "rollback", 1), (2, "rollback", 0), (1, "published", None)]
    assert history.more


async def test_rule_for_a_role_that_nobody_has_is_a_warning_of_diff_and_publish(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    await closed_and_open_again(writ)
    absent = {"name": "web-team", "operations": ["test_noop"], "allowed": True, "user_roles": ["web-team"]}
    file = tmp_path / "policy.yaml"
    file.write_text(open_policy(CONTROLS, absent))
    for words in (("diff", str(file)), ("publish", str(file), "-r", "for the web team")):
        shown = await installation.writ("policy", *words, environ={"COLUMNS": "250"})
        assert shown.status == 0, shown
        assert "warning: no principal has role 'web-team'" in shown.out
        assert f"{file}:" in shown.out
    again = await installation.writ("policy", "publish", str(file), "-r", "once more", environ={"COLUMNS": "250"})
    assert "warning" not in again.out, "the version before has the same warnings"
    await closed_and_open_again(writ)


async def test_invalid_or_outdated_policy_is_refused_with_all_its_mistakes(writ: Writ) -> None:
    before = await closed_and_open_again(writ)
    with pytest.raises(Invalid) as caught:
        await writ.policy_publish("policies:\n  nmae: x\n  version: 7\n", reason="a mistake")
    assert caught.value.code == "invalid_document"
    assert {(line, "name" in text) for line, _, text in caught.value.problems} >= {(2, True)}
    assert len(caught.value.problems) > 1
    with pytest.raises(Invalid, match=f"version {before} is in force, not {before - 1}"):
        await writ.policy_publish(OPEN, reason="too late", replaces=before - 1)
    with pytest.raises(Invalid, match="nobody could ever carry out policy_publish"):
        await writ.policy_publish(open_policy(), reason="locks everybody out")
    with pytest.raises(Invalid, match="no valid version 4000"):
        await writ.policy_rollback(4000, reason="there is none")
    assert await number(writ) == before


async def test_a_file_that_differs_is_reported_and_does_not_count(
    installation: RunningInstallation, writ: Writ
) -> None:
    before = await closed_and_open_again(writ)
    installation.home.policy.write_text(CLOSED)

    async def noted() -> bool:
        return bool((await writ.policy_status()).notes)

    await eventually(noted)
    assert await outcome(writ) == "succeeded"
    installation.home.policy.write_text("policies: {nmae: x}")

    async def problem_is_reported() -> bool:
        return "policy" in (await writ.policy_status()).problems

    await eventually(problem_is_reported)
    async with holding(installation, "executor") as bus:

        async def recorded() -> bool:
            events = [decode(one.data, SecurityEvent) for one in await bus.journal.read(subjects.SECURITY)]
            return {"file_refused", "file_ignored"} <= {one.kind for one in events}

        await eventually(recorded)
    installation.home.policy.write_text(OPEN)
    assert await number(writ) == before


async def test_version_stored_by_an_executor_alone_is_refused_and_recorded(
    installation: RunningInstallation, writ: Writ
) -> None:
    """The executor's key stores a former closing document again, under the next number, and announces it."""
    before = await closed_and_open_again(writ)
    async with holding(installation, "executor") as thief:
        records = await thief.policies.read(subjects.POLICIES)
        closing = [decode(one.data, StoredPolicy, limit=3_000_000) for one in records]
        old = next(one for one in closing if one.origin == "published" and CANARY in one.document)
        await forge(thief, structs.replace(old, number=len(records) + 1), len(records))

        async def refused() -> bool:
            return "store" in (await writ.policy_status()).problems

        await eventually(refused)
        assert await outcome(writ) == "succeeded"
        assert await number(writ) == before

        async def recorded() -> bool:
            events = await thief.journal.read(subjects.SECURITY)
            kinds = [decode(one.data, SecurityEvent).kind for one in events]
            return "version_refused" in kinds

        await eventually(recorded)
        await installation.until("policy", other_than=installation.kill("policy"))
        assert await number(writ) == before
    done = await writ.policy_publish(OPEN, reason="goes on", replaces=before)
    assert done.output["version"] == before + 2


async def forge(thief: Bus, version: StoredPolicy, stored: int) -> None:
    entry = Entry(
        subject=subjects.published_policy(version.operation_id),
        data=encode(version),
        event_id=f"forged-{stored}",
        filter=subjects.POLICIES,
        expected=stored,
    )
    await thief.policies.append(entry)


async def test_principal_without_permission_sees_the_policy_status_and_not_its_rules(
    installation: RunningInstallation,
) -> None:
    async with await installation.client("alice") as alice:
        assert (await alice.policy_status()).rules > 0
        with pytest.raises(Denied):
            await alice.policy_show()
        refused = await alice.submit("policy_publish", "writ", {"document": OPEN, "reason": "mine"})
        assert refused.outcome == "denied"
    async with holding(installation, "executor") as bus:

        async def recorded() -> bool:
            events = [decode(one.data, SecurityEvent) for one in await bus.journal.read(subjects.SECURITY)]
            return ("read_refused", "alice") in [(one.kind, one.principal) for one in events]

        await eventually(recorded)


async def test_an_emergency_is_declared_and_ended(installation: RunningInstallation, writ: Writ) -> None:
    declared = await writ.emergency_declare(["web-*"], reason="it burns", until=time.time() + 600)
    assert declared.outcome == "succeeded"
    ended = await writ.emergency_end(declared.output["id"])
    assert (ended.outcome, ended.output["id"]) == ("succeeded", declared.output["id"])


async def test_an_installation_that_locked_itself_is_recovered_by_its_owner(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    before = (await writ.policy_publish(OPEN, reason="before the lock-out")).output["version"]
    text = installation.home.principals.read_text()
    try:
        installation.home.principals.write_text(text.replace("admin", "nobody"))  # the last admin has left
        assert (await writ.submit("policy_publish", "writ", {"document": OPEN, "reason": "x"})).outcome == "denied"
        locked, way_out = tmp_path / "locked.yaml", tmp_path / "out.yaml"
        locked.write_text(OPEN)
        way_out.write_text(open_policy({**CONTROLS, "user_roles": ["operator"]}))
        refused = await installation.writ("policy", "recover", str(locked), "-r", "try")
        assert refused.status == 2, refused
        assert "would lock this installation, too" in refused.err
        done = await installation.writ("policy", "recover", str(way_out), "-r", "the last admin has left")
        assert done.status == 0, done
        assert await number(writ) == before + 1
        history = await writ.policy_history(limit=1)
        assert [(one.origin, one.reason) for one in history.versions] == [("file", "the last admin has left")]
        await installation.until("policy", other_than=installation.kill("policy"))
        assert await number(writ) == before + 1
    finally:
        installation.home.principals.write_text(text)
    assert (await writ.policy_publish(OPEN, reason="as it was")).outcome == "succeeded"
    async with holding(installation, "executor") as bus:
        events = [decode(one.data, ControlEvent) for one in await bus.journal.read(subjects.CONTROL)]
    assert any("the last admin has left" in str(one.body.get("reason")) for one in events if one.kind == "policy_file")


@pytest.mark.exhaustive
async def test_a_policy_of_ten_thousand_rules_is_published_and_shown(writ: Writ) -> None:
    rules = [
        {
            "name": f"rule-{number}",
            "allowed": True,
            "operations": ["service_restart", "service_status"],
            "target_roles": ["production", "staging"],
            "targets": [f"app{number}-*"],
            "user_roles": ["operator", "sre", "release"],
            "parameter_constraints": {
                "service_name": {"type": "string", "max_length": 64, "pattern": f"app{number}-[a-z0-9-]+"}
            },
        }
        for number in range(10_000)
    ]
    small = yaml_file.parse(OPEN.encode(), "policy").data["policies"]
    whole = {**small, "global_policies": [*small["global_policies"], *rules]}
    document = json.encode({"policies": whole}).decode()
    assert len(document) > 2_500_000
    view = await writ.policy_publish(document, reason="many rules", timeout=120)
    assert view.outcome == "succeeded"
    shown = await writ.policy_show()
    assert shown.document == document
    assert (await writ.policy_status()).rules > 10_000
    assert await outcome(writ) == "succeeded"
    assert (await writ.policy_publish(OPEN, reason="few again")).outcome == "succeeded"
