"""Configuration of the Proxmox agent: the variables of every agent, and the folder of its tokens."""

from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_runtime.config import env


class ProxmoxAgentConfig(AgentConfig, frozen=True, kw_only=True):
    """The way to a target is in its inventory entry (`connection`); the token is here."""

    tokens: Annotated[
        Path, env("WRIT_PROXMOX_TOKENS", "folder of API tokens: file `<target>`, `user@realm!name=secret`; mode 0600")
    ]
