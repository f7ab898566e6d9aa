"""`python -m writ_agent_local`: carries out operations on this host, as the user that it runs as."""

from writ_agent.service import metrics, serve
from writ_agent_local.backend import LocalBackend
from writ_agent_local.config import Config
from writ_runtime.service import run, running


async def main(config: Config) -> None:
    """One process of one pool; what is Writ's own on this host is out of bounds for every operation."""
    async with running("agent-local", config, metrics()) as process:
        await serve(process, config, LocalBackend(config.own(), config.state_dir / "hostops"))


if __name__ == "__main__":
    run("agent-local", Config, main)
