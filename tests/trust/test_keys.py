"""Keys in NATS' form: read from a seed, never shown, and anything else is refused."""

import msgspec
import nkeys
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from writ_contracts.errors import Invalid
from writ_contracts.ids import PublicKey
from writ_trust.keys import Key, decode_public, encode_public, generate_seed, verify

SEED = generate_seed()
KEY = Key(SEED)


def test_a_new_seed_is_a_users_and_different_each_time() -> None:
    assert SEED.startswith(b"SU")
    assert generate_seed() != SEED


def test_the_public_key_is_the_one_that_nats_derives() -> None:
    assert KEY.public.encode() == nkeys.from_seed(bytearray(SEED)).public_key
    assert msgspec.convert(KEY.public, PublicKey) == KEY.public
    assert encode_public(decode_public(KEY.public)) == KEY.public


def test_a_seed_with_a_line_end_is_the_same_key() -> None:
    assert Key(SEED + b"\n").public == KEY.public


def test_signatures_of_nats_and_ours_verify_each_other() -> None:
    theirs = nkeys.from_seed(bytearray(SEED))
    assert verify(KEY.public, b"data", theirs.sign(b"data"))
    assert theirs.verify(b"data", KEY.sign(b"data"))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_a_signature_holds_for_its_data_alone(data: bytes, other: bytes) -> None:
    assert verify(KEY.public, data, KEY.sign(data))
    assert verify(KEY.public, other, KEY.sign(data)) is (data == other)


@given(st.binary(max_size=100))
def test_verify_refuses_any_other_signature(signature: bytes) -> None:
    assert not verify(KEY.public, b"data", signature)


@given(st.binary(max_size=80))
@example(b"")
@example(SEED[:-1])
@example(SEED.lower())
@example(SEED[:20] + b"A" + SEED[21:] + b"A")
def test_malformed_seed_is_refused_and_not_shown(text: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        Key(text)
    assert len(text) < 8 or text.decode(errors="replace") not in str(caught.value)


@pytest.mark.parametrize("prefix", [nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_SERVER, nkeys.PREFIX_BYTE_OPERATOR])
def test_a_seed_of_another_kind_is_refused(prefix: int) -> None:
    with pytest.raises(Invalid, match="not a user's"):
        Key(bytes(nkeys.encode_seed(b"x" * 32, prefix)))


@given(st.text(max_size=60))
@example(KEY.public.lower())
@example(KEY.public[:-1])
@example(KEY.public + "A")
@example("U" + "A" * 55)
def test_malformed_public_key_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        decode_public(text)
    assert not verify(text, b"data", KEY.sign(b"data"))


def test_a_mistyped_public_key_is_refused() -> None:
    for place in range(1, len(KEY.public)):
        other = "B" if KEY.public[place] != "B" else "C"
        with pytest.raises(Invalid):
            decode_public(KEY.public[:place] + other + KEY.public[place + 1 :])


def test_repr_of_a_key_does_not_contain_its_seed() -> None:
    assert SEED.decode() not in repr(KEY) + str(KEY)
