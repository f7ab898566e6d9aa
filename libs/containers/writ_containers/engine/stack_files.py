"""Files of the engine's host: Compose files of a target's stack folder, and the space for the engine's data."""

import asyncio
import shutil
from pathlib import Path
from typing import NamedTuple, Protocol

from writ_containers.compose.parse import LARGEST, refused
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_documents import yaml_file
from writ_documents.document import FileErrors


class DiskSpace(NamedTuple):
    """The space of a file system, in bytes."""

    free: int
    total: int


class StackFile(NamedTuple):
    """A Compose file. Equal `version`s are the same file, unwritten since."""

    text: str
    version: str


class StackFiles(Protocol):
    """The files named by `source` of a stack, on the engine's host."""

    async def read(self, target: Target, name: str) -> StackFile:
        """Return the file. Raises WritError (`no_stack_dir`, `compose_refused`, …)."""

    async def space(self, target: Target, folder: str) -> DiskSpace | None:
        """Return the space of a folder there; None if it cannot be read. Raises WritError."""


class LocalStackFiles:
    """The stack folder is on this machine."""

    async def read(self, target: Target, name: str) -> StackFile:
        """Read the file. The grammar of `source` has no folder; a link is not followed out of the stack folder."""
        path = Path(stack_folder(target)) / name
        if path.is_symlink():
            raise refused(name, "is a symbolic link")
        try:
            before = _version(path)
            text = yaml_file.content(path, largest=LARGEST).decode()
            if _version(path) != before:
                raise refused(name, "is being written: try again")
            return StackFile(text, before)
        except (FileErrors, UnicodeDecodeError, OSError) as error:
            raise refused(name, "in stack_dir can't be read, or is not UTF-8") from error

    async def space(self, target: Target, folder: str) -> DiskSpace | None:
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, folder)
        except OSError:  # an agent in a container has the socket, not the folder
            return None
        return DiskSpace(usage.free, usage.total)


def _version(path: Path) -> str:
    """Return a version of the file. The change time is part of it: unlike the modification time, a writer can't set it
    back.
    """
    status = path.lstat()
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def stack_folder(target: Target) -> str:
    """Return the stack folder. Raises Invalid (`no_stack_dir`)."""
    if target.stack_dir is None:
        raise Invalid(f"target {target.id} declares no stack_dir: give the text as compose", code="no_stack_dir")
    return target.stack_dir
