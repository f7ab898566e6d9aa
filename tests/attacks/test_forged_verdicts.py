"""A stolen policy key records verdicts that nobody gave: nothing starts, and audit finds each of them."""

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import ENVIRON, holding

from writ_bus.port import Bus, Entry
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.journal import ApprovalGiven, Approved, Rejected
from writ_contracts.people.approvals import Approval, SignedApproval
from writ_contracts.wire import encode
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.approvals import sign_approval
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]
ASKS = {"name": "asks", "operations": ["test_noop"], "allowed": True, "requires_approval": True}
PEOPLE: list[tuple[str, dict[str, Any]]] = [("alice", {}), ("bob", {"roles": ["approver"]})]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("verdicts")
    targets = [local_target("web-1", folder / "files", agent="a")]
    home = prepare(folder, targets=targets, policy=open_policy(ASKS), principals=PEOPLE)
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


def signed_by_nobody(number: str, verdict: str) -> SignedApproval:
    """Return bob's verdict by a key that is not his."""
    approval = Approval(
        operation_id=number,
        requested="0" * 64,
        decision_digest="0" * 64,
        step="asks#1",
        verdict="reject" if verdict == "rejected" else "approve",
        approver="bob",
        issued_at=time.time(),
        nonce=secrets.token_hex(32),
    )
    return sign_approval(Key(generate_seed()), approval)


def forged(number: str, verdict: str) -> Rejected | Approved | ApprovalGiven:
    common: dict[str, Any] = {"id": secrets.token_hex(16), "at": time.time(), "correlation_id": "forged"}
    common |= {"operation_id": number, "approver": "bob"}
    if verdict == "approved":
        return Approved(**common, approvals=[signed_by_nobody(number, verdict)])
    approval = signed_by_nobody(number, verdict)
    if verdict == "rejected":
        return Rejected(**common, approval=approval, reason="made up")
    return ApprovalGiven(**common, approval=approval, remaining=1)


async def store(policy: Bus, event: Rejected | Approved | ApprovalGiven, kind: str) -> None:
    own = subjects.operation_filter("alice", event.operation_id)
    last = (await policy.journal.read(own))[-1]
    subject = subjects.operation_event("alice", event.operation_id, kind)
    entry = Entry(subject=subject, data=encode(event), event_id=event.id, filter=own, expected=last.sequence)
    await policy.journal.append(entry)


@pytest.mark.parametrize("verdict", ["rejected", "approved", "approval_given"])
async def test_verdict_that_policys_thief_makes_up_starts_nothing_and_is_a_security_event(
    installation: RunningInstallation, executor: Bus, alice: Writ, verdict: str
) -> None:
    number = (await alice.submit("test_noop", "web-1")).operation_id or ""
    async with holding(installation, "policy") as policy:
        await store(policy, forged(number, verdict), verdict)
    event = await alarm(executor, "broken_record", number, "bob did not sign")
    assert verdict in event.detail
    records = await executor.journal.read(subjects.operation_filter("alice", number))
    assert not [one for one in records if one.subject.endswith(".granted")]
