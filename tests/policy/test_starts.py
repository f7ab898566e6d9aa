"""A start is granted once, as the journal permits, and stored before the agent gets the grant."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import RULES, Asking

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.agents import Receipt
from writ_contracts.decisions import Decision, Grant, Subject
from writ_contracts.journal import Dispatched, DispatchedAtOnce, Finished, Granted, SecurityEvent
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event, encode
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.statements import digest, read, sign

START = {**RULES[0], "operations": ["service_restart", "service_status", "service_start"]}


async def grants(asking: Asking, subject: Subject) -> list[Granted]:
    """Return the starts in the journal."""
    records = await asking.bus.journal.read(subjects.operation_filter(subject.principal, subject.operation_id))
    events = [decode_event(record.data) for record in records]
    return [event for event in events if isinstance(event, Granted)]


async def alarms(asking: Asking) -> list[SecurityEvent]:
    """Return the recorded `forged_start` events: requests that no honest executor sends."""
    records = await asking.bus.journal.read(subjects.security_event("forged_start"))
    return [event for record in records if isinstance(event := decode_event(record.data), SecurityEvent)]


async def refused(asking: Asking, subject: Subject, claim: Signed | None = None) -> str:
    """Return the error code for a claim; assert that nothing is stored."""
    before = len(await grants(asking, subject))
    answer = await asking.granted_as_recorded(subject, claim)
    assert answer.grant is None
    assert answer.error is not None
    assert len(await grants(asking, subject)) == before
    return answer.error.code


def dispatched(asking: Asking, subject: Subject, attempt: int, **changed: Any) -> Dispatched:
    event = Dispatched(
        id=f"again-{attempt}",
        at=asking.clock.now,
        correlation_id="c",
        operation_id=subject.operation_id,
        principal=subject.principal,
        operation=subject.operation,
        target=subject.target,
        pool="a",
        attempt=attempt,
        parameters={},
        start_by=asking.clock.now + 60,
        timeout=60,
    )
    return structs.replace(event, **changed)


async def test_journal_has_the_start_with_all_of_its_inputs(asking: Asking) -> None:
    subject = asking.subject()
    claim = asking.claim(subject)
    answer = await asking.granted(subject, claim)
    (event,) = await grants(asking, subject)
    assert (event.grant, event.claim, event.decision) == (answer.grant, claim, answer.decision)
    assert (event.attempt, event.instance, event.parameters) == (1, "one", {"service_name": "nginx", "timeout": 60})
    assert event.deadline == asking.clock.now + 15 + 60 + 5


async def test_start_records_the_defaults_of_rules_without_the_values(asking: Asking) -> None:
    subject = asking.subject()
    await asking.granted(subject, values=False)
    (event,) = await grants(asking, subject)
    assert event.parameters == {"timeout": 60}


async def test_start_without_a_request_is_refused_and_a_security_event(asking: Asking) -> None:
    subject = asking.subject()
    assert await refused(asking, subject) == "forged_start"
    await asking.append(subject, dispatched(asking, subject, 1))
    assert await refused(asking, subject) == "forged_start"

    async def alarms_arrived() -> bool:
        return len(await alarms(asking)) == 2

    await eventually(alarms_arrived)
    assert {event.operation_id for event in await alarms(asking)} == {subject.operation_id}


@pytest.mark.parametrize(
    "changed",
    [
        {"operation_id": "b" * 26},
        {"principal": "bob"},
        {"operation": "service_status"},
        {"target": "web-b"},
        {"effect": "deny"},
        {"effect": "require_approval"},
        {"authenticated": "nobody"},
        {"statement_digest": "0" * 64},
    ],
)
async def test_first_decision_on_another_request_starts_nothing(asking: Asking, changed: dict[str, Any]) -> None:
    subject = asking.subject()
    await asking.record(subject, sign(asking.files.keys["policy"], asking.first_decision(subject, **changed)))
    assert await refused(asking, subject) == "forged_start"


async def test_first_decision_without_policys_signature_starts_nothing(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject, sign(asking.files.keys["agent-a"], asking.first_decision(subject)))
    assert await refused(asking, subject) == "forged_start"


async def test_statement_that_is_not_on_record_starts_nothing(asking: Asking) -> None:
    subject = asking.subject("file_delete", parameters={"file_path": "/srv/a"})
    await asking.record(subject)
    assert await refused(asking, asking.signed(subject)) == "forged_start"
    signed = asking.signed(asking.subject("file_delete", parameters={"file_path": "/srv/a"}))
    await asking.record(signed)
    assert await refused(asking, structs.replace(signed, statement=None, salt=None)) == "forged_start"


async def test_claims_at_the_same_time_start_the_operation_once(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject)
    claims = [asking.claim(subject, instance=f"i-{number}") for number in range(8)]
    answers = await asyncio.gather(*(asking.granted_as_recorded(subject, claim) for claim in claims))
    assert sum(answer.grant is not None for answer in answers) == 1
    assert {answer.error.code for answer in answers if answer.error} == {"moved_on"}
    assert len(await grants(asking, subject)) == 1


async def test_ended_operation_does_not_start(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject)
    ended = Finished(id="f", at=0.0, correlation_id="c", operation_id=subject.operation_id, outcome="cancelled")
    await asking.append(subject, ended)
    assert await refused(asking, subject) == "moved_on"
    await asking.append(subject, dispatched(asking, subject, 2))
    assert await refused(asking, subject, asking.claim(subject, attempt=2)) == "forged_start"


async def test_non_idempotent_operation_starts_once(asking: Asking) -> None:
    subject = asking.subject()
    await asking.granted(subject)
    await asking.append(subject, dispatched(asking, subject, 2))
    assert await refused(asking, subject, asking.claim(subject, attempt=2)) == "forged_start"


async def test_attempt_waits_until_the_one_before_is_over(asking: Asking) -> None:
    asking.files.policy(START)
    subject = asking.subject("service_start")
    first = await asking.granted(subject)
    assert first.grant is not None
    await asking.append(subject, dispatched(asking, subject, 2))
    assert await refused(asking, subject, asking.claim(subject, attempt=2)) == "too_soon"


@pytest.mark.parametrize(
    ("by", "changed", "granted"),
    [
        ("agent-a", {}, True),
        ("agent-b", {}, False),
        ("stranger", {}, False),
        ("agent-a", {"over": False}, False),
        ("agent-a", {"instance": "two"}, False),
        ("agent-a", {"attempt": 2}, False),
        ("agent-a", {"grant_digest": "0" * 64}, False),
    ],
)
async def test_attempt_has_ended_when_its_own_instance_says_so(
    asking: Asking, by: str, changed: dict[str, Any], granted: bool
) -> None:
    asking.files.policy(START)
    subject = asking.subject("service_start")
    first = await asking.granted(subject)
    assert first.grant is not None
    receipt = Receipt(
        operation_id=subject.operation_id,
        attempt=1,
        pool="a",
        instance="one",
        grant_digest=digest(first.grant),
        outcome="unknown",
        code="agent_restarted",
        message="",
        output_digest="0" * 64,
        output_bytes=0,
    )
    over = sign(asking.files.keys[by], structs.replace(receipt, **changed))
    await asking.append(subject, dispatched(asking, subject, 2, over=over))
    answer = await asking.granted_as_recorded(subject, asking.claim(subject, attempt=2))
    assert (answer.grant is not None) is granted
    assert granted or (answer.error is not None and answer.error.code == "too_soon")


async def test_stored_stop_counts_whatever_sequence_the_executor_names(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject)
    await asking.control("stop_set", {"reason": "it burns"})
    answer = await asking.granted_as_recorded(subject, control_sequence=0)
    assert answer.grant is None
    assert answer.decision is not None
    assert read(answer.decision, Decision).code == "stopped"
    assert await grants(asking, subject) == []


async def test_dispatch_to_another_target_operation_or_pool_starts_nothing(asking: Asking) -> None:
    elsewhere: list[dict[str, Any]] = [{"target": "web-b"}, {"operation": "service_status"}, {"pool": "b"}]
    for changed in elsewhere:
        subject = asking.subject()
        await asking.record(subject, None, **changed)
        assert await refused(asking, subject) == "forged_start"


@pytest.mark.parametrize("kind", ["cancel_requested", "finished", "unknown", "resolved"])
async def test_start_under_the_subject_of_another_event_permits_no_second_start(asking: Asking, kind: str) -> None:
    """Executors' NATS permissions are by subject: policy reads no start from one of their own subjects."""
    subject = asking.subject()
    assert (await asking.granted(subject)).grant is not None
    (real,) = await grants(asking, subject)
    body = structs.replace(read(real.grant, Grant), lifetime=-1000.0, timeout=0)
    made_up = structs.replace(real, id="made-up", attempt=0, grant=sign(asking.files.keys["agent-a"], body))
    own = subjects.operation_filter(subject.principal, subject.operation_id)
    last = await asking.bus.journal.last(own)
    assert last is not None
    where = subjects.operation_event(subject.principal, subject.operation_id, kind)
    entry = Entry(subject=where, data=encode(made_up), event_id="made-up", filter=own, expected=last.sequence)
    await asking.bus.journal.append(entry)
    await asking.append(subject, dispatched(asking, subject, 1))
    claim = asking.claim(subject, nonce="b" * 64, instance="two")
    assert await refused(asking, subject, claim) in ("forged_start", "moved_on")


@pytest.mark.parametrize("seconds", [3600.0, 200 * 86_400.0])
async def test_decision_that_was_held_back_starts_nothing(asking: Asking, seconds: float) -> None:
    subject = asking.subject()
    old = asking.first_decision(subject, at=asking.clock.now - seconds)
    await asking.record(subject, sign(asking.files.keys["policy"], old))
    assert await refused(asking, subject) == "forged_start"


@pytest.mark.parametrize("step", [86_400.0, -86_400.0])
async def test_request_starts_although_the_clock_of_nats_was_set_between_decision_and_record(
    asking: Asking, step: float
) -> None:
    """Policy measures this clock every five seconds, so its decision is still on the former time."""
    assert isinstance(asking.bus, MemoryBus)
    subject = asking.subject()
    asking.bus.broker.disk.clock = lambda: asking.clock() + step
    await asking.record(subject)
    assert (await asking.granted_as_recorded(subject)).grant is not None
    assert await alarms(asking) == []


async def test_request_of_weeks_ago_does_not_start(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject)
    asking.clock.now += 8 * 86_400.0
    assert await refused(asking, subject) == "forged_start"


AT_ONCE = DispatchedAtOnce(start_by=0.0, decision_digest="0" * 64)


async def test_operation_that_was_dispatched_with_its_request_starts_once(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject, dispatched=AT_ONCE)
    answer = await asking.granted_as_recorded(subject, asking.claim(subject))
    assert answer.grant is not None
    assert len(await grants(asking, subject)) == 1
    assert await refused(asking, subject, asking.claim(subject)) == "moved_on"
    assert await alarms(asking) == []


async def test_second_dispatch_by_an_executor_of_the_earlier_release_starts_once(asking: Asking) -> None:
    subject = asking.subject()
    await asking.record(subject, dispatched=AT_ONCE)
    await asking.append(subject, dispatched(asking, subject, 1))
    answer = await asking.granted_as_recorded(subject, asking.claim(subject))
    assert answer.grant is not None
    assert len(await grants(asking, subject)) == 1
    assert await refused(asking, subject, asking.claim(subject)) == "moved_on"
    assert await alarms(asking) == []


@pytest.mark.parametrize("changed", [{"pool": "b"}, {"target": "web-b"}, {"operation": "service_status"}])
async def test_second_dispatch_to_another_place_is_forged(asking: Asking, changed: dict[str, Any]) -> None:
    subject = asking.subject()
    await asking.record(subject, dispatched=AT_ONCE)
    await asking.append(subject, dispatched(asking, subject, 1, **changed))
    assert await refused(asking, subject) == "forged_start"


async def test_second_attempt_starts_after_a_dispatch_with_the_request(asking: Asking) -> None:
    asking.files.policy(START)
    subject = asking.subject("service_start")
    await asking.record(subject, dispatched=AT_ONCE)
    assert (await asking.granted_as_recorded(subject, asking.claim(subject))).grant is not None
    asking.clock.now += 1000.0
    await asking.append(subject, dispatched(asking, subject, 2))
    assert (await asking.granted_as_recorded(subject, asking.claim(subject, attempt=2))).grant is not None


async def test_dispatch_with_the_request_does_not_replace_approvals(asking: Asking) -> None:
    subject = asking.subject()
    first = sign(asking.files.keys["policy"], asking.first_decision(subject, effect="require_approval"))
    await asking.record(subject, first, dispatched=AT_ONCE)
    assert await refused(asking, subject) == "forged_start"
    [alarm] = await alarms(asking)
    assert "without the approvals" in alarm.detail
