"""Policy decides without a large text where nothing reads it, on exactly the text whose digest the question names."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import KEY, RULES, SALT, Asking
from tests.policy.test_starts import alarms, grants, refused
from tests.rules.asking import CATALOGUE

from writ_contracts.decisions import Decision, GrantReply, Subject
from writ_contracts.large_texts import LARGE
from writ_trust.digests import digest_by_texts, keyed_digest, parameters_digest, text_digest
from writ_trust.statements import read

CONTENT = "x" * LARGE
WHOLE = {"file_path": "/srv/a", "content": CONTENT}
FILES = RULES[1]


def left_out(asking: Asking, **changed: Any) -> Subject:
    """Return a question about WHOLE without its content."""
    subject = asking.subject("file_write", parameters={"file_path": "/srv/a"}, texts={"content": digest_of(CONTENT)})
    return structs.replace(subject, **changed)


def digest_of(text: str) -> str:
    return text_digest(KEY, text)


def whole(subject: Subject, **changed: Any) -> Subject:
    return structs.replace(subject, parameters={**WHOLE, **changed}, texts={})


async def recorded(asking: Asking, subject: Subject) -> Decision:
    """Record the request with policy's own first decision, and return that."""
    decided = await asking.decide(subject)
    assert decided.decision is not None, decided.error
    await asking.record(whole(subject), decided.decision, parameters={"file_path": "/srv/a"})
    return read(decided.decision, Decision)


async def test_decision_and_grant_are_on_the_parameters_with_that_text(asking: Asking) -> None:
    subject = left_out(asking)
    first = await recorded(asking, subject)
    assert (first.effect, first.left_out, first.own_parameters_digest) == ("allow", ["content"], None)
    effective = CATALOGUE.find("file_write").check(WHOLE)
    assert first.parameters_digest == parameters_digest(KEY, effective, ["content"])
    answer = await asking.granted_as_recorded(subject)
    assert answer.grant is not None, answer.error
    assert answer.decision is not None
    assert read(answer.decision, Decision).parameters_digest == first.parameters_digest
    assert "content" not in answer.effective
    (event,) = await grants(asking, subject)
    assert event.parameters["file_path"] == "/srv/a"
    assert "content" not in event.parameters


async def test_reply_has_no_stand_in(asking: Asking) -> None:
    decided = await asking.decide(left_out(asking))
    assert decided.effective == {name: value for name, value in decided.effective.items() if name != "content"}
    assert decided.effective["file_path"] == "/srv/a"


async def test_forms_of_a_digest_differ() -> None:
    texts = {"content": digest_of(CONTENT)}
    imitated = {"file_path": "/srv/a", "content": texts["content"]}
    by_text = digest_by_texts(KEY, {"file_path": "/srv/a"}, texts)
    assert by_text == parameters_digest(KEY, WHOLE, ["content"])
    others = [keyed_digest(KEY, WHOLE), keyed_digest(KEY, imitated), parameters_digest(KEY, imitated, ["content"])]
    assert by_text not in others
    assert parameters_digest(KEY, {"content": 1}, ["content"]) == keyed_digest(KEY, {"content": 1})


CONSTRAINTS: list[dict[str, Any]] = [
    {"content": {"pattern": "x+"}},
    {"content": {"max_length": 200_000}},
    {"content": {"denied_values": ["y"]}},
]
EFFECTS = [{"allowed": True}, {"allowed": False}]


@pytest.mark.parametrize("constraints", CONSTRAINTS)
@pytest.mark.parametrize("effect", EFFECTS, ids=["allow", "deny"])
async def test_rule_that_reads_the_text_needs_it(
    asking: Asking, constraints: dict[str, Any], effect: dict[str, Any]
) -> None:
    asking.files.policy(FILES, {**FILES, **effect, "name": "reads", "parameter_constraints": constraints})
    assert await asking.code(left_out(asking)) == "texts_needed"
    assert await asking.code(whole(left_out(asking))) in ("allowed", "denied")


async def test_rule_of_an_emergency_that_reads_the_text_needs_it(asking: Asking) -> None:
    urgent = {**FILES, "name": "urgent", "parameter_constraints": {"content": {"pattern": "x+"}}}
    asking.files.policy(FILES, emergency_policies=[urgent])
    assert await asking.code(left_out(asking)) == "texts_needed"


async def test_rule_on_other_parameters_decides_without_the_text(asking: Asking) -> None:
    asking.files.policy({**FILES, "parameter_constraints": {"file_path": {"pattern": "/srv/[a-c]"}}})
    assert await asking.code(left_out(asking)) == "allowed"
    assert await asking.code(left_out(asking, parameters={"file_path": "/srv/d"})) == "no_rule"


async def test_default_of_a_rule_is_in_the_digest(asking: Asking) -> None:
    asking.files.policy({**FILES, "parameter_constraints": {"mode": {"default": "0600"}}})
    subject = left_out(asking)
    first = await recorded(asking, subject)
    effective = CATALOGUE.find("file_write").check({**WHOLE, "mode": "0600"})
    assert first.parameters_digest == parameters_digest(KEY, effective, ["content"])
    assert (await asking.granted_as_recorded(subject)).effective["mode"] == "0600"


async def test_what_people_approve_needs_the_text(asking: Asking) -> None:
    asking.files.policy({**FILES, "requires_approval": True})
    assert await asking.code(left_out(asking)) == "texts_needed"
    assert await asking.code(whole(left_out(asking))) == "approval_required"


async def test_signed_request_simulation_and_preview_need_the_text(asking: Asking) -> None:
    subject = left_out(asking)
    signed = asking.signed(whole(subject), parameters_digest=keyed_digest(SALT, WHOLE))
    for asked in (
        structs.replace(signed, parameters=subject.parameters, texts=subject.texts),
        structs.replace(subject, simulate=True),
    ):
        assert await asking.code(asked) == "texts_needed"
    assert await asking.code(subject, look=["preview"], look_key="12" * 32) == "texts_needed"


async def test_only_marked_parameters_are_left_out(asking: Asking) -> None:
    path = left_out(asking, parameters={"content": "x"}, texts={"file_path": "0" * 64})
    service = asking.subject(parameters={}, texts={"service_name": "0" * 64})
    for subject in (path, service):
        assert await asking.code(subject) == "texts_needed"
    assert await asking.code(left_out(asking, parameters=WHOLE)) == "invalid"


async def forged(asking: Asking, subject: Subject) -> None:
    assert await refused(asking, subject) == "forged_start"


async def test_start_with_another_text_or_other_values_is_forged(asking: Asking) -> None:
    subject = left_out(asking)
    await recorded(asking, subject)
    await forged(asking, structs.replace(subject, texts={"content": digest_of("y" * LARGE)}))
    await forged(asking, structs.replace(subject, parameters={"file_path": "/srv/b"}))
    await forged(asking, structs.replace(subject, parameters={"file_path": "/srv/a", "mode": "0777"}))
    await forged(asking, structs.replace(subject, parameters_key="ba" * 32))
    await forged(asking, whole(subject, content="y" * LARGE))
    await forged(asking, whole(subject, file_path="/srv/b"))
    assert len(await alarms(asking)) > 0
    assert (await asking.granted_as_recorded(subject)).grant is not None


async def test_start_with_the_whole_text_is_compared_with_the_digest(asking: Asking) -> None:
    """Policy may have needed the text of another request a moment ago."""
    subject = left_out(asking)
    await recorded(asking, subject)
    answer = await asking.granted_as_recorded(whole(subject))
    assert answer.grant is not None, answer.error
    assert answer.decision is not None
    effective = CATALOGUE.find("file_write").check(WHOLE)
    present = read(answer.decision, Decision)
    assert (present.left_out, present.parameters_digest) == ([], keyed_digest(KEY, effective))
    assert await alarms(asking) == []


async def needs_text(answer: GrantReply) -> bool:
    return answer.error is not None and answer.error.code == "texts_needed"


async def test_start_after_a_new_rule_that_reads_the_text_needs_it(asking: Asking) -> None:
    subject = left_out(asking)
    await recorded(asking, subject)
    asking.files.policy(FILES, {**FILES, "name": "reads", "parameter_constraints": {"content": {"pattern": "x+"}}})
    assert await needs_text(await asking.granted_as_recorded(subject))
    assert (await asking.granted_as_recorded(whole(subject))).grant is not None


async def test_start_without_the_text_of_a_decision_on_the_whole_text_needs_it(asking: Asking) -> None:
    subject = left_out(asking)
    await recorded(asking, whole(subject))
    assert await needs_text(await asking.granted_as_recorded(subject))
    assert await alarms(asking) == []


async def test_start_without_the_text_of_a_signed_request_needs_it(asking: Asking) -> None:
    subject = left_out(asking)
    signed = asking.signed(whole(subject))
    await asking.record(signed, parameters={"file_path": "/srv/a"})
    short = structs.replace(signed, parameters=subject.parameters, texts=subject.texts)
    assert await needs_text(await asking.granted_as_recorded(short))
    await forged(asking, structs.replace(short, statement=None, salt=None))
