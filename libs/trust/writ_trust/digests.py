"""Keyed digests of parameters. A bare hash of a short secret is guessed in milliseconds, so each has its own key."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from writ_contracts.wire import canonical


def derive(key: bytes, purpose: str, operation_id: str) -> str:
    """Return a key of 32 bytes (hex) for one operation and purpose, from the executors' shared key (HMAC-SHA-256)."""
    return hmac.digest(key, f"{purpose}\0{operation_id}".encode(), "sha256").hex()


def keyed_digest(key: str, value: Any) -> str:
    """Return the HMAC-SHA-256 under the hex `key` of the value's canonical JSON, in hex."""
    return hmac.digest(bytes.fromhex(key), canonical(value), "sha256").hex()


def keyed_digest_of_parts(key: str, *parts: bytes) -> str:
    """Return the HMAC-SHA-256 under the hex `key` of these bytes, one after the other, in hex."""
    whole = hmac.new(bytes.fromhex(key), digestmod="sha256")
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def plain_digest(data: bytes) -> str:
    """Return the SHA-256 in hex, for public or long data."""
    return hashlib.sha256(data).hexdigest()


def of_all(items: Iterable[bytes]) -> str:
    """Return the SHA-256 in hex over the SHA-256 of each of them, in order."""
    whole = hashlib.sha256()
    for item in items:
        whole.update(hashlib.sha256(item).digest())
    return whole.hexdigest()


def same(left: str, right: str) -> bool:
    """Return equality, in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
