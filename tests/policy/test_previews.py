"""Previews at policy: the digest that an approval must name, and a target that changed since."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import defstruct, structs
from tests.policy.approving import Pending, pending, preview, stamp
from tests.policy.replica import Asking, files, replica
from tests.rules.asking import CATALOGUE

from writ_contracts import subjects
from writ_contracts.agents import Claim
from writ_contracts.decisions import Decision, ReadGrant
from writ_contracts.journal import PreviewTaken
from writ_contracts.operations import Catalogue
from writ_contracts.people.approvals import ApprovalCardReply, ApprovalQuery
from writ_contracts.people.previews import ApprovalFacts, Preview
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.statements import digest, open_signed, read, sign

COPIES = {"name": "copies", "operations": ["file_copy"], "allowed": True, "requires_approval": True}
WRITES = {"name": "writes", "operations": ["file_write"], "allowed": True}
READS = {
    "name": "reads",
    "operations": ["file_read"],
    "allowed": True,
    "parameter_constraints": {"file_path": {"allowed_values": ["/srv/a"]}},
}
FILES = {"source_path": "/srv/b", "dest_path": "/srv/a"}
STATE = {"exists": True, "version": "aa"}


async def previewed(asking: Asking, *, by: str = "agent-a", **changed: Any) -> tuple[Pending, Signed]:
    """A pending copy with its recorded preview."""
    one = await pending(asking, COPIES, previewed=False, operation="file_copy", parameters=FILES)
    signed = await preview(one, by, shown={"would": "replace"}, state=STATE, **changed)
    return one, signed


def named(signed: Signed, **changed: Any) -> dict[str, Any]:
    return {"step": "copies#1", "preview": digest(signed), **changed}


async def test_an_approval_names_the_recorded_preview(asking: Asking) -> None:
    one, signed = await previewed(asking)
    assert await one.code(**named(signed, preview=None)) == "bad_approval"
    assert await one.code(**named(signed, preview="0" * 64)) == "bad_approval"
    assert (await one.decide(**named(signed))).state == "approved"


async def test_a_rejection_needs_no_preview(asking: Asking) -> None:
    one, _ = await previewed(asking, complete=False)
    assert (await one.decide(verdict="reject", step="none")).state == "rejected"


async def test_an_approval_without_any_preview_is_refused_until_an_agent_signed_one(asking: Asking) -> None:
    """A bare client would approve unseen changes; an executor could withhold the preview."""
    one = await pending(asking, COPIES, previewed=False, operation="file_copy", parameters=FILES)
    assert await one.code(step="copies#1") == "preview_missing"
    assert "approved" not in await one.kinds()
    signed = await preview(one, shown={}, note="this agent has no preview of it")
    assert (await one.decide(**named(signed))).state == "approved"


async def test_an_operation_that_has_no_previews_is_approved_without_one(asking: Asking) -> None:
    looks = {"name": "looks", "operations": ["service_status"], "allowed": True, "requires_approval": True}
    one = await pending(asking, looks, operation="service_status")
    assert (await one.decide(step="looks#1")).state == "approved"


@pytest.mark.parametrize(
    "made",
    [
        {"complete": False, "note": "cut"},
        {"by": "stranger"},
        {"by": "agent-b"},
        {"operation": "file_write"},
        {"parameters_digest": "0" * 64},
        {"parameters_digest": None},
    ],
    ids=[
        "incomplete",
        "by nobody's key",
        "by another pool",
        "of another operation",
        "of other parameters",
        "of an older agent",
    ],
)
async def test_a_preview_that_does_not_hold_permits_a_rejection_only(asking: Asking, made: dict[str, Any]) -> None:
    one, signed = await previewed(asking, **made)
    assert await one.code(**named(signed)) == "preview_incomplete"
    assert "approved" not in await one.kinds()


async def test_a_read_grant_names_the_parameters_that_it_shows(asking: Asking) -> None:
    """A thief of an executor's key would have an agent preview harmless parameters under the id of others."""
    one = await pending(asking, COPIES, operation="file_copy", parameters=FILES)
    decision = read(one.signed, Decision)
    harmless = structs.replace(one.subject, parameters={**FILES, "source_path": "/srv/harmless"})
    for subject, same in ((one.subject, True), (harmless, False)):
        requested = await asking.decide(subject, look=["preview"], look_until=asking.clock.now + 60, look_key="ab" * 32)
        assert requested.look is not None
        assert (read(requested.look, ReadGrant).previewed == decision.parameters_digest) is same


async def test_the_first_preview_counts(asking: Asking) -> None:
    one, signed = await previewed(asking)
    other = sign(asking.files.keys["agent-a"], structs.replace(read(signed, Preview), shown={"would": "nothing"}))
    second = PreviewTaken(**stamp(asking, "second"), operation_id=one.subject.operation_id, preview=other)
    await asking.append(one.subject, second)
    assert await one.code(**named(other)) == "bad_approval"
    assert (await one.decide(**named(signed))).state == "approved"


@pytest.mark.parametrize(
    ("baseline", "code"),
    [
        ({**STATE, "size": 3}, "approved"),
        ({**STATE, "version": "bb"}, "stale"),
        ({}, "stale"),
    ],
    ids=["as it was", "another content", "not readable"],
)
async def test_a_target_that_changed_since_the_preview_is_stale(
    asking: Asking, baseline: dict[str, Any], code: str
) -> None:
    one, signed = await previewed(asking)
    await one.decide(**named(signed))
    await one.dispatched()
    claim = structs.replace(read(asking.claim(one.subject), Claim), baseline=baseline)
    answer = await asking.granted_as_recorded(one.subject, sign(asking.files.keys["agent-a"], claim))
    assert answer.decision is not None, answer
    decision = read(answer.decision, Decision)
    assert decision.code == code
    assert ("changed since the preview" in decision.reason) == (code == "stale")


async def facts_of(asking: Asking, one: Pending) -> ApprovalFacts:
    headers = {"Nats-Request-Info": '{"user": "' + asking.files.keys["bob"].public + '"}'}
    query = encode(ApprovalQuery(operation_id=one.subject.operation_id))
    message = await asking.bus.request(subjects.query("bob", "approval"), query, timeout=20, headers=headers)
    answer = decode(message.data, ApprovalCardReply)
    assert answer.card is not None, answer
    assert answer.card.facts is not None
    return open_signed(answer.card.facts, ApprovalFacts, [asking.files.keys["policy"].public], "")


async def test_policy_vouches_for_a_preview_by_the_targets_own_agents_alone(asking: Asking) -> None:
    one, signed = await previewed(asking)
    facts = await facts_of(asking, one)
    assert (facts.preview, facts.preview_key) == (digest(signed), asking.files.keys["agent-a"].public)
    assert (facts.reader, facts.previews, facts.details, facts.role) == ("bob", True, True, "development")
    forged, _ = await previewed(asking, by="stranger")
    assert (await facts_of(asking, forged)).preview is None


@pytest.mark.parametrize(("path", "quotes"), [("/srv/a", True), ("/srv/b", False)])
async def test_a_diff_quotes_what_the_requester_may_read(asking: Asking, path: str, quotes: bool) -> None:
    asking.files.policy(WRITES, READS)
    subject = asking.subject("file_write", parameters={"file_path": path, "content": "x"}, dry_run=True)
    decided = await asking.decide(subject, look=["preview"], look_until=asking.clock.now + 60, look_key="ab" * 32)
    assert decided.look is not None
    assert ("diff" in read(decided.look, ReadGrant).actions) == quotes


@pytest.mark.parametrize(
    ("readable", "quotes"), [(["/srv/a", "/srv/b"], True), (["/srv/a"], False), (["/srv/b"], False), ([], False)]
)
async def test_a_diff_of_a_copy_quotes_what_the_requester_may_read_at_both_ends(
    asking: Asking, readable: list[str], quotes: bool
) -> None:
    reads = {**READS, "parameter_constraints": {"file_path": {"allowed_values": readable}}}
    copies = {**COPIES, "requires_approval": False}
    asking.files.policy(copies, *([reads] if readable else []))
    subject = asking.subject("file_copy", parameters=FILES, dry_run=True)
    decided = await asking.decide(subject, look=["preview"], look_until=asking.clock.now + 60, look_key="ab" * 32)
    assert decided.look is not None
    assert ("diff" in read(decided.look, ReadGrant).actions) == quotes


@pytest.mark.parametrize(
    ("given", "quotes"), [({}, True), ({"also_path": "/srv/a"}, True), ({"also_path": "/srv/b"}, False)]
)
async def test_a_diff_quotes_nothing_of_an_optional_file_that_is_not_given(
    given: dict[str, str], quotes: bool, tmp_path: Path
) -> None:
    """An operation of a plugin may have one."""
    write = CATALOGUE["file_write"]
    parameters = defstruct(
        "Merge", [("also_path", str | None, None)], bases=(write.parameters,), frozen=True, kw_only=True
    )
    changed = structs.replace(write, parameters=parameters, quoted=("file_path", "also_path"))
    catalogue, broker = Catalogue({**CATALOGUE, write.name: changed}.values()), Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), files(tmp_path), catalogue=catalogue) as asking:
        asking.files.policy(WRITES, READS)
        merged = {"file_path": "/srv/a", "content": "x", **given}
        subject = asking.subject("file_write", parameters=merged, dry_run=True)
        decided = await asking.decide(subject, look=["preview"], look_until=asking.clock.now + 60, look_key="ab" * 32)
        assert decided.look is not None
        assert ("diff" in read(decided.look, ReadGrant).actions) == quotes
