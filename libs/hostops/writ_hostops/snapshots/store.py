"""Where the snapshots of one folder are: the port `Store`, and the way from a path to the one that has it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol

from writ_hostops.errors import HostError


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. `finished`: it was made to its end; `created_at` in Unix seconds; `size` in bytes of its own."""

    name: str
    created_at: float
    description: str = ""
    operation_id: str = ""
    reference: str = ""
    finished: bool = True
    size: Optional[int] = None

    def entry(self) -> Dict[str, Any]:
        """As snapshot_list tells it."""
        return {
            "snapshot_name": self.name,
            "created_at": self.created_at,
            "description": self.description,
            "size": self.size,
        }


class Store(Protocol):
    """The snapshots of one folder."""

    def all(self) -> List[Snapshot]:
        """All of them, unfinished ones too, newest first."""

    def create(self, name: str, description: str, operation_id: str) -> None:
        """Make one; HostError `exists`."""

    def restore(self, snapshot: Snapshot) -> str:
        """Go back to it. A word about what could not be cleaned up, or ""."""

    def now(self) -> Dict[str, str]:
        """Which one the folder is now (`reference`), and the reference of the snapshot that it came from (`origin`);
        empty where that can't be told.
        """

    def delete(self, snapshot: Snapshot) -> None:
        """Remove it."""

    def caveat(self) -> str:
        """What whoever makes a snapshot must know of going back to it, or ""."""

    def commands(self, verb: str, snapshot: Snapshot) -> List[str]:
        """The commands or calls for create, restore or delete, for people."""

    def free(self) -> int:
        """Bytes that are free where the snapshots are."""


@contextmanager
def undone(tidy: Callable[[], None]) -> Iterator[None]:
    """Tidy up if what follows fails."""
    try:
        yield
    except (HostError, OSError):
        tidy()
        raise
