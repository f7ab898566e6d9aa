"""Use of shared room by each owner: a principal, or the pool of a target. Pure.

Counted as far as the journal was followed, so replicas differ by the events that are under way.
"""

from collections.abc import Collection
from typing import Literal

from writ_executor.journal.written_bytes import WrittenBytes

Owner = Literal["principal", "pool"]
Amount = Literal["open_operations", "hidden_bytes", "journal_bytes"]


class OwnerUsage:
    """Open operations with the bytes of their hidden parameters, and bytes written lately, by owner."""

    def __init__(self) -> None:
        self.written = WrittenBytes()
        self.control = WrittenBytes()
        """The part of control operations."""
        self._open: dict[str, dict[str, int]] = {}
        self._hidden: dict[str, int] = {}

    def opened(self, owner: str, operation_id: str, hidden: int) -> None:
        """Count an open operation once."""
        operations = self._open.setdefault(owner, {})
        if operation_id not in operations:
            operations[operation_id] = hidden
            self._hidden[owner] = self._hidden.get(owner, 0) + hidden

    def ended(self, owner: str, operation_id: str) -> None:
        """Count an ended operation off."""
        operations = self._open.get(owner, {})
        self._hidden[owner] = self._hidden.get(owner, 0) - operations.pop(operation_id, 0)
        if not operations:
            self._open.pop(owner, None)
            del self._hidden[owner]

    def replace_with(self, other: "OwnerUsage") -> None:
        """Take over what another one has counted."""
        self.written, self.control = other.written, other.control
        self._open, self._hidden = other._open, other._hidden

    def operations(self, owner: str) -> Collection[str]:
        """Return the ids of the owner's open operations."""
        return self._open.get(owner, {}).keys()

    def of(self, owner: str, amount: Amount) -> float:
        """Return what the owner uses of an amount."""
        match amount:
            case "open_operations":
                return len(self._open.get(owner, ()))
            case "hidden_bytes":
                return self._hidden.get(owner, 0)
            case "journal_bytes":
                return self.written.of(owner)

    def largest(self, amount: Amount) -> float:
        """Return the most that any owner uses of an amount."""
        owners = self.written.owners() if amount == "journal_bytes" else self._open
        return max((self.of(owner, amount) for owner in owners), default=0.0)
