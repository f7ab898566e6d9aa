"""`python -m writ_agent_local`: carry out operations on this host, as the user that runs it."""

from writ_agent.service import metrics, serve
from writ_agent_local.backend import LocalBackend
from writ_agent_local.config import LocalAgentConfig
from writ_containers.engine.registries import Registries
from writ_containers.host_engines import BackendWithEngines, local_engines
from writ_runtime.service import run, running


async def main(config: LocalAgentConfig) -> None:
    """Run one process of one pool. Writ's own files on this host are forbidden to every operation."""
    async with running("agent-local", config, metrics()) as process:
        host = LocalBackend(config.own(), config.state_dir / "hostops")
        backend = BackendWithEngines(host, local_engines(Registries(config.registries), config.own()))
        try:
            await serve(process, config, backend)
        finally:
            await backend.containers.close()


if __name__ == "__main__":
    run("agent-local", LocalAgentConfig, main)
