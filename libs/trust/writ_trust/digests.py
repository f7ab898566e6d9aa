"""Keyed digests of parameters. A bare hash of a short secret is guessed in milliseconds, so each has its own key."""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from writ_contracts.inventory import Target
from writ_contracts.wire import canonical


def derive(key: bytes, purpose: str, operation_id: str) -> str:
    """Return a key of 32 bytes (hex) for one operation and purpose, from the executors' shared key (HMAC-SHA-256)."""
    return hmac.digest(key, f"{purpose}\0{operation_id}".encode(), "sha256").hex()


def keyed_digest(key: str, value: Any) -> str:
    """Return the HMAC-SHA-256 under the hex `key` of the value's canonical JSON, in hex."""
    return hmac.digest(bytes.fromhex(key), canonical(value), "sha256").hex()


def text_digest(key: str, text: str) -> str:
    """Return the HMAC-SHA-256 under the hex `key` of the text as UTF-8, in hex."""
    return hmac.digest(bytes.fromhex(key), text.encode(), "sha256").hex()


def digest_by_texts(key: str, values: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return the digest of parameters by the digests of some `texts`, under the same key; `values`: the others.

    It is over a JSON list, and `keyed_digest` of parameters over an object: one form never stands for the other.
    """
    others = {name: value for name, value in values.items() if name not in texts}
    return keyed_digest(key, [others, dict(texts)])


def parameters_digest(key: str, values: Mapping[str, Any], by_digest: Collection[str]) -> str:
    """Return the digest of these parameters, by the digests of the texts named by `by_digest`; over whole values if one
    of those is no text.
    """
    texts = {name: text for name in by_digest if isinstance(text := values.get(name), str)}
    if not by_digest or len(texts) < len(by_digest):
        return keyed_digest(key, dict(values))
    return digest_by_texts(key, values, {name: text_digest(key, text) for name, text in texts.items()})


def plain_digest(data: bytes) -> str:
    """Return the SHA-256 in hex, for public or long data."""
    return hashlib.sha256(data).hexdigest()


def entry_digest(target: Target) -> str:
    """Return the SHA-256 in hex of a target's entry in the inventory."""
    return plain_digest(canonical(target))


def of_all(items: Iterable[bytes]) -> str:
    """Return the SHA-256 in hex over the SHA-256 of each of them, in order."""
    whole = hashlib.sha256()
    for item in items:
        whole.update(hashlib.sha256(item).digest())
    return whole.hexdigest()


def same(left: str, right: str) -> bool:
    """Return equality, in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
