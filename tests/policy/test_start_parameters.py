"""A start has the parameters that the requester gave at its request, whatever the executor recorded."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import KEY, RULES, Asking
from tests.policy.test_starts import alarms, grants, refused

from writ_contracts.decisions import Decision, Subject
from writ_trust.digests import keyed_digest
from writ_trust.statements import read, sign


async def recorded_by_policy(asking: Asking, subject: Subject, **changed: Any) -> Decision:
    """Record the request with policy's own first decision, and return that."""
    decided = await asking.decide(subject)
    assert decided.decision is not None
    await asking.record(subject, decided.decision, **{"effective": decided.effective, **changed})
    return read(decided.decision, Decision)


GUARDED = {"file_path": "/srv/a", "content": "x", "mode": "0600", "if_digest": "a" * 64, "timeout": 5}


@pytest.mark.parametrize("record", [{}, {"effective": {}}, {"effective": GUARDED}], ids=["true", "none", "invented"])
@pytest.mark.parametrize(
    "other",
    [
        {**GUARDED, "file_path": "/srv/b"},
        {**GUARDED, "content": "y"},
        {**GUARDED, "mode": "0777"},
        *({name: value for name, value in GUARDED.items() if name != left_out} for left_out in list(GUARDED)[2:]),
        {"file_path": "/srv/a", "content": "x"},
    ],
    ids=["path", "content", "mode", "no mode", "no if_digest", "no timeout", "none of these"],
)
async def test_start_with_other_parameters_than_policy_decided_on_is_forged(
    asking: Asking, other: dict[str, Any], record: dict[str, Any]
) -> None:
    """Whatever the executor has recorded as the effective parameters of the first decision."""
    subject = asking.subject("file_write", parameters=GUARDED)
    await recorded_by_policy(asking, subject, **record)
    assert await refused(asking, structs.replace(subject, parameters=other)) == "forged_start"
    assert await refused(asking, structs.replace(subject, parameters=other, parameters_key="ba" * 32)) == "forged_start"
    assert (await asking.granted_as_recorded(subject)).grant is not None


async def test_start_under_another_key_of_digests_is_forged(asking: Asking) -> None:
    subject = asking.subject()
    await recorded_by_policy(asking, subject)
    assert await refused(asking, structs.replace(subject, parameters_key="ba" * 32)) == "forged_start"


async def test_start_with_the_content_left_out_of_the_question_is_compared_as_a_whole(asking: Asking) -> None:
    large = {"file_path": "/srv/a", "content": "x" * 100_000}
    subject = asking.subject("file_write", parameters=large)
    first = await recorded_by_policy(asking, subject)
    asking.files.policy({**RULES[1], "parameter_constraints": {"timeout": {"default": 33}}})
    elsewhere, own = (structs.replace(subject, parameters={"file_path": path}) for path in ("/srv/b", "/srv/a"))
    answer = await asking.granted_as_recorded(elsewhere, kept=first.parameters_digest)
    assert answer.error is not None
    assert answer.error.code == "forged_start"
    other = structs.replace(subject, parameters={**large, "content": "y" * 100_000})
    assert await refused(asking, other) == "forged_start"
    answer = await asking.granted_as_recorded(own, kept=first.parameters_digest)
    assert answer.effective["timeout"] == 33
    assert answer.grant is not None


@pytest.mark.parametrize("on_record", [True, False], ids=["values", "no values"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
async def test_start_for_which_a_rule_fills_in_another_value_by_now_is_granted(
    asking: Asking, on_record: bool, signed: bool
) -> None:
    def default(value: int) -> None:
        asking.files.policy({**RULES[0], "parameter_constraints": {"timeout": {"default": value}}})

    default(44)
    subject = asking.subject()
    subject = asking.signed(subject) if signed else subject
    await recorded_by_policy(asking, subject, **({} if on_record else {"effective": {}}))
    default(33)
    granted = await asking.granted_as_recorded(subject)
    assert granted.error is None
    assert granted.effective == {"service_name": "nginx", "timeout": 33}
    assert granted.grant is not None
    assert await alarms(asking) == []


async def test_start_for_which_a_rule_fills_in_another_hidden_value_by_now_is_granted(asking: Asking) -> None:
    def default(value: str) -> None:
        asking.files.policy({**RULES[1], "parameter_constraints": {"if_digest": {"default": value * 64}}})

    default("a")
    subject = asking.subject("file_write", parameters={"file_path": "/srv/a", "content": "x"})
    await recorded_by_policy(asking, subject, effective={"file_path": "/srv/a"})
    default("b")
    granted = await asking.granted_as_recorded(subject)
    assert granted.effective["if_digest"] == "b" * 64
    assert granted.grant is not None
    assert await alarms(asking) == []


@pytest.mark.parametrize("parameters", [{"service_name": "nginx"}, {"service_name": "nginx", "timeout": 7}])
async def test_start_that_differs_from_a_decision_of_an_earlier_release_is_stale(
    asking: Asking, parameters: dict[str, Any]
) -> None:
    """That decision does not say which parameters the requester gave: nothing starts, and nobody is accused."""
    subject = asking.subject()
    before = keyed_digest(KEY, {"service_name": "nginx", "timeout": 5})
    decision = asking.first_decision(subject, parameters_digest=before, own_parameters_digest=None)
    present = structs.replace(subject, parameters=parameters)
    await asking.record(present, sign(asking.files.keys["policy"], decision))
    answer = await asking.granted_as_recorded(present)
    assert answer.grant is None
    assert answer.decision is not None
    assert read(answer.decision, Decision).code == "stale"
    assert await grants(asking, subject) == []
    assert await alarms(asking) == []


RECORDS: list[dict[str, Any]] = [
    {"parameters": {"service_name": "nginx"}, "hidden": []},
    {"parameters": {"service_name": "sshd", "timeout": 5}},
    {"parameters": {"service_name": "nginx", "timeout": 5.0}},
    {"parameters": {"service_name": "nginx", "timeout": 5, "force": True}},
    {"parameters": {"service_name": "sshd"}, "hidden": ["service_name", "timeout"]},
]


@pytest.mark.parametrize("record", RECORDS, ids=str)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
async def test_start_whose_record_shows_other_parameters_is_forged(
    asking: Asking, record: dict[str, Any], signed: bool
) -> None:
    subject = asking.subject(parameters={"service_name": "nginx", "timeout": 5})
    subject = asking.signed(subject) if signed else subject
    await recorded_by_policy(asking, subject, **record)
    assert await refused(asking, subject) == "forged_start"


async def test_start_whose_record_shows_another_effective_value_of_the_requester_is_stale(asking: Asking) -> None:
    subject = asking.subject(parameters={"service_name": "nginx", "timeout": 5})
    await recorded_by_policy(asking, subject, effective={"service_name": "sshd", "timeout": 5})
    answer = await asking.granted_as_recorded(subject)
    assert answer.decision is not None
    decision = read(answer.decision, Decision)
    assert (decision.code, decision.reason) == ("stale", "the record shows other values of service_name")
    assert await alarms(asking) == []


async def test_start_as_an_earlier_release_decided_it_is_granted(asking: Asking) -> None:
    subject = asking.subject()
    before = keyed_digest(KEY, {"service_name": "nginx", "timeout": 60})
    decision = asking.first_decision(subject, parameters_digest=before, own_parameters_digest=None)
    await asking.record(subject, sign(asking.files.keys["policy"], decision))
    assert (await asking.granted_as_recorded(subject)).grant is not None


async def test_only_the_first_decision_on_an_unsigned_request_names_its_own_parameters(asking: Asking) -> None:
    subject = asking.subject()
    assert (await asking.decision(subject)).own_parameters_digest == keyed_digest(KEY, {"service_name": "nginx"})
    assert (await asking.decision(asking.signed(subject))).own_parameters_digest is None
    await asking.granted(subject)
    (event,) = await grants(asking, subject)
    assert read(event.decision, Decision).own_parameters_digest is None
