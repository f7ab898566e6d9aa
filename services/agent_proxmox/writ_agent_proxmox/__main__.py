"""`python -m writ_agent_proxmox`: carries out operations on Proxmox VE, over its API."""

from writ_agent.service import metrics, serve
from writ_agent_proxmox.backend import ProxmoxBackend
from writ_agent_proxmox.config import ProxmoxAgentConfig
from writ_agent_proxmox.connection.api import Apis
from writ_agent_proxmox.connection.credentials import ProxmoxTokens
from writ_agent_proxmox.tasks.task_notes import Notes
from writ_runtime.service import run, running


async def main(config: ProxmoxAgentConfig) -> None:
    """Serve one pool in one process."""
    async with running("agent-proxmox", config, metrics()) as process:
        apis = Apis(ProxmoxTokens(config.tokens))
        backend = ProxmoxBackend(apis, Notes(config.state_dir / "proxmox"))
        try:
            await serve(process, config, backend)
        finally:
            apis.close()


if __name__ == "__main__":
    run("agent-proxmox", ProxmoxAgentConfig, main)
