"""Audit's key, stolen: policy decides for it on reads of the record, and such a decision starts nothing."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.attacks.rogue import Rogue, alarm
from tests.e2e.stolen_keys import KEY, holding, subject

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.decisions import DecideReply, DecideRequest, Decision, RecordReadRequest
from writ_contracts.ids import WRIT_TARGET, operation_id
from writ_contracts.wire import decode, encode
from writ_testing.installations.installation import RunningInstallation
from writ_trust.statements import read

pytestmark = pytest.mark.asyncio(loop_scope="module")


def record_read(installation: RunningInstallation, **changed: Any) -> RecordReadRequest:
    """Return a request to read alice's record in her own name, which she never made."""
    request = RecordReadRequest(
        operation_id=operation_id("alice", secrets.token_hex(8)),
        principal="alice",
        key=installation.home.key("principal-alice").public,
        parameters={"query": "search"},
        parameters_key=KEY,
        control_sequence=0,
        owner="alice",
    )
    return structs.replace(request, **changed)


async def replied(bus: Bus, body: bytes) -> DecideReply:
    return decode((await bus.request(subjects.POLICY_RECORD_READ, body, timeout=10)).data, DecideReply)


async def test_audits_key_obtains_decisions_on_reads_of_the_record_alone(installation: RunningInstallation) -> None:
    request, write = record_read(installation), subject(installation, "file_write", "web-1", {"file_path": "/x"})
    async with holding(installation, "audit") as thief:
        for one in (subjects.POLICY_DECIDE, subjects.POLICY_GRANT):
            with pytest.raises(Forbidden):
                await thief.request(one, encode(DecideRequest(subject=write, control_sequence=0)), timeout=5)
        for more in ({"operation": "file_write"}, {"target": "web-1"}, {"look": ["preview"]}, {"dry_run": True}):
            body = encode({**structs.asdict(request), **more})
            refused = await replied(thief, body)
            assert (refused.decision, refused.look) == (None, None), more
            assert refused.error is not None
            assert refused.error.code == "invalid", more
        refused = await replied(thief, encode(record_read(installation, parameters={"file_path": "/x"})))
        assert refused.decision is None
        answer = await replied(thief, encode(request))
    assert answer.look is None
    assert answer.decision is not None
    decision = read(answer.decision, Decision)
    assert (decision.effect, decision.operation, decision.target) == ("allow", "audit_read", WRIT_TARGET)


async def test_decision_that_audits_key_obtained_starts_nothing(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    write = subject(installation, "file_write", "web-1", {"file_path": str(files / "never"), "content": "x"})
    about_it = record_read(installation, operation_id=write.operation_id)
    async with holding(installation, "audit") as thief:
        decision = (await replied(thief, encode(about_it))).decision
    assert decision is not None
    rogue = Rogue(executor)
    with installation.paused("executor"):
        await rogue.listen()
        await rogue.append(write, rogue.requested(write, decision))
        await rogue.dispatch(write)
        await rogue.answered(1)
        assert (await alarm(executor, "forged_start", write.operation_id)).principal == "alice"
        assert all(answer.grant is None for answer in rogue.answers)
        await rogue.append(write, rogue.finished(write))
    assert not (files / "never").exists()
