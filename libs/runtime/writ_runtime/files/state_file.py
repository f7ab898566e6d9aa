"""One value a service must not forget, in a file of its own folder: whole, and synced before it counts."""

from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from writ_contracts.errors import ConfigError
from writ_documents.atomic_files import sync_folder, write_atomically

Value = TypeVar("Value", bound=Struct)


class StateFile(Generic[Value]):
    """A JSON file of one struct."""

    def __init__(self, path: Path, kind: type[Value]) -> None:
        self._path = path
        self._kind = kind

    def read(self) -> Value | None:
        """Return the value; None before the first write. Raises ConfigError for an unusable file."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{self._path}: cannot be read as it was written: {error}") from error

    def write(self, value: Value) -> None:
        """Write durably. Raises OSError."""
        write_atomically(self._path, msgspec.json.encode(value))
        sync_folder(self._path.parent)
