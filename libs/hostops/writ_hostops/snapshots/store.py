"""The port `SnapshotStore`: the snapshots of one folder; and the choice of the store for a path."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol

from writ_hostops.errors import HostError


@dataclass(frozen=True)
class Snapshot:
    """A snapshot. `finished`: complete; `created_at` in Unix seconds; `size`: bytes of its own."""

    name: str
    created_at: float
    description: str = ""
    operation_id: str = ""
    reference: str = ""
    finished: bool = True
    size: Optional[int] = None

    def entry(self) -> Dict[str, Any]:
        """Return the snapshot in the form of snapshot_list."""
        return {
            "snapshot_name": self.name,
            "created_at": self.created_at,
            "description": self.description,
            "size": self.size,
        }


class SnapshotStore(Protocol):
    """The snapshots of one folder."""

    def all(self) -> List[Snapshot]:
        """Return all snapshots, unfinished ones too, newest first."""

    def create(self, name: str, description: str, operation_id: str) -> None:
        """Make one; HostError `exists`."""

    def restore(self, snapshot: Snapshot) -> str:
        """Go back to the snapshot. Return a note on leftovers that could not be removed, or ""."""

    def now(self) -> Dict[str, str]:
        """Return the folder's present subvolume or dataset (`reference`) and the snapshot it came from (`origin`);
        empty if unknown.
        """

    def delete(self, snapshot: Snapshot) -> None: ...

    def caveat(self) -> str:
        """Return the limits of a later restore that a requester must know, or ""."""

    def commands(self, verb: str, snapshot: Snapshot) -> List[str]:
        """Return the commands or calls for create, restore or delete, for people."""

    def free(self) -> int:
        """Return the free bytes at the place of the snapshots."""


@contextmanager
def undone(tidy: Callable[[], None]) -> Iterator[None]:
    """Call `tidy` if the block fails."""
    try:
        yield
    except (HostError, OSError):
        tidy()
        raise
