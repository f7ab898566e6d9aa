"""`writ agent env`: the environment of a pool's agent on another host."""

import click

from writ_cli.arguments import completion
from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near
from writ_documents.readers import read_agents
from writ_installation.processes.services import agent_elsewhere
from writ_installation.server_access.agent_ca import ca_elsewhere
from writ_installation.server_access.server_tls import check_exposed, check_names, with_scheme
from writ_installation.server_access.urls import checked_servers
from writ_installation.status import control
from writ_installation.status.server_url import public_url


@click.command("env")
@click.argument("pool", shell_complete=completion.pools)
@click.option("--url", metavar="URL", help="The URL of NATS for that host, if it differs from the one here.")
@click.option("--key-file", metavar="PATH", help="The path of the key on that host.")
@click.option(
    "--state-dir",
    metavar="PATH",
    default="/var/lib/writ-agent",
    show_default=True,
    help="The folder of the agent's state on that host.",
)
@local
async def environment(settings: Settings, pool: str, url: str | None, key_file: str | None, state_dir: str) -> int:
    """Print the environment of a pool's agent on another host, for an EnvironmentFile.

    Copy the key file there, mode 0600. The pool must be one the inventory's targets have.
    """
    home = settings.home
    pools = {agent.pool for agent in read_agents(home.agents).agents}
    if pool not in pools:
        raise Invalid(f"no pool {pool!r} in {home.agents}{near(pool, pools) or '; give a target this pool first'}")
    advertised = with_scheme(home, checked_servers(url)) if url is not None else None
    where, ca = advertised or public_url(home) or control.running(home).url, ca_elsewhere(home, settings.environ)
    check_names(home, where)
    check_exposed(where, ca, settings.environ)
    values = agent_elsewhere(
        pool,
        where,
        ca=ca,
        key_file=key_file or str(home.seed_file(f"agent-{pool}")),
        policy_key=",".join(home.keys_of("policy")),
        people_key=home.people_key(),
        installation=home.installation,
        state_dir=state_dir,
    )
    if settings.screen.json:
        settings.screen.data(values)
    else:
        for name, value in values.items():
            click.echo(f"{name}={value}")
    return Exit.DONE
