"""`python -m writ_agent_ssh`: carry out operations on other hosts, over SSH."""

from writ_agent.service import metrics, serve
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.config import SshAgentConfig
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.engines import ForwardedEngines, HostStackFiles
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.host_sessions.quarantine import HostQuarantine
from writ_agent_ssh.startup.archive import build
from writ_agent_ssh.tailnet.local_api import LocalApi
from writ_agent_ssh.tailnet.tailscale import Tailnet
from writ_containers.engine.registries import Registries
from writ_containers.host_engines import BackendWithEngines
from writ_runtime.service import run, running


async def main(config: SshAgentConfig) -> None:
    """Run one process of one pool. Handlers of plugins are left out: they would run here, and not on the target."""
    async with running("agent-ssh", config, metrics()) as process:
        archive = build()
        known = KnownHosts(config.known_hosts)
        api = LocalApi(config.tailscale_socket)
        tailnet = Tailnet(api, proxy=config.tailscale_socks5, program=config.tailscale_program)
        keys, aside = SshCredentials(config.keys, config.auth_sock), HostQuarantine(config.state_dir)
        pool = Pool(archive, keys, known, tailnet=tailnet, idle=config.idle, connects=config.connects, set_aside=aside)
        hosts = SshBackend(pool, archive.operations)
        engines = ForwardedEngines(pool, Registries(config.registries), HostStackFiles(hosts))
        backend = BackendWithEngines(hosts, engines)
        try:
            await serve(process, config, backend, handlers={}, waiting=config.waiting)
        finally:
            await backend.containers.close()
            await hosts.close()
            aside.close()


if __name__ == "__main__":
    run("agent-ssh", SshAgentConfig, main)
