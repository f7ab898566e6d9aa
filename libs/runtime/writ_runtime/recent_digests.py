"""Keyed digests of parameters with large texts, computed once for all uses within a moment.

A digest is reused only for the same texts and the same other values, written as JSON: `1` and `1.0` differ.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Raw, Struct

from writ_contracts.large_texts import large_texts, without_large_texts
from writ_contracts.wire import canonical
from writ_runtime.recent_values import RecentValues
from writ_trust.digests import keyed_digest

MOST_BYTES, SECONDS = 8 * 1024 * 1024, 30.0


class _Digested(Struct, frozen=True):
    texts: dict[str, str]
    others: bytes
    digest: str


class RecentDigests:
    """The last digest under each key. Small parameters are digested each time."""

    def __init__(self) -> None:
        self._recent: RecentValues[_Digested] = RecentValues(MOST_BYTES, SECONDS)

    def of(self, key: str, values: Mapping[str, Any], written: Mapping[str, Raw] = MappingProxyType({})) -> str:
        """Return `keyed_digest(key, values)`. `written`: the large texts of these values as JSON, where at hand."""
        texts = large_texts(values)
        if not texts:
            return keyed_digest(key, values)
        others, known = canonical(without_large_texts(values)), self._recent.get(key)
        if known is not None and (known.texts, known.others) == (texts, others):
            return known.digest
        digest = keyed_digest(key, {**values, **written})
        size = sum(map(sys.getsizeof, texts.values())) + len(others)
        self._recent.put(key, _Digested(texts, others, digest), size)
        return digest

    def drop(self, key: str) -> None:
        """Forget the texts that were digested under this key."""
        self._recent.drop(key)
