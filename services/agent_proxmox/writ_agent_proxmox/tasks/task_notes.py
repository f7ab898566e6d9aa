"""Notes on tasks in flight, synced before a change is sent and again with its UPID, for the successor of a killed
agent.

A note holds names and numbers only: no parameter and no secret.
"""

from pathlib import Path

import msgspec
from msgspec import Struct, field

from writ_documents.atomic_files import sync_folder, write_atomically


class Note(Struct, frozen=True, kw_only=True):
    """A change about to be sent to `node`, or (with `upid`) accepted. `known`: tasks of this type and id
    from before it. `last`: the operation ends with this task.
    """

    node: str
    type: str
    id: str
    known: list[str] = field(default_factory=list)
    upid: str = ""
    last: bool = True


class Notes:
    """The notes of one agent, one file for each operation."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def write(self, operation_id: str, note: Note) -> None:
        """Keep it durably; a second note replaces the first."""
        path = self._folder / operation_id
        fresh = not path.exists()
        write_atomically(path, msgspec.json.encode(note))
        if fresh:
            sync_folder(self._folder)

    def read(self, operation_id: str) -> Note | None:
        """Return the note; None where nothing was ever sent."""
        try:
            return msgspec.json.decode((self._folder / operation_id).read_bytes(), type=Note)
        except FileNotFoundError:
            return None

    def remove(self, operation_id: str) -> None:
        """Forget an operation whose outcome is known."""
        (self._folder / operation_id).unlink(missing_ok=True)
