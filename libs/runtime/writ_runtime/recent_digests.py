"""Keyed digests of parameters with large texts, computed once for all uses within a moment.

A digest is reused only for the same texts and the same other values, written as JSON: `1` and `1.0` differ. Parameters
that differ only behind their large text, such as those of a request with and without defaults, share its part of the
digest.
"""

import hmac
import secrets
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Raw, Struct, field

from writ_contracts.large_texts import large_texts
from writ_contracts.wire import canonical, encode
from writ_runtime.recent_values import RecentValues
from writ_trust.digests import keyed_digest

MOST_BYTES, SECONDS = 8 * 1024 * 1024, 30.0
MOST_OTHERS = 8
"""Digests kept for one text under one key."""
_PLACE = encode(secrets.token_hex(16))
"""Stands for a large text in the JSON of its parameters. Nobody else knows it, so no other value is equal."""


class _Begun(Struct, frozen=True):
    """A digest of `before` and the text behind it, to which the rest is added in a copy."""

    before: bytes
    state: hmac.HMAC


class _Digested(Struct):
    texts: dict[str, str]
    digests: dict[bytes, str] = field(default_factory=dict)
    """By the JSON of the parameters with `_PLACE` for each text."""
    begun: _Begun | None = None


class RecentDigests:
    """The last digests under each key. Small parameters are digested each time."""

    def __init__(self) -> None:
        self._recent: RecentValues[_Digested] = RecentValues(MOST_BYTES, SECONDS)

    def of(self, key: str, values: Mapping[str, Any], written: Mapping[str, Raw] = MappingProxyType({})) -> str:
        """Return `keyed_digest(key, values)`. `written`: the large texts of these values as JSON, where at hand."""
        texts = large_texts(values)
        if not texts:
            return keyed_digest(key, values)
        others, known = canonical({**values, **dict.fromkeys(texts, Raw(_PLACE))}), self._recent.get(key)
        if known is None or known.texts != texts:
            known = _Digested(texts)
        if others not in known.digests:
            if len(known.digests) == MOST_OTHERS:
                known.digests.clear()
            known.digests[others] = _digest(key, known, values, written, others)
            size = sum(map(sys.getsizeof, texts.values())) + sum(map(len, known.digests))
            self._recent.put(key, known, size)
        return known.digests[others]

    def drop(self, key: str) -> None:
        """Forget the texts that were digested under this key."""
        self._recent.drop(key)


def _digest(key: str, known: _Digested, values: Mapping[str, Any], written: Mapping[str, Raw], others: bytes) -> str:
    if len(known.texts) > 1:
        return keyed_digest(key, {**values, **written})
    before, _, behind = others.partition(_PLACE)
    if known.begun is None or known.begun.before != before:
        [(name, text)] = known.texts.items()
        known.begun = _Begun(before, begun_digest(key, before, written.get(name) or encode(text)))
    whole = known.begun.state.copy()
    whole.update(behind)
    return whole.hexdigest()


def begun_digest(key: str, before: bytes, text: bytes | Raw) -> hmac.HMAC:
    """Return the digest of `before` and the text, for more behind them."""
    state = hmac.new(bytes.fromhex(key), before, "sha256")
    state.update(text)
    return state
