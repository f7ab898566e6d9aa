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
        """Return the paths forbidden to every operation: a writer of these could grant themselves anything."""
        files = (
            self.policy,
            self.inventory,
            self.principals,
            self.agents,
            self.ceiling,
            self.tls_key,
            self.run_file,
            self.registries,
        )
        return [self.home, self.state_dir, self.key_file, *filter(None, files)]
