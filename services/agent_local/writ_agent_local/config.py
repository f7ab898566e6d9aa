"""What the local agent reads from its environment: what every agent reads, and which files of its host are Writ's."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_runtime.config import env


class Config(AgentConfig, frozen=True, kw_only=True):
    """The grant carries what the target allows; files of Writ that are on this host no operation touches, if told."""

    policy: Annotated[Path | None, env("SYSTEMMANAGER_POLICY_CONFIG", "the policy file, if it is on this host")] = None
    inventory: Annotated[Path | None, env("WRIT_INVENTORY", "inventory.yaml, if it is on this host")] = None
    principals: Annotated[Path | None, env("WRIT_PRINCIPALS", "principals.yaml, if it is on this host")] = None
    agents: Annotated[Path | None, env("WRIT_AGENTS", "agents.yaml, if it is on this host")] = None

    def own(self) -> Iterable[Path]:
        """Out of bounds for every operation: who could write these could permit themselves anything."""
        files = (self.policy, self.inventory, self.principals, self.agents, self.tls_key, self.run_file)
        return [self.home, self.state_dir, self.key_file, *filter(None, files)]
