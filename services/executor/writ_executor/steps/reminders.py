"""Reminders to approvers: halfway through the time to decide, and when a tenth of it is left. Pure."""

from collections.abc import Iterable

SHARES = (0.5, 0.9)
SHORTEST = 300.0
"""Seconds of a time to decide below which nobody is reminded."""


class Reminders:
    """How many of its reminders each pending operation is past, as this replica saw it.

    The first sight sends nothing: another replica, or this one before a restart, has sent what was due.
    """

    def __init__(self) -> None:
        self._past: dict[str, int] = {}

    def due(self, operation_id: str, age: float, period: float) -> bool:
        """Return whether a reminder is due now. `age`: seconds of `period` that are over."""
        if period < SHORTEST:
            return False
        past = sum(age >= share * period for share in SHARES)
        known = self._past.setdefault(operation_id, past)
        self._past[operation_id] = past
        return past > known

    def keep(self, operation_ids: Iterable[str]) -> None:
        """Forget all other operations."""
        kept = set(operation_ids)
        if len(kept) < len(self._past):
            self._past = {key: past for key, past in self._past.items() if key in kept}
