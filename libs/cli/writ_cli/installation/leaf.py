"""`writ leaf add`: a site whose agents only dial out, through a leaf node of its own."""

from pathlib import Path

import click

from writ_cli.exit_status import Exit
from writ_cli.options import local
from writ_cli.settings import Settings
from writ_installation.nats.leaf_sites import LeafCertificate, NewSite, add_site, write_site
from writ_installation.nats.server import LOOPBACK
from writ_installation.nats.server_tls import check_exposed

PORT = click.IntRange(1, 65535)


@click.group()
def leaf() -> None:
    """Sites behind NAT: their agents connect to a leaf node there, which connects to the NATS server here."""


@leaf.command("add")
@click.argument("site")
@click.option("--pool", "pools", multiple=True, required=True, metavar="POOL", help="Whose agents are there.")
@click.option("--url", "hub", multiple=True, required=True, metavar="URL", help="Where the site reaches us for it.")
@click.option(
    "--listen", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="Where NATS waits for leaf nodes."
)
@click.option("--certificate", metavar="PATH", help="What NATS shows leaf nodes, for a tls:// URL; with --key.")
@click.option("--key", metavar="PATH", help="… and its private key.")
@click.option("--ca", "hub_ca", metavar="PATH", help="There, the certificate that vouches for a tls:// URL.")
@click.option(
    "--site-address", "host", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="For agents there."
)
@click.option("--site-port", "port", type=PORT, default=4222, show_default=True, help="… and on which port.")
@click.option("--monitor-port", type=PORT, default=8222, show_default=True, help="… and its monitor, on loopback.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="For the site's files [SITE]."
)
@local
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
    settings.screen.line(f"{site} may serve {', '.join(pools)}. What it needs, private keys among it:")
    for path in files:
        settings.screen.line(f"  {path}")
    settings.screen.line("There: nats-server -c leaf.conf, and each agent with its .env")
    return Exit.DONE
