"""`writ tls`: the certificate of NATS's servers, and the CA that clients trust."""

import time

import click

from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import in_installation
from writ_cli.context.settings import Settings
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_installation.server_access import server_tls
from writ_installation.server_access.issued_certificate import issued


@click.group(cls=CommandGroup)
def tls() -> None:
    """TLS of NATS: its certificate, and the CA that clients trust."""


@tls.command()
@in_installation
async def show(settings: Settings) -> int:
    """Show the mode, the certificate's names and end, and the CA as the value of WRIT_TLS_CA."""
    _show(settings)
    return Exit.DONE


@tls.command("rotate-ca")
@click.option(
    "--finish",
    is_flag=True,
    help="Trust the new CA alone: clients that know only the former one cannot connect any more.",
)
@in_installation
async def rotate_ca(settings: Settings, finish: bool) -> int:
    """Make a new CA. Clients with the former one go on: it signs the new one.

    Give clients and agents on other hosts the new CA (`writ tls show`), then call it with --finish. Under systemd
    restart `writ-keeper` after each of the two.
    """
    home = settings.home
    if not server_tls.is_on(home):
        raise Invalid(f"NATS of {home.root} has no TLS")
    if finish:
        server_tls.finish_rotation(home)
    else:
        server_tls.rotate_ca(home, time.time())
    if problem := server_tls.renew(home, time.time()):
        raise Invalid(problem)
    _show(settings)
    return Exit.DONE


def _show(settings: Settings) -> None:
    home = settings.home
    found, known = server_tls.read_settings(home), issued(home)
    mode = found.mode if found else "off"
    ca = server_tls.pinned_ca(home)
    if settings.screen.json:
        certificate = {"names": known.names, "ends": known.ends, "number": known.number} if known else None
        settings.screen.data({"mode": mode, "certificate": certificate, "ca": ca})
        return
    settings.screen.fields([("mode", mode)], indent=0)
    if known and found:
        settings.screen.fields([("names", ", ".join(found.names)), ("ends", times.date(known.ends))], indent=0)
    if ca:
        click.echo(f"WRIT_TLS_CA={ca}")
