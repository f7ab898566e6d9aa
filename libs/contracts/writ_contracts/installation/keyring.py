"""`keyring.json`: the public keys of services and pools that were rotated, with the range for which each counts. Pure.

A key is announced (`next`) before it is used, and trusted beside the new one (`retiring`) until its last process has
ended. A `former` key counts for what the journal had until then, and for nothing later.
"""

import sys
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from writ_contracts.ids import TOKEN_PATTERN, PublicKey

KeyState = Literal["next", "current", "retiring", "former"]
LIVE: frozenset[str] = frozenset({"next", "current", "retiring"})
POLICY = "policy"
Sequence = Annotated[int, Meta(ge=0)]


class KeyEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key of a service or pool. `since`: when it came into use, or was announced. Times in Unix seconds.

    `last_event`, `last_version`: of a former key of policy's, the last event of the journal and the last version of the
    policy for which its signatures count.
    """

    name: Annotated[str, Meta(pattern=TOKEN_PATTERN)]
    key: PublicKey
    state: KeyState
    since: float
    until: float | None = None
    last_event: Sequence = 0
    last_version: Sequence = 0


class Keyring(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All entries, the oldest first."""

    keys: list[KeyEntry] = []

    def of(self, name: str) -> list[KeyEntry]:
        """Return the keys of a service or pool."""
        return [one for one in self.keys if one.name == name]

    def live(self, name: str) -> list[str]:
        """Return the keys that sign and connect now."""
        return [one.key for one in self.of(name) if one.state in LIVE]

    def former(self, name: str) -> list[str]:
        """Return the keys that were rotated away."""
        return [one.key for one in self.of(name) if one.state == "former"]

    def find(self, name: str, state: KeyState) -> KeyEntry | None:
        """Return the latest key in this state."""
        return next((one for one in reversed(self.of(name)) if one.state == state), None)

    def events(self, name: str) -> dict[str, int]:
        """Return each key with the last event of the journal for which it counts."""
        return dict(self._ranges(name, "last_event"))

    def versions(self, name: str) -> dict[str, int]:
        """Return each key with the last version of the policy for which it counts."""
        return dict(self._ranges(name, "last_version"))

    def at(self, name: str, time: float) -> list[str]:
        """Return the keys that were in use at that time."""
        return [one.key for one in self.of(name) if one.until is None or time <= one.until]

    def _ranges(self, name: str, field: str) -> Iterator[tuple[str, int]]:
        for one in self.of(name):
            yield one.key, sys.maxsize if one.state in LIVE else int(getattr(one, field))


MOST_NAMED = 8


def in_words(ring: Keyring) -> str:
    """Return the latest changes in one line, without a secret."""
    latest = sorted(ring.keys, key=lambda one: max(one.since, one.until or 0.0), reverse=True)[:MOST_NAMED]
    return "; ".join(map(_entry_in_words, latest))[:1000]


def _entry_in_words(entry: KeyEntry) -> str:
    until = f" until event {entry.last_event}" if entry.last_event else ""
    return f"{entry.name} {entry.key[:12]} {entry.state}{until}"
