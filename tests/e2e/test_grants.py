"""Agents refuse invalid grants, run nothing, and the journal gets a security event.

The executor here is an attacker who mostly even has policy's own key: the content of the grant is wrong.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts.inventory import Target
from writ_contracts.journal import SecurityEvent
from writ_contracts.subjects import SECURITY
from writ_contracts.wire import decode_event
from writ_documents.readers import read_inventory
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.fakes.rogue_executor import Change, Forger, changed
from writ_testing.installations.installation import RunningInstallation
from writ_trust.keys import Key, generate_seed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def stolen(installation: RunningInstallation) -> AsyncIterator[Bus]:
    key = installation.home.key("executor")
    bus = await open_bus(Context(principal="executor", url=installation.url), key.seed, wait=10)
    yield bus
    await bus.close()


def target(installation: RunningInstallation, name: str = "db-1") -> Target:
    return next(one for one in read_inventory(installation.home.inventory).targets if one.id == name)


async def security(bus: Bus, operation_id: str) -> SecurityEvent:
    async def check() -> SecurityEvent | None:
        events = [decode_event(record.data) for record in await bus.journal.read(SECURITY)]
        matching = (
            event for event in events if isinstance(event, SecurityEvent) and event.operation_id == operation_id
        )
        return next((event for event in matching if event.report is not None), None)

    return await eventually(check, what="the agent's report of it")


CASES: dict[str, tuple[str, Change]] = {
    "expired": ("expired_grant", changed(lifetime=-1.0)),
    "other operation": ("mismatched_grant", changed(operation="test_fail")),
    "other operation id": ("mismatched_grant", changed(operation_id="a" * 26)),
    "other principal": ("mismatched_grant", changed(principal="mallory")),
    "other parameters": ("mismatched_grant", changed(parameters_digest="0" * 64)),
    "other instance": ("mismatched_grant", changed(instance="somebody-else")),
    "other nonce": ("mismatched_grant", changed(nonce="0" * 64)),
    "other pool": ("mismatched_grant", changed(pool="local-elsewhere")),
    "other claim": ("mismatched_grant", changed(claim_digest="0" * 64)),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_grant_of_policy_for_anything_else_is_refused(
    installation: RunningInstallation, writ: Writ, stolen: Bus, files: Path, case: str
) -> None:
    kind, change = CASES[case]
    await refused(installation, writ, stolen, files, kind, installation.home.key("policy"), change)


async def test_a_grant_for_another_target_is_refused(
    installation: RunningInstallation, writ: Writ, stolen: Bus, files: Path
) -> None:
    change = changed(target=target(installation, "web-1"))
    await refused(installation, writ, stolen, files, "mismatched_grant", installation.home.key("policy"), change)


@pytest.mark.parametrize("signer", some(["executor", "stranger"], "executor"))
async def test_a_grant_that_policy_did_not_sign_is_refused(
    installation: RunningInstallation, writ: Writ, stolen: Bus, files: Path, signer: str
) -> None:
    key = installation.home.key("executor") if signer == "executor" else Key(generate_seed())
    await refused(installation, writ, stolen, files, "forged_grant", key, lambda grant: grant)


async def forged(installation: RunningInstallation, forger: Forger, parameters: dict[str, Any]) -> str:
    """Return the id of an operation whose forged claim was answered."""
    with installation.paused("executor"):
        operation_id = await forger.dispatch("test_count", parameters)
        await eventually(lambda: forger.answered(operation_id), what="a claim")
    return operation_id


async def refused(
    installation: RunningInstallation, writ: Writ, bus: Bus, files: Path, kind: str, signer: Key, change: Change
) -> None:
    counted = files / "forged"
    forger = Forger(bus, target(installation), signer, change)
    await forger.listen()
    parameters: dict[str, Any] = {"path": str(counted), "delay": 0.0, "timeout": 10}
    operation_id = await forged(installation, forger, parameters)
    event = await security(bus, operation_id)
    assert event.kind == kind
    assert not counted.exists()

    async def ended() -> str | None:
        return (await writ.get(operation_id)).outcome

    assert await eventually(ended, within=60) in ("failed", "denied", "expired")
    trace = await writ.trace(operation_id=operation_id)
    assert kind in {entry.body.get("kind") for entry in trace.events}
    assert not counted.exists()


async def test_a_true_grant_is_obeyed_once_and_its_replay_is_refused(
    installation: RunningInstallation, writ: Writ, stolen: Bus, files: Path
) -> None:
    """The same harness with nothing wrong runs the operation: so the refusals above are not an accident."""
    counted = files / "obeyed"
    forger = Forger(stolen, target(installation), installation.home.key("policy"))
    await forger.listen()
    parameters: dict[str, Any] = {"path": str(counted), "delay": 0.0, "timeout": 10}
    first = await forged(installation, forger, parameters)

    async def counts() -> bool:
        return counted.exists() and counted.read_text().endswith("\n")  # it is there a moment before its line is

    await eventually(counts, what="its effect")
    assert counted.read_text().split() == [first]
    forger.replay = True
    second = await forged(installation, forger, parameters)
    event = await security(stolen, second)
    assert event.kind in ("replayed_grant", "mismatched_grant")
    assert counted.read_text().split() == [first]
