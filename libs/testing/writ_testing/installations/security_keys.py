"""People with security keys in software, at a running installation: enrolled and used by the commands of people."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import json

from writ_cli.credentials import enrolment_files
from writ_client.people.ssh_keygen import ssh_credential
from writ_contracts.people.directory import Posture
from writ_installation.administration.credentials import CredentialsDirectory
from writ_testing.fakes.security_key import PRESENT, VERIFIED, SoftwareSecurityKey
from writ_testing.fakes.ssh_agent import SoftwareSshAgent, running_ssh_agent
from writ_testing.installations.commands import WritResult
from writ_testing.installations.installation import RunningInstallation


class SecurityKeys:
    """One security key of each person, by name, in an agent of OpenSSH. `agent.flags` are those of each signature."""

    def __init__(self, installation: RunningInstallation, folder: Path, agent: SoftwareSshAgent, socket: Path) -> None:
        self._installation = installation
        self._folder = folder
        self._environ = {"SSH_AUTH_SOCK": str(socket)}
        self.agent = agent
        self.keys: dict[str, SoftwareSecurityKey] = {}

    def add(self, name: str) -> SoftwareSecurityKey:
        """Make a key, which the agent of OpenSSH holds."""
        key = self.keys[name] = SoftwareSecurityKey()
        self.agent.add(key)
        self.file(name).write_text(f"{key.line}\n")
        return key

    def file(self, name: str) -> Path:
        """Return the public file of a key."""
        return self._folder / f"{name}.pub"

    async def request(self, person: str, name: str, *options: str) -> Path:
        """Request the enrolment of a new key as this person. Return the file."""
        self.add(name)
        request = self._folder / f"{name}.json"
        await self.done("credential", "request", person, str(request), "--ssh-key", str(self.file(name)), *options)
        return request

    async def enrol(
        self, person: str, name: str, *, endorser: str | None = None, posture: Posture | None = None
    ) -> str:
        """Enrol a new key of this person, endorsed by the key of another, without the commands. Return its id."""
        home, key = self._installation.home, self.add(name)
        credential = ssh_credential(person, key.line, "verified")
        about = enrolment_files.EnrolledInstallation(id=home.installation, people_key=home.people_key())
        made = await enrolment_files.signed_by(credential, key, about)
        if endorser is not None:
            made = await enrolment_files.endorsed(made, self.keys[endorser])
        await asyncio.to_thread(lambda: CredentialsDirectory(home).enrol(made, posture))
        return key.id

    async def remove(self, name: str) -> None:
        directory, key = CredentialsDirectory(self._installation.home), self.keys[name].id
        await asyncio.to_thread(directory.remove, key, "a test")

    async def approve(self, person: str, operation_id: str, name: str) -> WritResult:
        """Approve by the command of people, which calls ssh-keygen."""
        key = str(self.file(name))
        return await self.writ("approvals", "approve", operation_id, "--as", person, "--ssh-key", key, "--yes")

    async def writ(self, *arguments: str) -> WritResult:
        """Run the `writ` command with the agent of OpenSSH."""
        return await self._installation.writ(*arguments, environ=self._environ)

    async def done(self, *arguments: str) -> Mapping[str, Any]:
        """Run the command, which must succeed. Return its JSON."""
        ended = await self.writ(*arguments, "-o", "json")
        assert ended.status == 0, ended
        return json.decode(ended.out, type=dict) if ended.out.strip() else {}


@asynccontextmanager
async def security_keys(installation: RunningInstallation, folder: Path) -> AsyncIterator[SecurityKeys]:
    """Yield keys whose agent of OpenSSH serves within the block. `folder`: short, since it is the path of a socket."""
    socket = folder / "agent"
    async with running_ssh_agent(socket, SoftwareSshAgent(PRESENT | VERIFIED)) as agent:
        yield SecurityKeys(installation, folder, agent, socket)
