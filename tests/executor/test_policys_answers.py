"""Policy's answers must repeat the question, for the target in the executor's own inventory (V8)."""

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs
from tests.executor.conftest import SIGNED, World

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.decisions import DecideReply, DecideRequest, Decision, PolicyVersion, Subject
from writ_contracts.errors import Invalid, TimedOut, Untrusted
from writ_contracts.journal import SecurityEvent
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import Failure
from writ_contracts.wire import encode
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.policy import client
from writ_executor.policy.client import CheckedDecision, _check_about
from writ_executor.policy.effective_parameters import EffectiveParameters
from writ_trust.digests import keyed_digest

_contained = EffectiveParameters().contained
KEY = "ab" * 32
SUBJECT = Subject(
    operation_id="a" * 26,
    principal="alice",
    key="U",
    operation="file_read",
    target="web-1",
    parameters={"file_path": "/srv/harmless", "max_bytes": 5},
    parameters_key=KEY,
)
EFFECTIVE = {**SUBJECT.parameters, "timeout": 30}
VERSION = PolicyVersion(name="t", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64)
DECISION = Decision(
    operation_id="a" * 26,
    principal="alice",
    operation="file_read",
    target="web-1",
    effect="allow",
    code="allowed",
    rules=["r"],
    reason="r",
    parameters_digest=keyed_digest(KEY, EFFECTIVE),
    policy=VERSION,
    control_sequence=0,
    at=1.0,
    authenticated="server",
)


def test_defaults_may_be_added_to_a_request() -> None:
    assert _contained(DECISION, EFFECTIVE, SUBJECT) == EFFECTIVE


def test_texts_that_policy_left_out_are_those_of_the_request() -> None:
    """Policy answers large requests so: the decision's digest binds the value, wherever it comes from."""
    assert _contained(DECISION, {"max_bytes": 5, "timeout": 30}, SUBJECT) == EFFECTIVE


@pytest.mark.parametrize("altered", [{"max_bytes": 5.0}, {"content": "y" * LARGE}, {"timeout": 31}])
async def test_large_parameters_compared_before_are_refused_with_another_value(altered: dict[str, Any]) -> None:
    """Python treats some values as equal that differ in JSON, and so in the digest compared by the agent."""
    subject = structs.replace(SUBJECT, parameters={**SUBJECT.parameters, "content": "x" * LARGE})
    effective = {**subject.parameters, "timeout": 30}
    decision = structs.replace(DECISION, parameters_digest=keyed_digest(KEY, effective))
    parameters = EffectiveParameters()
    for _ in range(2):
        assert parameters.contained(decision, {"timeout": 30}, subject) == effective
    changed = structs.replace(subject, parameters={**subject.parameters, **altered})
    with pytest.raises(Untrusted, match="and its reply have different parameters"):
        parameters.contained(decision, {"timeout": 30, **altered}, changed)


def test_parameters_that_policy_did_not_decide_on_are_refused() -> None:
    less = {"file_path": "/srv/harmless", "timeout": 30}
    decision = structs.replace(DECISION, parameters_digest=keyed_digest(KEY, less))
    with pytest.raises(Untrusted, match="and its reply have different parameters"):
        _contained(decision, less, SUBJECT)


@pytest.mark.parametrize(
    ("effective", "what"),
    [
        ({**EFFECTIVE, "file_path": "/srv/secret"}, "another file_path"),
        ({**EFFECTIVE, "max_bytes": 6}, "another max_bytes"),
        ({**EFFECTIVE, "timeout": 31}, "and its reply have different parameters"),
    ],
)
def test_parameters_that_policy_changed_are_refused(effective: dict[str, Any], what: str) -> None:
    with pytest.raises(Untrusted, match=what) as refused:
        _contained(DECISION, effective, SUBJECT)
    assert refused.value.code == "mismatched_grant"


@pytest.mark.parametrize(
    ("operation", "answered", "refused"),
    [("emergency_declare", 3_600.0, False), ("emergency_declare", 3_700.0, True), ("stop_set", 3_600.0, True)],
)
def test_policy_ends_an_emergency_within_its_bound_and_nothing_else(
    operation: str, answered: float, *, refused: bool
) -> None:
    """The requester's clock may be ahead when it requests the longest emergency."""
    about = structs.replace(SUBJECT, operation=operation, parameters={"scope": ["*"], "until": 3_630.0})
    effective = {"scope": ["*"], "until": answered}
    decision = structs.replace(DECISION, operation=operation, parameters_digest=keyed_digest(KEY, effective))
    with pytest.raises(Untrusted, match="another until") if refused else nullcontext():
        _contained(decision, effective, about)


@pytest.mark.parametrize("field", ["operation_id", "principal", "operation", "target"])
def test_a_decision_on_something_else_is_refused(field: str) -> None:
    with pytest.raises(Untrusted, match="for another request"):
        _check_about(structs.replace(DECISION, **{field: "other"}), SUBJECT)


async def test_a_target_that_is_not_the_inventorys_reaches_no_agent_and_is_an_alarm(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work = await world.work(answer.operation_id or "")
    world.policy._targets = {"web-1": structs.replace(world.policy.target("web-1"), file_roots=["/"])}
    refused = (await world.hands.claim(work)).answer
    assert refused.grant is None
    assert refused.sealed == b""
    assert refused.error is not None
    assert (refused.error.code, refused.error.retry) == ("mismatched_grant", True)
    [event] = await world.events(subjects.security_event("mismatched_grant"))
    assert isinstance(event, SecurityEvent)
    assert event.operation_id == answer.operation_id


async def test_parameters_that_policy_changes_at_the_request_are_an_alarm_and_nothing_is_accepted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.executor()
    monkeypatch.setattr(world.policy, "_effective", lambda _: {"service_name": "sshd", "timeout": 60})
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    assert answer.error is not None
    assert answer.error.code == "mismatched_grant"
    [event] = await world.events(subjects.security_event("mismatched_grant"))
    assert isinstance(event, SecurityEvent)
    assert "another service_name" in event.detail
    assert await world.records("writ.journal.op.>") == []


async def test_an_executor_whose_journal_was_replaced_accepts_and_starts_nothing(world: World) -> None:
    executor = await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work = await world.work(answer.operation_id or "")
    executor.base.guard.problem = "it begins with another event"
    for error in (
        (await world.ask("service_restart", parameters={"service_name": "nginx"})).error,
        (await world.hands.claim(work)).answer.error,
    ):
        assert error is not None
        assert error.retry
        assert "does not trust the journal: it begins with another event" in error.message
    executor.base.guard.problem = None
    assert (await world.hands.claim(work)).answer.grant is not None


async def test_large_texts_are_sent_for_the_grant_only_to_a_policy_without_them(world: World) -> None:
    """The scripted policy keeps none, like a replica that did not decide."""
    executor = await world.executor()
    content = "x" * LARGE
    answer = await world.ask("file_write", parameters={"file_path": "/srv/f", "content": content}, **SIGNED)
    work = await world.work(answer.operation_id or "")
    claimed = await world.hands.claim(work)
    assert claimed.answer.error is None
    assert claimed.answer.grant is not None
    assert [ask.kept is None for ask in world.policy.grants] == [False, True]
    short, whole = world.policy.grants
    assert "content" not in short.subject.parameters
    assert whole.subject.parameters["content"] == content
    assert not executor.base.policy._effective._digests._recent._entries  # granted, so they are not needed any more


async def test_large_parameters_are_digested_and_encrypted_while_policy_decides(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await world.executor()
    decide, encrypt, prepared = executor.base.policy.decide, SharedKeys.encrypt, asyncio.Event()

    async def decide_afterwards(request: DecideRequest, *about: Any) -> CheckedDecision:
        async with asyncio.timeout(10):
            await prepared.wait()
        return await decide(request, *about)

    def noted(keys: SharedKeys, data: bytes) -> bytes:
        prepared.set()
        return encrypt(keys, data)

    monkeypatch.setattr(executor.base.policy, "decide", decide_afterwards)
    monkeypatch.setattr(SharedKeys, "encrypt", noted)
    parameters = {"file_path": "/srv/f", "content": "x" * LARGE}
    answer = await world.ask("file_write", parameters=parameters, **SIGNED)
    life = await world.accepted(answer.operation_id)
    assert executor.base.policy._effective._digests._recent._entries
    assert life.requested.hidden_bytes == len(encode(parameters))


async def test_contents_of_a_denied_request_are_not_kept(world: World) -> None:
    executor = await world.executor()
    world.policy.effects["file_write"] = "deny"
    answer = await world.ask("file_write", parameters={"file_path": "/srv/f", "content": "x" * LARGE}, **SIGNED)
    assert answer.outcome == "denied"
    assert not executor.base.policy._effective._digests._recent._entries


async def test_check_of_a_proposed_policy_may_take_longer_than_other_decisions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await world.executor()
    monkeypatch.setattr(client, "TIMEOUT", 0.01)
    released = asyncio.Event()

    async def request(subject: str, data: bytes, *, timeout: float, headers: Any = None) -> Message:
        try:
            async with asyncio.timeout(timeout):
                await released.wait()
        except TimeoutError:
            raise TimedOut("no answer") from None
        failure = Failure(code="too_much", message="it takes longer than 30 s")
        return Message(subject=subject, data=encode(DecideReply(error=failure)))

    monkeypatch.setattr(executor.base.policy, "_bus", SimpleNamespace(request=request))
    proposal = structs.replace(SUBJECT, operation="policy_publish", target="writ", parameters={"document": "x"})
    checked = asyncio.create_task(executor.base.policy.decide(DecideRequest(subject=proposal, control_sequence=0)))
    with pytest.raises(TimedOut):
        await executor.base.policy.decide(DecideRequest(subject=SUBJECT, control_sequence=0))
    released.set()
    with pytest.raises(Invalid, match="longer than 30 s"):
        await checked
