"""`writ init`: creates an installation before anything is started."""

from pathlib import Path

import click

from writ_cli.arguments.options import local
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_installation.files.home import Home
from writ_installation.files.site import Site
from writ_installation.initialise import init as make
from writ_installation.initialise import upgrade
from writ_installation.provisioner import folders
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress
from writ_installation.server_access.server_tls import Mode
from writ_installation.server_access.urls import checked_servers

MONITOR_PORT = 8222
TLS_HELP = "TLS of NATS, stored in tls.yaml; by default required, on loopback off. offered: optional for clients."
NEW = ("listen", "nats_port", "monitor_port", "url", "store")
"""Options of a new installation's NATS server."""
SYSTEM_ROOT = Path("/etc/writ")
SYSTEM_STATE, SYSTEM_STORE = Path("/var/lib/writ"), Path("/var/lib/writ-nats/jetstream")


@click.command()
@click.option(
    "--system",
    is_flag=True,
    help=f"For the units of deploy/systemd: in {SYSTEM_ROOT} and {SYSTEM_STATE}, by default. As root.",
)
@click.option(
    "--listen", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="The address on which NATS listens."
)
@click.option("--nats-port", type=click.IntRange(1, 65535), default=4222, show_default=True, help="The port of NATS.")
@click.option(
    "--monitor-port",
    type=click.IntRange(1, 65535),
    default=MONITOR_PORT,
    show_default=True,
    help="The port of its monitoring endpoint.",
)
@click.option("--tls", type=click.Choice(["required", "offered", "off"]), help=TLS_HELP)
@click.option("--url", metavar="URL", help="The URL for clients and agents, if it differs from that address.")
@click.option("--store", type=click.Path(path_type=Path), metavar="PATH", help="The journal's folder, as NATS sees it.")
@click.option(
    "--containers",
    "env_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For docker-compose.yml; writes its variables into FILE (.env). Run again, it creates the missing parts.",
)
@click.option(
    "--upgrade",
    "upgrading",
    is_flag=True,
    help="Add the parts that an installation of an earlier version lacks, and lost keys.",
)
@click.option(
    "--servers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="NATS servers, of --containers."
)
@local
async def init(
    settings: Settings,
    system: bool,
    listen: str,
    nats_port: int,
    monitor_port: int,
    tls: Mode | None,
    url: str | None,
    store: Path | None,
    env_file: Path | None,
    upgrading: bool,
    servers: str,
) -> int:
    """Create an installation and start nothing: keys, policy, inventory, principals, and the configuration of NATS.

    Existing files are never changed: a folder with files is refused. `writ up` does the same in an empty folder; this
    command is for containers, and for services started by the system.
    """
    if env_file is not None:
        if system:
            raise Invalid("--system and --containers are two kinds of installation")
        refuse_typed((*NEW, "upgrading"), "they have no effect with --containers: leave one of them out")
        existed = settings.home.principals.exists()
        home = folders.init(settings.home.root, int(servers), tls)
        folders.write_environment(env_file, folders.environment(home))
        _show(settings, home, existed=existed)
        return Exit.DONE
    refuse_typed(("servers",), "it is for --containers: leave it out")
    root = SYSTEM_ROOT if system and not settings.home_given else settings.home.root
    if upgrading:
        refuse_typed((*NEW, "tls"), "--upgrade changes nothing that is there: leave one of them out")
        added = upgrade(root)
        _show_added(settings, root, added)
        return Exit.DONE
    address = ServerAddress(host=listen, port=nats_port, monitor_port=monitor_port)
    site = Site(
        url=address.url if url is None else checked_servers(url),
        listen=listen,
        port=nats_port,
        monitor_port=monitor_port,
        store=str(store or SYSTEM_STORE) if store or system else None,
        state=str(SYSTEM_STATE) if system else None,
    )
    _show(settings, make(root, site, tls))
    return Exit.DONE


def _show_added(settings: Settings, root: Path, added: list[str]) -> None:
    if settings.screen.json:
        settings.screen.data({"added": added})
        return
    for line in added:
        settings.screen.line(line)
    settings.screen.line("restart all services and agents now" if added else f"{root} is complete: nothing to add")


def _show(settings: Settings, home: Home, *, existed: bool = False) -> None:
    made = {
        "home": str(home.root),
        "server_config": str(home.servers if home.servers.exists() else home.server_config),
        "policy_key": home.public("policy"),
        "operator_key_file": str(home.seed_file("principal-operator")),
    }
    if settings.screen.json:
        settings.screen.data(made)
        return
    if existed:
        settings.screen.line(f"{home.root} exists: its files stay as they are, and missing parts were made")
    else:
        settings.screen.line(
            f"made {home.root}: keys, policy.yaml, inventory.yaml, principals.yaml; nothing is started"
        )
    settings.screen.fields([(name.replace("_", " "), value) for name, value in made.items() if name != "home"])
