"""The large texts among the parameters of a request, and each form of them, which is made once, when it is needed."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from msgspec import Raw, Struct

from writ_contracts.large_texts import large_texts, texts_as_bytes, written_texts
from writ_trust.digests import text_digest
from writ_trust.sealing import encrypt_once


class EncryptedTexts(Struct, frozen=True, kw_only=True):
    """Large texts under a key of their own, as they are stored and as an agent gets them. `sizes`: names and bytes."""

    sizes: list[tuple[str, int]]
    key: bytes
    data: bytes


class LargeParameters:
    """The large texts of one request."""

    def __init__(self, key: str, parameters: Mapping[str, Any]) -> None:
        """`key`: that of the digests of its parameters."""
        self._key = key
        self.texts = large_texts(parameters)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the `text_digest` of each by name."""
        return {name: text_digest(self._key, text) for name, text in self.texts.items()}

    @cached_property
    def written(self) -> dict[str, Raw]:
        """Return each as JSON by name."""
        return written_texts(self.texts)

    @property
    def written_bytes(self) -> int:
        """Return their size as JSON, which is not kept."""
        written = self.__dict__.get("written") or written_texts(self.texts)
        return sum(len(bytes(text)) for text in written.values())

    @cached_property
    def encrypted(self) -> EncryptedTexts:
        """Return them encrypted. Needs `has_aes`."""
        sizes, plain = texts_as_bytes(self.texts)
        key, data = encrypt_once(plain)
        return EncryptedTexts(sizes=sizes, key=key, data=data)
