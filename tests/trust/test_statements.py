"""Signed statements open only as their own kind, by trusted keys, byte for byte."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct, structs
from nacl.signing import VerifyKey
from tests.contracts.messages import file_name, sample, statements

from writ_contracts.agents import Claim, Receipt
from writ_contracts.decisions import Decision, Grant
from writ_contracts.errors import Untrusted
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, decode, encode
from writ_testing.each_case import each_case
from writ_trust.keys import Key, decode_public, generate_seed
from writ_trust.statements import digest, open_signed, open_verified, read, sign, verified

HERE = "text"
KEY, OTHER = Key(generate_seed(), HERE), Key(generate_seed(), HERE)
CLAIM = sample(Claim)
every_statement = each_case("kind", statements(), ids=file_name)


@every_statement
def test_signed_statement_opens_unchanged(kind: type[Struct]) -> None:
    signed = sign(KEY, sample(kind))
    assert open_signed(signed, kind, {KEY.public}, HERE) == sample(kind)
    assert signed.key == KEY.public


@every_statement
def test_statement_survives_the_wire(kind: type[Struct]) -> None:
    signed = decode(encode(sign(KEY, sample(kind))), Signed)
    assert open_signed(signed, kind, [OTHER.public, KEY.public], HERE) == sample(kind)


@every_statement
def test_statement_is_never_opened_as_another_kind(kind: type[Struct]) -> None:
    for other in statements():
        if other is not kind:
            with pytest.raises(Untrusted, match="the signed bytes are not a"):
                open_signed(sign(KEY, sample(kind)), other, {KEY.public}, HERE)


def test_a_key_that_is_not_trusted_for_this_opens_nothing() -> None:
    for trusted in (set[str](), {OTHER.public}):
        with pytest.raises(Untrusted, match="not trusted for this"):
            open_signed(sign(KEY, CLAIM), Claim, trusted, HERE)


def test_signature_has_one_spelling() -> None:
    """Python's decoder skips characters that are none of base64, and bits that are not used."""
    signed = sign(KEY, CLAIM)
    text = signed.signature
    others = [text + "!!!!", text + "====", f"{text[:8]}\n\n\n\n{text[8:]}", *(text[:-1] + last for last in "ABCDgwQ")]
    for other in others:
        if other != text:
            with pytest.raises(Untrusted):
                open_signed(structs.replace(signed, signature=other), Claim, {KEY.public}, HERE)


def test_foreign_signature_under_a_trusted_name_does_not_hold() -> None:
    forged = structs.replace(sign(OTHER, CLAIM), key=KEY.public)
    with pytest.raises(Untrusted, match="is not valid"):
        open_signed(forged, Claim, {KEY.public}, HERE)


@pytest.mark.parametrize(
    "forged",
    [
        structs.replace(sign(OTHER, CLAIM), key=KEY.public),
        structs.replace(sign(KEY, CLAIM), signature="x"),
        structs.replace(sign(KEY, CLAIM), payload=sign(KEY, sample(Grant)).payload),
    ],
    ids=["foreign", "damaged", "of-other-bytes"],
)
def test_a_signature_that_does_not_hold_is_never_verified(forged: Signed) -> None:
    with pytest.raises(Untrusted):
        verified(forged)


def test_a_verified_signature_opens_only_for_its_key_kind_and_installation() -> None:
    signature = verified(sign(OTHER, CLAIM))
    assert open_verified(signature, Claim, {OTHER.public}, HERE) == CLAIM
    with pytest.raises(Untrusted, match="not trusted for this"):
        open_verified(signature, Claim, {KEY.public}, HERE)
    with pytest.raises(Untrusted, match="the signed bytes are not a"):
        open_verified(signature, Grant, {OTHER.public}, HERE)
    with pytest.raises(Untrusted, match="is for installation") as caught:
        open_verified(signature, Claim, {OTHER.public}, "elsewhere")
    assert caught.value.code == "other_installation"


@given(st.data())
def test_any_changed_byte_is_noticed(data: Any) -> None:
    signed = sign(KEY, CLAIM)
    payload = bytearray(bytes(signed.payload))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Untrusted):
        open_signed(structs.replace(signed, payload=Raw(bytes(payload))), Claim, {KEY.public}, "")


def test_white_space_between_the_same_words_is_another_statement() -> None:
    signed = sign(KEY, CLAIM)
    spaced = json.dumps(json.loads(bytes(signed.payload)), sort_keys=True).encode()
    with pytest.raises(Untrusted, match="is not valid"):
        open_signed(structs.replace(signed, payload=Raw(spaced)), Claim, {KEY.public}, HERE)


@given(st.text(max_size=100))
def test_any_text_as_signature_is_refused(text: str) -> None:
    with pytest.raises(Untrusted):
        open_signed(structs.replace(sign(KEY, CLAIM), signature=text), Claim, {KEY.public}, HERE)


@pytest.mark.parametrize("key", ["", "U", "U" + "A" * 55, "X" * 56, "é"])
def test_malformed_key_verifies_nothing_even_if_it_is_trusted(key: str) -> None:
    with pytest.raises(Untrusted):
        open_signed(structs.replace(sign(KEY, CLAIM), key=key), Claim, {key}, HERE)


def test_a_statement_with_a_field_that_nobody_knows_is_refused() -> None:
    payload = canonical({**msgspec.to_builtins(CLAIM), "type": "writ.claim.v1", "more": 1})
    signed = sign_bytes(KEY, payload)
    with pytest.raises(Untrusted, match="unknown field `more`"):
        open_signed(signed, Claim, {KEY.public}, HERE)


def test_signed_bytes_are_canonical_and_verify_with_any_ed25519() -> None:
    signed = sign(KEY, sample(Grant))
    payload = bytes(signed.payload)
    assert payload == canonical(json.loads(payload))
    raw = msgspec.json.decode(encode({"signature": signed.signature}))["signature"]
    VerifyKey(decode_public(signed.key)).verify(payload, unbase64(raw))


def test_the_digest_names_these_very_bytes() -> None:
    signed = sign(KEY, sample(Decision))
    assert digest(signed) == digest(decode(encode(signed), Signed))
    assert digest(signed) == digest(sign(OTHER, sample(Decision)))
    assert digest(signed) != digest(sign(KEY, structs.replace(sample(Decision), code="other")))
    assert len(digest(signed)) == 64


def test_reading_without_checking_still_refuses_another_kind() -> None:
    assert read(sign(OTHER, CLAIM), Claim) == CLAIM
    with pytest.raises(Untrusted, match="not a receipt"):
        read(sign(OTHER, CLAIM), Receipt)


def sign_bytes(key: Key, payload: bytes) -> Signed:
    """Return a signature over exactly these bytes."""
    made = sign(key, CLAIM)
    signature = msgspec.json.decode(msgspec.json.encode(key.sign(payload)))
    return structs.replace(made, payload=Raw(payload), signature=signature.translate(URLSAFE).rstrip("="))


URLSAFE = str.maketrans("+/", "-_")


def unbase64(text: str) -> bytes:
    """base64url without padding, undone by another implementation."""
    back = text.translate(str.maketrans("-_", "+/"))
    return msgspec.json.decode(f'"{back}{"=" * (-len(back) % 4)}"'.encode(), type=bytes)


@every_statement
def test_a_statement_of_another_installation_is_refused(kind: type[Struct]) -> None:
    """A copy of an installation has the same keys: only the id distinguishes its statements."""
    elsewhere = sign(Key(KEY.seed, "z" * 26), sample(kind))
    for installation in (HERE, ""):
        with pytest.raises(Untrusted, match="is for installation zzz") as refused:
            open_signed(elsewhere, kind, {KEY.public}, installation)
        assert refused.value.code == "other_installation"
    assert open_signed(elsewhere, kind, {KEY.public}, None) is not None


@every_statement
def test_a_statement_without_an_installation_counts_in_old_records_alone(kind: type[Struct]) -> None:
    unbound = sign(Key(KEY.seed), sample(kind))
    with pytest.raises(Untrusted, match=r"names no installation, and this is text: write .* again"):
        open_signed(unbound, kind, {KEY.public}, HERE)
    assert open_signed(unbound, kind, {KEY.public}, HERE, unbound=True) is not None
