"""Settings of the Docker agent, from its environment: those of every agent, and its folder of targets."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_containers.engine.registries import RegistryFolder
from writ_runtime.config import env


class DockerAgentConfig(AgentConfig, frozen=True, kw_only=True):
    """Settings. The address of an engine is in the target's inventory entry (`connection`)."""

    credentials: Annotated[
        Path,
        env(
            "WRIT_DOCKER_CREDENTIALS", "folder with a file for each target that this agent serves, named as the target"
        ),
    ]
    registries: RegistryFolder = None

    def own(self) -> Iterable[Path]:
        return [*super().own(), *filter(None, [self.registries])]
