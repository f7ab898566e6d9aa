"""Configuration of the Proxmox agent: that of every agent, and where its tokens are."""

from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_runtime.config import env


class Config(AgentConfig, frozen=True, kw_only=True):
    """How a target is reached is in its inventory entry (`connection`); the token is here."""

    tokens: Annotated[
        Path, env("WRIT_PROXMOX_TOKENS", "folder of API tokens: file `<target>`, `user@realm!name=secret`; mode 0600")
    ]
