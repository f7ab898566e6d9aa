"""A host whose PATH a test makes: with or without python3, with stand-ins for the programs that it should have."""

import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.agent_ssh.conftest import SshHost, ssh_host

from writ_testing.peers.programs import program

SHELLS = ("sh", "bash", "dash", "fish")
ALWAYS = ("env", "timeout", "cat")


def linked(folder: Path, names: Iterable[str]) -> Path:
    """A folder with these programs of this machine."""
    folder.mkdir(exist_ok=True)
    for name in names:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found, f"this machine has no {name}"
        (folder / name).symlink_to(found)
    return folder


@asynccontextmanager
async def host_with(folder: Path, programs: Path, shell: str = "sh") -> AsyncIterator[SshHost]:
    """Its login shell gets the very string that sshd got, finds these programs alone, and nothing of this user's."""
    clean = f"/usr/bin/env HOME={folder} PATH={programs}"
    force = f'ForceCommand exec {clean} {program(shell)} -c "$SSH_ORIGINAL_COMMAND"'
    async with ssh_host(folder / "host", force) as host:
        yield host
