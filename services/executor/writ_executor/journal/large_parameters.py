"""The large texts among the parameters of a request, and each form of them, which is made once, when it is needed."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from msgspec import Raw, Struct

from writ_contracts.large_texts import large_texts, texts_as_bytes, written_texts
from writ_contracts.requests import MAX_REQUEST_BYTES
from writ_contracts.wire import check_json_size
from writ_trust.digests import text_digest
from writ_trust.sealing import encrypt_once


class EncryptedTexts(Struct, frozen=True, kw_only=True):
    """Large texts under a key of their own, as they are stored and as an agent gets them. `sizes`: names and bytes."""

    sizes: list[tuple[str, int]]
    key: bytes
    data: bytes


class LargeParameters:
    """The large texts of one request."""

    def __init__(self, key: str, parameters: Mapping[str, Any], others: int = 0) -> None:
        """`key`: that of the digests of its parameters. `others`: the size as JSON of the rest of a request in
        MessagePack; 0 if the size of the whole is checked.
        """
        self._key = key
        self._others = others
        self.texts = large_texts(parameters)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the `text_digest` of each by name."""
        return {name: text_digest(self._key, text) for name, text in self.texts.items()}

    @cached_property
    def written(self) -> dict[str, Raw]:
        """Return each as JSON by name."""
        return written_texts(self.texts)

    def check_size(self, *, keep: bool) -> None:
        """Raises Invalid if the request is too large as JSON: the texts travel on in that form, if policy or an agent
        needs them so. `keep`: policy does, so they are written once.
        """
        if not self._others:
            return
        written = self.written if keep else written_texts(self.texts)
        check_json_size(self._others + sum(len(bytes(text)) for text in written.values()), MAX_REQUEST_BYTES)
        self._others = 0

    @cached_property
    def encrypted(self) -> EncryptedTexts:
        """Return them encrypted. Needs `has_aes`."""
        sizes, plain = texts_as_bytes(self.texts)
        key, data = encrypt_once(plain)
        return EncryptedTexts(sizes=sizes, key=key, data=data)
