"""The built-in backends as data: how the agents of each are started, and where the credentials of its targets are.

A further backend is one more entry of `AGENT_KINDS`, and one of `writ_contracts.backends`. Its operations are in the
catalogue, its agent is a service of its own.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from writ_contracts.backends import DOCKER, LOCAL, PROXMOX, SSH

Argv = tuple[str, ...]
MODULE = (sys.executable, "-P", "-m")
"""Runs an installed module; without -P Python would search the current directory first, and run the files of anybody
who can write there.
"""


class AgentKind(Struct, frozen=True, kw_only=True):
    """The agents of one backend.

    `credentials` names the environment variable of the folder with one private file for each target, called by the
    target's id. A target whose file, or public key alone, is in that folder is served here. A backend without
    credentials acts on its own host, and a target is served by the agent of its host. `apart`: where the system starts
    the services, the folder is beside that of the installation, since its agent runs as another user.
    """

    argv: Argv
    credentials: str = ""
    apart: bool = False
    extra: str
    """The extra of the distribution `writops` with its agent."""

    @property
    def everywhere(self) -> bool:
        """Return whether a new installation has such an agent: that of its own host."""
        return not self.credentials


AGENT_KINDS: Mapping[str, AgentKind] = MappingProxyType(
    {
        LOCAL: AgentKind(argv=(*MODULE, "writ_agent_local"), extra="server"),
        SSH: AgentKind(argv=(*MODULE, "writ_agent_ssh"), credentials="WRIT_SSH_KEYS", extra="agent-ssh", apart=True),
        DOCKER: AgentKind(
            argv=(*MODULE, "writ_agent_docker"), credentials="WRIT_DOCKER_CREDENTIALS", extra="agent-docker"
        ),
        PROXMOX: AgentKind(
            argv=(*MODULE, "writ_agent_proxmox"), credentials="WRIT_PROXMOX_TOKENS", extra="agent-proxmox"
        ),
    }
)
WITH_CREDENTIALS = tuple(backend for backend, kind in AGENT_KINDS.items() if kind.credentials)
"""The backends whose targets have credentials, in one folder for each backend."""
