"""The signer of decisions recognises its own, and rejects any difference of a byte."""

import pytest
from msgspec import Raw, structs

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.decisions import Decision, PolicyVersion
from writ_contracts.errors import Untrusted
from writ_contracts.operations import Catalogue
from writ_contracts.signing import Signed
from writ_policy.decisions import signer as module
from writ_policy.decisions.signer import DecisionSigner
from writ_policy.metrics import PolicyMeasures, metrics
from writ_trust import statements
from writ_trust.keys import Key, generate_seed

HERE = "a" * 26
DECISION = Decision(
    operation_id="o" * 26,
    principal="operator",
    operation="test_noop",
    target="web-1",
    effect="allow",
    code="",
    rules=[],
    reason="",
    parameters_digest="0" * 64,
    policy=PolicyVersion(
        name="policy.yaml", version="1", digest="0" * 64, inventory_digest="0" * 64, principals_digest="0" * 64
    ),
    control_sequence=0,
    at=1.0,
    authenticated="server",
)


@pytest.fixture
def key() -> Key:
    return Key(generate_seed(), HERE)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Signed]:
    """The statements whose signatures were verified."""
    observed = list[Signed]()

    def open_signed(signed: Signed, *more: object) -> object:
        observed.append(signed)
        return statements.open_signed(signed, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "open_signed", open_signed)
    return observed


def test_a_decision_of_this_process_is_recognised(key: Key, verified: list[Signed]) -> None:
    signer = DecisionSigner(key)
    opened = signer.open(signer.sign(DECISION), [key.public])
    assert opened == structs.replace(DECISION, installation=HERE)
    assert not verified


def test_a_decision_of_another_replica_is_verified(key: Key, verified: list[Signed]) -> None:
    signed = DecisionSigner(key).sign(DECISION)
    assert DecisionSigner(key).open(signed, [key.public]).operation_id == DECISION.operation_id
    assert verified == [signed]


def test_recognised_and_verified_decisions_are_counted(key: Key) -> None:
    measured = metrics()
    measures = PolicyMeasures(measured, Catalogue(BUILT_IN))
    signers = [DecisionSigner(key, measures.opened) for _ in range(2)]
    signed = signers[0].sign(DECISION)
    for signer in (signers[0], signers[0], signers[1]):
        signer.open(signed, [key.public])
    text = measured.exposition()[0].decode()
    assert 'writ_policy_signature_lookups_total{result="hit"} 2.0' in text
    assert 'writ_policy_signature_lookups_total{result="miss"} 1.0' in text


def test_a_recognised_signature_over_other_bytes_does_not_hold(key: Key) -> None:
    signer = DecisionSigner(key)
    signed = signer.sign(DECISION)
    altered = structs.replace(signed, payload=Raw(bytes(signed.payload).replace(b"web-1", b"web-2")))
    with pytest.raises(Untrusted, match="is not valid"):
        signer.open(altered, [key.public])


def test_a_recognised_decision_of_a_key_that_counts_no_more_is_refused(key: Key) -> None:
    signer = DecisionSigner(key)
    with pytest.raises(Untrusted, match="not trusted"):
        signer.open(signer.sign(DECISION), [])


def test_a_recognised_signature_under_the_name_of_another_key_is_refused(key: Key) -> None:
    signer, other = DecisionSigner(key), Key(generate_seed(), HERE)
    renamed = structs.replace(signer.sign(DECISION), key=other.public)
    with pytest.raises(Untrusted, match="is not valid"):
        signer.open(renamed, [key.public, other.public])


def test_the_memory_of_signed_decisions_is_bounded(
    key: Key, verified: list[Signed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    signer = DecisionSigner(key)
    oldest, *_ = [signer.sign(structs.replace(DECISION, at=float(at))) for at in range(3)]
    signer.open(oldest, [key.public])
    assert verified == [oldest]
