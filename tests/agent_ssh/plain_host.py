"""A host with a PATH made by the test: with or without python3, with stand-ins for its programs."""

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
    """Yield a host whose login shell gets the exact string from sshd, these programs, and no variables of this user."""
    clean = f"/usr/bin/env HOME={folder} PATH={programs}"
    force = f'ForceCommand exec {clean} {program(shell)} -c "$SSH_ORIGINAL_COMMAND"'
    async with ssh_host(folder / "host", force) as host:
        yield host
