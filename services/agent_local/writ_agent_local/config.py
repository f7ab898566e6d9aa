"""Configuration of the local agent: that of every agent, and Writ's own files on this host."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_containers.engine.registries import RegistryFolder
from writ_runtime.config import env


class LocalAgentConfig(AgentConfig, frozen=True, kw_only=True):
    """The grant carries the target's permissions. Operations touch no file of Writ named here."""

    policy: Annotated[Path | None, env("SYSTEMMANAGER_POLICY_CONFIG", "the policy file, if it is on this host")] = None
    inventory: Annotated[Path | None, env("WRIT_INVENTORY", "inventory.yaml, if it is on this host")] = None
    principals: Annotated[Path | None, env("WRIT_PRINCIPALS", "principals.yaml, if it is on this host")] = None
    agents: Annotated[Path | None, env("WRIT_AGENTS", "agents.yaml, if it is on this host")] = None
    registries: RegistryFolder = None

    def own(self) -> Iterable[Path]:
        files = (self.policy, self.inventory, self.principals, self.agents, self.registries)
        return [*super().own(), *filter(None, files)]
