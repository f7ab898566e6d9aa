"""`writ principal` and `writ context`: principals, and the settings of their clients."""

import click
import msgspec

from writ_cli.exit_status import Exit
from writ_cli.options import asking, local
from writ_cli.settings import Settings
from writ_client.context import spelled_out
from writ_contracts.errors import Invalid, TimedOut
from writ_contracts.ids import PrincipalId
from writ_documents.readers import read_principals
from writ_installation.administration.principals import ADMITTED_WITHIN, add_principal


@click.group()
def principal() -> None:
    """Principals: the humans, AI agents and services that may send requests."""


@principal.command("add")
@click.argument("name")
@click.option("--kind", type=click.Choice(["human", "agent", "service"]), default="human", show_default=True)
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What the policy's rules know it by.")
@click.option("--acts-for", metavar="HUMAN", help="The human that an AI agent or a service acts for.")
@local
async def add(settings: Settings, name: str, kind: str, roles: tuple[str, ...], acts_for: str | None) -> int:
    """Add the principal NAME with a new key; a running Writ accepts it at once.

    This is local administration by the owner of the folder: it writes principals.yaml and the key file, and no policy
    is asked. The policy decides about the principal's requests.
    """
    try:
        msgspec.convert(name, PrincipalId)
    except msgspec.ValidationError:
        raise Invalid(f"{name[:80]!r} cannot name a principal: letters, digits, - and _, at most 64") from None
    added = await add_principal(settings.home, name, kind, list(roles), acts_for)
    if settings.screen.json:
        settings.screen.data(added)
    else:
        settings.screen.line(f"{name} may ask now; its key is {added.key_file}")
        settings.screen.line(f"  writ context {name}    what a client needs")
        if added.admitted is None:
            settings.screen.line("  Writ is not running here: it counts from the next `writ up`")
    if added.admitted is False:
        raise TimedOut(f"{name} is in principals.yaml, but NATS did not accept it within {ADMITTED_WITHIN:g} s")
    return Exit.DONE


@principal.command("list")
@local
async def list_all(settings: Settings) -> int:
    """List the principals."""
    home = settings.home
    known = read_principals(home.principals).principals
    if settings.screen.json:
        settings.screen.data(known)
        return Exit.DONE
    rows = [
        (
            one.id,
            one.kind,
            one.roles,
            one.acts_for,
            "yes" if home.seed_file(f"principal-{one.id}").exists() else "",
            one.key,
        )
        for one in known
    ]
    settings.screen.table(("principal", "kind", "roles", "acts for", "key here", "public key"), rows)
    return Exit.DONE


def _known(settings: Settings, name: str) -> None:
    """Raises Invalid for a principal that is not in the folder; a principal with a key file of its own is not
    checked.
    """
    if settings.context is not None or settings.environ.get("WRIT_KEY_FILE"):
        return
    home = settings.home
    if home.principals.exists() and name not in {one.id for one in read_principals(home.principals).principals}:
        raise Invalid(f"there is no principal {name} in {home.principals}: `writ principal list`")


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
