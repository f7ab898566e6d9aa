"""A stolen policy key, with an executors' key, allows more than the published policy: audit finds it."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from tests.attacks.rogue import Rogue, alarm
from tests.e2e.stolen_keys import ENVIRON, KEY, decided, holding, subject

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_contracts.decisions import Decision, Subject
from writ_documents import yaml_file
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.digests import keyed_digest
from writ_trust.statements import read, sign

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]
DENIED = {"name": "no_restarts", "operations": ["service_restart"], "allowed": False}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Every decision is made a second time."""
    folder = tmp_path_factory.mktemp("decided")
    people: list[tuple[str, dict[str, Any]]] = [("alice", {})]
    targets = [local_target("web-1", folder / "files", agent="a")]
    home = prepare(folder, targets=targets, policy=open_policy(DENIED), principals=people)
    every = {**ENVIRON, "WRIT_RECHECK_ONE_IN": "1", "WRIT_RECHECK_RATE": "1000"}
    async with running_installation(folder, home=home, environ=every) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def executor(installation: RunningInstallation) -> AsyncIterator[Bus]:
    async with holding(installation, "executor") as bus:
        yield bus


async def true_decision(installation: RunningInstallation, bus: Bus) -> Decision:
    """Policy's own decision on something harmless, from which the thief takes versions and digests."""
    harmless = subject(installation, "service_status", "web-1", {"service_name": "cron"})
    answer = await decided(bus, harmless)
    assert answer.decision is not None, answer
    return read(answer.decision, Decision)


async def stored(installation: RunningInstallation, bus: Bus, true: Decision, **changed: Any) -> Subject:
    """Store a request whose decision the thief signed with policy's key."""
    about = subject(installation, "service_restart", "web-1", {"service_name": "cron"})
    forged = structs.replace(
        true,
        operation_id=about.operation_id,
        operation=about.operation,
        parameters_digest=keyed_digest(KEY, about.parameters),
        at=time.time(),
        effect="allow",
        code="allowed",
    )
    signed = sign(installation.home.key("policy"), structs.replace(forged, **changed))
    rogue = Rogue(bus)
    await rogue.append(about, structs.replace(rogue.requested(about, signed), risk="change"))
    return about


async def test_decision_that_the_policy_does_not_give_is_a_security_event(
    installation: RunningInstallation, executor: Bus
) -> None:
    about = await stored(installation, executor, await true_decision(installation, executor))
    event = await alarm(executor, "broken_record", about.operation_id, "the policy of that time gives deny")
    assert "service_restart at web-1" in event.detail


async def test_decision_by_a_replaced_inventory_is_a_security_event(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    true = await true_decision(installation, executor)
    inventory = installation.home.inventory
    inventory.write_text(inventory.read_text() + "\n# another content\n")
    about = await stored(installation, executor, true, at=time.time() + 90)
    await alarm(executor, "broken_record", about.operation_id, "another content of inventory.yaml")


async def test_true_decisions_are_the_same_and_a_range_is_checked_on_demand(
    installation: RunningInstallation, executor: Bus, alice: Writ, tmp_path: Path
) -> None:
    assert (await alice.run("test_noop", "web-1")).outcome == "succeeded"
    found = await installation.writ("audit", "redecide", "-o", "json")
    answer = json.loads(found.out)
    assert found.status == 1
    assert answer["same"] >= 2, answer
    assert answer["differs"] == 2, answer
    assert {one["operation"] for one in answer["decisions"]} == {"service_restart"}
    last = answer["last"]
    assert (await alice.run("test_noop", "web-1")).outcome == "succeeded"
    again = await installation.writ("audit", "redecide", "--after", str(last))
    assert again.status == 0, again
    assert "every decision" in again.out


async def test_decision_by_a_replaced_version_is_a_security_event(
    installation: RunningInstallation, executor: Bus
) -> None:
    true = await true_decision(installation, executor)
    policy = yaml_file.read(installation.home.policy).data
    assert policy
    about = await stored(installation, executor, true, control_sequence=0, at=time.time() - 4000)
    await alarm(executor, "broken_record", about.operation_id, "before it was stored")
