"""Audit, searches and traces mark events that a stolen key wrote into the journal."""

import asyncio
import json
import secrets
import time
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec import structs
from tests.attacks.rogue import Rogue, alarm, events
from tests.e2e.stolen_keys import KEY, holding, started, subject

from writ_bus.port import Bus, Message
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.agents import Acknowledgement, Receipt, ReceiptMessage
from writ_contracts.decisions import Decision, PolicyVersion, Subject
from writ_contracts.journal import Finished, Granted
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERSION = PolicyVersion(
    name="forged", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
)


def forged_decision(about: Subject, **changed: Any) -> Decision:
    """Return a decision that policy never made."""
    decision = Decision(
        operation_id=about.operation_id,
        principal="alice",
        operation="file_delete",
        target="web-1",
        effect="allow",
        code="allowed",
        rules=[],
        reason="forged",
        parameters_digest=keyed_digest(KEY, about.parameters),
        policy=VERSION,
        control_sequence=0,
        at=time.time(),
        authenticated="server",
    )
    return structs.replace(decision, **changed)


async def test_an_operation_that_an_executor_makes_up_is_marked_wherever_it_is_shown(
    installation: RunningInstallation, executor: Bus
) -> None:
    """V12: another key than policy's signed its decision, with a valid signature."""
    rogue, about = Rogue(executor), subject(installation, "file_delete", "web-1", {"file_path": "/srv/ledger"})
    decision = forged_decision(about, rules=["forged"])
    await rogue.append(about, rogue.requested(about, sign(installation.home.key("executor"), decision)))
    await rogue.append(about, rogue.finished(about))
    found = await alarm(executor, "broken_record", about.operation_id, "is not trusted for this")
    assert found.principal == "alice"

    async def counted() -> bool:
        rows = json.loads((await installation.writ("audit", "search", "--as", "alice", "-o", "json")).out)["rows"]
        return any(one["operation_id"] == about.operation_id and one["security_events"] for one in rows)

    await eventually(counted, what="that the search shows it")
    searched = await installation.writ("audit", "search", "--as", "alice")
    assert "security events about" in searched.out
    traced = await installation.writ("trace", about.operation_id, "--as", "alice")
    assert traced.status == 1, traced
    assert "INVALID SIGNATURE" in traced.out
    elsewhere = await installation.writ(
        *("trace", about.operation_id, "--as", "alice", "--policy-key", installation.home.key("executor").public)
    )
    assert elsewhere.status == 0, "by the thief's own key it would hold"
    data = json.loads((await installation.writ("trace", about.operation_id, "--as", "alice", "-o", "json")).out)
    assert [one["sequence"] for one in data["problems"]] == [data["events"][0]["sequence"]]


async def test_genuine_operation_is_shown_without_a_mark(installation: RunningInstallation, alice: Writ) -> None:
    done = await alice.run("test_noop", "web-1")
    traced = await installation.writ("trace", done.operation_id, "--as", "alice")
    assert traced.status == 0, traced
    assert "INVALID SIGNATURE" not in traced.out
    assert "UNVERIFIED" not in traced.out


async def test_a_receipt_of_another_instance_than_claimed_ends_nothing(
    installation: RunningInstallation, alice: Writ, executor: Bus
) -> None:
    """V11: a stolen agents' key, with the grant, cannot report for another instance."""
    number = secrets.token_hex(8)
    async with holding(installation, "agent-a") as bus:
        answer = await alice.submit("test_sleep", "web-1", {"seconds": 100, "processes": 0}, idempotency_key=number)
        operation_id = answer.operation_id or ""
        await started(executor, "alice", operation_id)
        filter_ = subjects.operation_filter("alice", operation_id)
        [granted] = [one for one in await events(executor, filter_) if isinstance(one, Granted)]
        receipt = Receipt(
            operation_id=operation_id,
            attempt=1,
            pool="a",
            instance="another",
            grant_digest=digest(granted.grant),
            outcome="failed",
            code="forged",
            message="forged",
            output_digest="0" * 64,
            output_bytes=2,
            claim_digest=digest(granted.claim),
        )
        message = ReceiptMessage(receipt=sign(installation.home.key("agent-a"), receipt), principal="alice")
        reply = await bus.request(subjects.receipt("a"), encode(message), timeout=10)
        assert decode(reply.data, Acknowledgement).error is None  # it is settled: as an alarm
        message = ReceiptMessage(receipt=sign(installation.home.key("agent-b"), receipt), principal="alice")
        reply = await bus.request(subjects.receipt("a"), encode(message), timeout=10)
        refused = decode(reply.data, Acknowledgement)
        assert refused.error is not None
        assert refused.error.code == "forged_receipt"
    await alarm(executor, "forged_receipt", operation_id, "comes from another key or instance than its claim")
    await alice.cancel(operation_id)  # it runs until then
    assert (await alice.wait(operation_id)).outcome == "cancelled"
    [end] = [one for one in await events(executor, filter_) if isinstance(one, Finished)]
    assert end.code != "forged"


async def test_an_outcome_that_differs_from_its_receipt_is_a_security_event_and_marked(
    installation: RunningInstallation, alice: Writ, executor: Bus
) -> None:
    """The receipt's own signature is valid: beside it, another outcome would look as if the agent had reported it."""
    rogue = Rogue(executor)
    answer = await alice.submit("test_sleep", "web-1", {"seconds": 5, "processes": 0})
    operation_id = answer.operation_id or ""
    await started(executor, "alice", operation_id)
    about = structs.replace(subject(installation, "test_sleep", "web-1", {}), operation_id=operation_id)
    recorded = asyncio.Event()

    async def taken(message: Message) -> None:
        signed = decode(message.data, ReceiptMessage).receipt
        await rogue.append(about, structs.replace(rogue.finished(about), receipt=signed))
        await executor.publish(message.reply, encode(Acknowledgement(stored=True)))
        recorded.set()

    with ExitStack() as executors:
        with installation.paused("agent-a"):  # else the operation may end before, and its receipt be recorded
            executors.enter_context(installation.paused("executor"))
            await executor.subscribe(subjects.receipt("a"), taken)
        await asyncio.wait_for(recorded.wait(), 60)
    await alarm(executor, "broken_record", operation_id, "by a receipt that says succeeded")
    traced = await installation.writ("trace", operation_id, "--as", "alice")
    assert traced.status == 1, traced
    assert "its receipt says succeeded" in traced.out


async def test_a_forged_event_whose_time_no_calendar_has_is_shown(
    installation: RunningInstallation, executor: Bus
) -> None:
    rogue, about = Rogue(executor), subject(installation, "file_delete", "web-1", {"file_path": "/srv/x"})
    decision = forged_decision(about, parameters_digest="0" * 64)
    signed = sign(installation.home.key("executor"), decision)
    await rogue.append(about, structs.replace(rogue.requested(about, signed), at=1e300, start_by=1e300))
    await rogue.append(about, structs.replace(rogue.finished(about), at=-1e300))
    await alarm(executor, "broken_record", about.operation_id)
    traced = await installation.writ("trace", about.operation_id, "--as", "alice")
    assert (traced.status, "INVALID SIGNATURE" in traced.out) == (1, True), traced
    for form in ("table", "json", "csv"):
        searched = await installation.writ("audit", "search", "--as", "alice", "-o", form)
        assert searched.status == 0, searched
        assert about.operation_id[:8] in searched.out
