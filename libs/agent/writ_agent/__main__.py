"""`python -m writ_agent`: an agent whose backend comes from a plugin, by an entry point `writ.backends`."""

from writ_agent.backends.port import Backend
from writ_agent.config import PluginConfig
from writ_agent.service import metrics, serve
from writ_contracts.errors import ConfigError
from writ_runtime.plugins.entry_points import load_backends
from writ_runtime.service import run, running


async def main(config: PluginConfig) -> None:
    """Run one process of one pool."""
    factories = load_backends()
    if config.backend not in factories:
        raise ConfigError(f"WRIT_BACKEND: {config.backend!r} is not installed, only: {', '.join(sorted(factories))}")
    backend = factories[config.backend]()
    if not isinstance(backend, Backend):
        raise ConfigError(f"WRIT_BACKEND: the plugin that provides {config.backend} returns no backend")
    async with running(f"agent-{config.backend}", config, metrics()) as process:
        await serve(process, config, backend)


if __name__ == "__main__":
    run("agent", PluginConfig, main)
