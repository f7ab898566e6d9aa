"""`writ context`: the settings of a bare NATS client."""

import click
import msgspec

from writ_cli.exit_status import Exit
from writ_cli.options import asking
from writ_cli.settings import Settings
from writ_client.context import spelled_out
from writ_contracts.errors import Invalid
from writ_installation.files.principal_changes import principals_of


def _known(settings: Settings, name: str) -> None:
    """Raises Invalid for a principal that is not in the folder; a principal with a key file of its own is not
    checked.
    """
    if settings.context is not None or settings.environ.get("WRIT_KEY_FILE"):
        return
    home = settings.home
    if home.principals.exists() and name not in principals_of(home):
        raise Invalid(f"there is no principal {name!r} in {home.principals}", code="unknown_principal")


@click.command()
@click.argument("name", metavar="PRINCIPAL", required=False)
@asking
async def context(settings: Settings, name: str | None) -> int:
    """Show the settings of a bare NATS client for PRINCIPAL: address, key file, inbox prefix, subjects."""
    if name:
        settings = msgspec.structs.replace(settings, principal=name)
    where = settings.where()
    _known(settings, where.principal)
    found = spelled_out(where)
    if settings.screen.json:
        settings.screen.data(found)
        return Exit.DONE
    settings.screen.fields(
        [
            ("principal", found.principal),
            ("url", found.url),
            ("installation", found.installation),
            ("key file", found.key_file),
            ("inbox prefix", found.inbox_prefix),
            ("requests", found.subjects.request),
            ("queries", found.subjects.query),
            ("events", found.subjects.events),
        ],
        indent=0,
    )
    return Exit.DONE
