"""Sealing to one reader and encrypting among holders of a key: no other reads it, and every changed bit is noticed."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_aead_aes256gcm_decrypt, crypto_aead_aes256gcm_encrypt
from nacl.exceptions import UnavailableError

from writ_contracts.errors import Unreachable, Untrusted
from writ_trust import sealing
from writ_trust.sealing import SealKey, decrypt, decrypt_once, encrypt, encrypt_large, encrypt_once, seal

READER = SealKey()
KEY = b"k" * 32


@given(st.binary(max_size=200))
def test_sealed_text_is_opened_by_its_reader_alone(data: bytes) -> None:
    sealed = seal(READER.public, data)
    assert READER.open(sealed) == data
    assert not data or data not in sealed or len(data) < 4
    with pytest.raises(Untrusted):
        SealKey().open(sealed)


def test_encryption_of_equal_texts_differs() -> None:
    assert seal(READER.public, b"x") != seal(READER.public, b"x")
    assert encrypt(KEY, b"x") != encrypt(KEY, b"x")


@given(st.data())
def test_a_changed_byte_of_what_is_sealed_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(seal(READER.public, b"parameters"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Untrusted):
        READER.open(bytes(sealed))


@given(st.binary(max_size=80))
def test_any_bytes_as_sealed_are_refused(data: bytes) -> None:
    with pytest.raises(Untrusted):
        READER.open(data)


@pytest.mark.parametrize("public", ["", "x", "AAAA", base64.b64encode(b"k" * 31).decode(), "é", "A" * 45])
def test_sealing_to_what_is_no_key_is_refused(public: str) -> None:
    with pytest.raises(Untrusted, match="not an X25519 public key"):
        seal(public, b"data")


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)], ids=["0", "1"])
def test_sealing_to_a_point_of_low_order_is_refused(point: bytes) -> None:
    with pytest.raises(Untrusted, match="not an X25519 public key"):
        seal(base64.b64encode(point).decode(), b"data")


ENCRYPT = pytest.mark.parametrize("encrypt", [encrypt, encrypt_large])


@ENCRYPT
@given(data=st.binary(max_size=200))
def test_encrypted_text_is_decrypted_under_the_same_key_alone(encrypt: Callable[..., bytes], data: bytes) -> None:
    hidden = encrypt(KEY, data)
    assert decrypt(KEY, hidden) == data
    with pytest.raises(Untrusted):
        decrypt(b"l" * 32, hidden)


@ENCRYPT
@given(data=st.data())
def test_a_changed_or_missing_byte_of_what_is_encrypted_is_noticed(
    encrypt: Callable[..., bytes], data: st.DataObject
) -> None:
    hidden = bytearray(encrypt(KEY, b"parameters"))
    place = data.draw(st.integers(0, len(hidden) - 1))
    with pytest.raises(Untrusted):
        decrypt(KEY, bytes(hidden[:place]))
    hidden[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Untrusted):
        decrypt(KEY, bytes(hidden))


@given(st.binary(max_size=100))
def test_any_bytes_as_encrypted_are_refused(data: bytes) -> None:
    with pytest.raises(Untrusted):
        decrypt(KEY, data)


@given(st.binary(max_size=200), st.data())
def test_text_under_a_key_of_its_own_is_read_with_that_key_alone(text: bytes, data: st.DataObject) -> None:
    key, encrypted = encrypt_once(text)
    assert decrypt_once(key, encrypted) == text
    changed = bytearray(encrypted)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    other = encrypt_once(text)[0]
    for wrong_key, wrong in [(other, encrypted), (key[1:], encrypted), (key, bytes(changed)), (key, b"")]:
        with pytest.raises(Untrusted):
            decrypt_once(wrong_key, wrong)


def test_text_of_libsodium_and_text_of_openssl_are_alike() -> None:
    """Executors and agents of another release encrypt and decrypt with libsodium."""
    key, encrypted = encrypt_once(b"parameters")
    assert crypto_aead_aes256gcm_decrypt(encrypted, None, bytes(12), key) == b"parameters"
    assert decrypt_once(key, crypto_aead_aes256gcm_encrypt(b"parameters", None, bytes(12), key)) == b"parameters"


def test_processor_without_aes_leaves_a_large_text_to_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = encrypt_large(KEY, b"parameters")

    def absent(*_: object) -> bytes:
        raise UnavailableError("crypto_aead_aes256gcm is not available")

    monkeypatch.setattr(sealing, "crypto_aead_aes256gcm_encrypt", absent)
    with pytest.raises(Unreachable, match="AES, which this processor does not have") as raised:
        decrypt(KEY, hidden)
    assert raised.value.retry
    with pytest.raises(Untrusted):
        decrypt(b"l" * 32, hidden)
