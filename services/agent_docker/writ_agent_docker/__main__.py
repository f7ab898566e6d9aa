"""`python -m writ_agent_docker`: carries out operations on Docker engines."""

from writ_agent.service import metrics, serve
from writ_agent_docker.backend import DockerBackend
from writ_agent_docker.config import DockerAgentConfig
from writ_containers.engine.registries import Registries
from writ_runtime.service import run, running


async def main(config: DockerAgentConfig) -> None:
    """Run one process of one pool. Handlers of plugins stay out: they would run here, and not on the engine."""
    async with running("agent-docker", config, metrics()) as process:
        backend = DockerBackend(config.credentials, Registries(config.registries), config.own())
        try:
            await serve(process, config, backend, handlers={})
        finally:
            await backend.close()


if __name__ == "__main__":
    run("agent-docker", DockerAgentConfig, main)
