"""`writ leaf add|list`: a site whose agents only dial out, through a leaf node of its own."""

from pathlib import Path

import click

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import in_installation, listing
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_installation.nats.leaf_sites import LeafCertificate, NewSite, add_site, read_leaves, write_site
from writ_installation.server_access.server_address import LOOPBACK
from writ_installation.server_access.server_tls import check_exposed

PORT = click.IntRange(1, 65535)


@click.group(cls=CommandGroup)
def leaf() -> None:
    """Sites behind NAT: their agents connect to a leaf node there, which connects to the NATS server here."""


@leaf.command("add")
@click.argument("site", shell_complete=completed_names.sites)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    required=True,
    metavar="POOL",
    help="A pool whose agents run at the site.",
    shell_complete=completion.pools,
)
@click.option(
    "--url", "hub", multiple=True, required=True, metavar="URL", help="The URL by which the site's leaf node connects."
)
@click.option(
    "--listen",
    metavar="ADDRESS",
    default=LOOPBACK,
    show_default=True,
    help="The address on which NATS accepts leaf nodes.",
)
@click.option(
    "--certificate", metavar="PATH", help="The certificate of NATS for leaf nodes, for a tls:// URL; with --key."
)
@click.option("--key", metavar="PATH", help="The private key of that certificate.")
@click.option("--ca", "hub_ca", metavar="PATH", help="The CA's certificate for a tls:// URL, as a path at the site.")
@click.option(
    "--site-address",
    "host",
    metavar="ADDRESS",
    default=LOOPBACK,
    show_default=True,
    help="The address of the leaf node for agents at the site.",
)
@click.option("--site-port", "port", type=PORT, default=4222, show_default=True, help="Its port.")
@click.option(
    "--monitor-port",
    type=PORT,
    default=8222,
    show_default=True,
    help="The port of its monitoring endpoint, on loopback.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The folder for the site's files [SITE].",
)
@in_installation
async def add(
    settings: Settings,
    site: str,
    pools: tuple[str, ...],
    hub: tuple[str, ...],
    listen: str,
    certificate: str | None,
    key: str | None,
    hub_ca: str | None,
    host: str,
    port: int,
    monitor_port: int,
    out: Path | None,
) -> int:
    """Permit the agents of these pools to work at SITE, which can dial out and accepts no connections.

    Writes a folder for the site: leaf.conf for its nats-server, and each pool's agent key and environment. The link has
    the rights of the pool's agents and no others. A second call writes the same files again.
    """
    new_site = NewSite(name=site, pools=pools, hub=hub, host=host, port=port, monitor_port=monitor_port, hub_ca=hub_ca)
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key go together")
    check_exposed(",".join(hub), "", settings.environ)
    add_site(
        settings.home,
        new_site,
        listen,
        LeafCertificate(certificate=certificate, key=key) if certificate and key else None,
    )
    files = write_site(settings.home, new_site, out or Path(site))
    if settings.screen.json:
        settings.screen.data({"site": site, "pools": list(pools), "files": [str(path) for path in files]})
        return Exit.DONE
    settings.screen.line(f"{site} may serve {', '.join(pools)}. Its files, which include private keys:")
    for path in files:
        settings.screen.line(f"  {path}")
    settings.screen.line("At the site, run nats-server -c leaf.conf, and each agent with its .env")
    return Exit.DONE


@leaf.command("list")
@listing(in_installation)
async def list_all(settings: Settings) -> int:
    """List the sites with the pools whose agents may work there, and the keys of their links."""
    leaves = read_leaves(settings.home.leaves)
    found = [] if leaves is None else leaves.leaves
    settings.screen.listing(
        found,
        ("site", "pool", "public key"),
        ((one.site, one.pool, one.key) for one in found),
        empty="no site is linked; `writ leaf add` links one",
        drop=("public key",),
    )
    return Exit.DONE
