"""Compose files of a target's stack folder, on the agent's host or on another."""

from pathlib import Path
from typing import Protocol

from writ_containers.compose.parse import LARGEST, refused
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_documents import yaml_file
from writ_documents.document import FileErrors


class StackFiles(Protocol):
    """The files named by `source` of a stack."""

    async def read(self, target: Target, name: str) -> str:
        """Return the text. Raises WritError (`no_stack_dir`, `compose_refused`, …)."""


class LocalStackFiles:
    """The stack folder is on this machine."""

    async def read(self, target: Target, name: str) -> str:
        """The grammar of `source` has no folder; a link is not followed out of the stack folder."""
        path = Path(stack_folder(target)) / name
        if path.is_symlink():
            raise refused(name, "is a symbolic link")
        try:
            return yaml_file.content(path, largest=LARGEST).decode()
        except (FileErrors, UnicodeDecodeError) as error:
            raise refused(name, "in stack_dir can't be read, or is not UTF-8") from error


def stack_folder(target: Target) -> str:
    """Return the stack folder. Raises Invalid (`no_stack_dir`)."""
    if target.stack_dir is None:
        raise Invalid(f"target {target.id} declares no stack_dir: give the text as compose", code="no_stack_dir")
    return target.stack_dir
