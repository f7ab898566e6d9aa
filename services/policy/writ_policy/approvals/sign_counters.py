"""Signature counters of security keys and passkeys (WebAuthn level 3, §6.1.1): a counter that does not increase may
mean a copy of the key.

Each replica counts since its own start. The counter is only a hint, and decides nothing.
"""

from typing import Final

MOST_CREDENTIALS: Final = 500


class SignCounters:
    """The last counter of each credential."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def note(self, credential: str, counter: int) -> int | None:
        """Store the counter of a new signature. Return the previous one if the device counts (0: it does not) and the
        counter did not increase, else None.
        """
        before = self._last.pop(credential, 0)
        self._last[credential] = counter
        if len(self._last) > MOST_CREDENTIALS:
            del self._last[next(iter(self._last))]
        return before if before and counter <= before else None
