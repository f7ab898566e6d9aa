"""The question for a grant need not repeat the large texts of the decision, and stands for these texts alone."""

import hmac

import pytest
from msgspec import Raw, structs
from tests.policy.replica import Asking

from writ_contracts.decisions import Decision, GrantRequest, Subject
from writ_contracts.errors import Invalid
from writ_contracts.large_texts import LARGE, without_large_texts
from writ_policy.decisions.kept_texts import KeptTexts
from writ_runtime import recent_digests
from writ_runtime.recent_digests import RecentDigests, begun_digest
from writ_trust.statements import read


def written(asking: Asking, **changed: object) -> Subject:
    parameters = {"file_path": "/srv/a", "content": "x" * LARGE, **changed}
    return asking.subject("file_write", parameters=parameters)


def shortened(asking: Asking, subject: Subject, kept: str) -> GrantRequest:
    less = structs.replace(subject, parameters=without_large_texts(subject.parameters))
    return GrantRequest(subject=less, claim=asking.claim(subject), control_sequence=0, kept=kept)


async def test_kept_texts_complete_the_question_of_their_own_request_only(asking: Asking) -> None:
    subject, other = written(asking), written(asking, content="y" * LARGE)
    decision, texts = await asking.decision(subject), KeptTexts(RecentDigests())
    texts.keep(subject, decision)
    ask = shortened(asking, subject, decision.parameters_digest)
    assert texts.completed(ask).subject == subject
    for wrong in (shortened(asking, other, decision.parameters_digest), shortened(asking, subject, "0" * 64)):
        with pytest.raises(Invalid) as refused:
            texts.completed(wrong)
        assert refused.value.code == "texts_needed"
    texts.drop(ask)
    with pytest.raises(Invalid):
        texts.completed(ask)


async def test_texts_of_simulations_and_denials_are_not_kept(asking: Asking) -> None:
    subject = written(asking)
    decision, digests = await asking.decision(subject), RecentDigests()
    texts = KeptTexts(digests)
    for kept, as_decided in (
        (structs.replace(subject, simulate=True), decision),
        (subject, structs.replace(decision, effect="deny")),
    ):
        digests.of(subject.parameters_key, subject.parameters)
        texts.keep(kept, as_decided)
        assert not digests._recent._entries
    with pytest.raises(Invalid):
        texts.completed(shortened(asking, subject, decision.parameters_digest))


async def test_grant_is_for_the_texts_that_were_decided_on(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []

    def noted(key: str, before: bytes, text: bytes | Raw) -> hmac.HMAC:
        computed.append(key)
        return begun_digest(key, before, text)

    monkeypatch.setattr(recent_digests, "begun_digest", noted)
    subject = written(asking)
    decided = await asking.decide(subject)
    assert decided.decision is not None
    first = read(decided.decision, Decision)
    await asking.record(subject, decided.decision)
    less = structs.replace(subject, parameters=without_large_texts(subject.parameters))
    answer = await asking.granted_as_recorded(less, kept=first.parameters_digest)
    assert answer.error is None, answer.error
    assert answer.decision is not None
    assert read(answer.decision, Decision).parameters_digest == first.parameters_digest
    assert computed == [subject.parameters_key]  # once for both decisions
    again = await asking.granted_as_recorded(less, kept=first.parameters_digest)
    assert again.error is not None
    assert again.error.code == "texts_needed"
