"""What the Docker agent reads from its environment: what every agent reads, and which targets it serves."""

from pathlib import Path
from typing import Annotated

from writ_agent.config import AgentConfig
from writ_containers.registries import RegistryFolder
from writ_runtime.config import env


class Config(AgentConfig, frozen=True, kw_only=True):
    """Where an engine listens stands in the target's inventory entry (`connection`)."""

    credentials: Annotated[
        Path,
        env(
            "WRIT_DOCKER_CREDENTIALS", "folder with a file for each target that this agent serves, named as the target"
        ),
    ]
    registries: RegistryFolder = None
