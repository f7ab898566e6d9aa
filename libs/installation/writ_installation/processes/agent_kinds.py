"""The backends as data: how the agents of each are started, and which targets this machine serves.

A further backend is one more entry of `KINDS`. Its operations are in the catalogue, its agent is a service of its own.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from writ_contracts.inventory import Target
from writ_installation.files.home import Home, is_here

Argv = tuple[str, ...]
MODULE = (sys.executable, "-P", "-m")
"""Runs an installed module; without -P Python would search the current directory first, and run the files of anybody
who can write there.
"""


class AgentKind(Struct, frozen=True, kw_only=True):
    """The agents of one backend.

    `credentials` names the environment variable of the folder with one private file for each target, called by the
    target's id. A target whose file, or public key alone, is in that folder is served here. A backend without
    credentials acts on its own host, and a target is served by the agent of its host.
    """

    argv: Argv
    credentials: str = ""
    extra: str
    """The extra of the distribution `writops` with its agent."""

    @property
    def everywhere(self) -> bool:
        """Return whether a new installation has such an agent: that of its own host."""
        return not self.credentials


KINDS: Mapping[str, AgentKind] = MappingProxyType(
    {
        "local": AgentKind(argv=(*MODULE, "writ_agent_local"), extra="server"),
        "ssh": AgentKind(argv=(*MODULE, "writ_agent_ssh"), credentials="WRIT_SSH_KEYS", extra="agent-ssh"),
        "docker": AgentKind(
            argv=(*MODULE, "writ_agent_docker"), credentials="WRIT_DOCKER_CREDENTIALS", extra="agent-docker"
        ),
        "proxmox": AgentKind(
            argv=(*MODULE, "writ_agent_proxmox"), credentials="WRIT_PROXMOX_TOKENS", extra="agent-proxmox"
        ),
    }
)


def credential_folder(kind: AgentKind, backend: str, home: Home, environ: Mapping[str, str]) -> Path:
    """Return the folder of the credentials of a backend: as the environment has it, else that of the installation."""
    return Path(environ.get(kind.credentials) or home.credentials(backend)).absolute()


def credential_folders(kinds: Mapping[str, AgentKind], home: Home, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of all credentials: a new file in one of them makes a target served here."""
    named = ((kind, backend) for backend, kind in kinds.items() if kind.credentials)
    return [credential_folder(kind, backend, home, environ) for kind, backend in named]


def served_here(
    targets: Iterable[Target], kinds: Mapping[str, AgentKind], home: Home, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the pools this machine serves, each with its backend. The agents of other pools run elsewhere."""
    found: dict[str, str] = {}
    for target in targets:
        kind = kinds.get(target.backend)
        if kind is not None and _is_served(target, kind, home, environ):
            found.setdefault(target.pool, target.backend)
    return found


def _is_served(target: Target, kind: AgentKind, home: Home, environ: Mapping[str, str]) -> bool:
    if kind.credentials:
        folder = credential_folder(kind, target.backend, home, environ)
        return any((folder / name).is_file() for name in (target.id, f"{target.id}.pub"))
    return is_here(str(target.connection.get("host", target.id)))
