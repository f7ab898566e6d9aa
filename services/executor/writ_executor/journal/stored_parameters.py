"""Hidden parameters as they are stored: one encrypted JSON, or large texts with a key of their own behind the others.

Texts are encrypted once in this form, for the store and for the agent that claims the operation.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.large_texts import texts_of_bytes, without_large_texts
from writ_executor.journal.large_parameters import EncryptedTexts, LargeParameters
from writ_trust.sealing import decrypt_once

_TEXTS_MARK, _LENGTH = b"writ.txt\0", 4
"""The beginning of parameters whose large texts are encrypted apart, and the bytes of the length of the others. A
random nonce begins like this in one of 2^72 cases.
"""


class EncryptedParameters(Struct, frozen=True, kw_only=True):
    """Parameters as they are stored. `plain_bytes`: their size as JSON, of large texts as UTF-8. `texts`: large ones,
    which have a key of their own.
    """

    data: bytes
    plain_bytes: int
    texts: EncryptedTexts | None = None


class StoredParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters whose large texts follow, encrypted under `key` (hex). `values`: the others.

    A stored output, which an agent chose, has another field, its place: it cannot be copied here as parameters.
    """

    values: dict[str, Any]
    texts: list[tuple[str, int]]
    key: str


class HiddenParameters(Struct, frozen=True, kw_only=True):
    """The requester's whole parameters, and how their large texts are stored if they have a key of their own."""

    values: dict[str, Any]
    texts: EncryptedTexts | None = None


class PreparedParameters:
    """The parameters of a request and their stored form, which is made once, when it is first needed."""

    def __init__(
        self,
        encrypt: Callable[[bytes], bytes],
        parameters: dict[str, Any],
        texts: LargeParameters,
        all_read_apart: Callable[[], bool],
    ) -> None:
        """`texts`: the large ones among them. `all_read_apart`: whether all executors read texts with a key of their
        own.
        """
        self._encrypt = encrypt
        self._texts = texts
        self._all_read_apart = all_read_apart
        self._encrypted: EncryptedParameters | None = None
        self.parameters = parameters

    def encrypt(self) -> EncryptedParameters:
        """Return the stored form."""
        if self._encrypted is None:
            apart = self._texts.texts and self._all_read_apart()
            self._encrypted = self._with_texts_apart(self._texts.encrypted) if apart else self._as_a_whole()
        return self._encrypted

    def _as_a_whole(self) -> EncryptedParameters:
        plain = msgspec.json.encode(self.parameters)
        return EncryptedParameters(data=self._encrypt(plain), plain_bytes=len(plain))

    def _with_texts_apart(self, texts: EncryptedTexts) -> EncryptedParameters:
        others = without_large_texts(self.parameters)
        plain = msgspec.json.encode(StoredParameters(values=others, texts=texts.sizes, key=texts.key.hex()))
        head = self._encrypt(plain)
        data = b"".join((_TEXTS_MARK, len(head).to_bytes(_LENGTH, "big"), head, texts.data))
        size = len(msgspec.json.encode(others)) + sum(size for _, size in texts.sizes)
        return EncryptedParameters(data=data, plain_bytes=size, texts=texts)


def open_parameters(decrypt: Callable[[bytes], bytes], data: bytes) -> HiddenParameters:
    """Return parameters from their stored form. Raises Untrusted for any other data, and Unreachable without AES."""
    try:
        return _opened(decrypt, data)
    except (msgspec.DecodeError, ValueError, Invalid) as error:
        raise Untrusted("not the form of stored parameters", code="invalid") from error


def _opened(decrypt: Callable[[bytes], bytes], data: bytes) -> HiddenParameters:
    if not data.startswith(_TEXTS_MARK):
        return HiddenParameters(values=msgspec.json.decode(decrypt(data), type=dict[str, Any]))
    start = len(_TEXTS_MARK) + _LENGTH
    end = start + int.from_bytes(data[len(_TEXTS_MARK) : start], "big")
    stored = msgspec.json.decode(decrypt(data[start:end]), type=StoredParameters)
    texts = EncryptedTexts(sizes=stored.texts, key=bytes.fromhex(stored.key), data=data[end:])
    plain = texts_of_bytes(texts.sizes, decrypt_once(texts.key, texts.data), stored.values)
    return HiddenParameters(values={**stored.values, **plain}, texts=texts)
