"""Reminders to approvers: halfway through the time to decide, and when a tenth of it is left. Pure."""

from collections.abc import Iterable

SHARES = (0.5, 0.9)
SHORTEST = 300.0
"""Seconds of a time to decide below which nobody is reminded."""


class Reminders:
    """The number of reminders due so far for each pending operation, as seen by this replica.

    The first sighting sends nothing: another replica, or this one before a restart, sent those due before.
    """

    def __init__(self) -> None:
        self._past: dict[str, int] = {}

    def due(self, operation_id: str, age: float, period: float) -> bool:
        """Return whether a reminder is due now. `age`: the elapsed seconds of `period`."""
        if period < SHORTEST:
            return False
        past = sum(age >= share * period for share in SHARES)
        known = self._past.setdefault(operation_id, past)
        self._past[operation_id] = past
        return past > known

    def forget_others(self, operation_ids: Iterable[str]) -> None:
        """Forget all other operations."""
        kept = set(operation_ids)
        if len(kept) < len(self._past):
            self._past = {key: past for key, past in self._past.items() if key in kept}
