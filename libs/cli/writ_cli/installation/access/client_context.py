"""`writ context`: the settings of a client, and the saved contexts of this user."""

import click
import msgspec

from writ_cli.arguments import completion
from writ_cli.arguments.context_group import ContextGroup
from writ_cli.arguments.options import asking, listing, local
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.current_context import ContextFolder
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_client.context import Context, read_context, spelled_out
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


@click.group(cls=ContextGroup, subcommand_metavar="[PRINCIPAL] | COMMAND [ARGS]...")
def context() -> None:
    """The settings of a client: address, key file, subjects; and saved ones, of which one is current."""


@context.command("show")
@click.argument("name", metavar="PRINCIPAL", required=False, shell_complete=completion.principals)
@asking
async def show(settings: Settings, name: str | None) -> int:
    """Show the settings of a bare NATS client for PRINCIPAL: address, key file, inbox prefix, subjects."""
    found = _of(settings, name)
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


def _of(settings: Settings, name: str | None) -> Context:
    if name:
        refuse_typed(("principal",), f"the context is that of {name[:80]}: leave one of them out")
        settings = msgspec.structs.replace(settings, principal=name)
    try:
        where = settings.where()
        _known(settings, where.principal)
    except Invalid as error:
        if error.code != "unknown_principal" or name not in ContextFolder(settings.environ).names():
            raise
        text = f"{error}; `writ context show --context {name}` shows the saved context"
        raise Invalid(text, code=error.code) from error
    return spelled_out(where)


@context.command("save")
@click.argument("name", shell_complete=completion.contexts)
@asking
async def save(settings: Settings, name: str) -> int:
    """Save these settings as the context NAME, those of another principal with --as. The key stays in its file."""
    path = ContextFolder(settings.environ).save(name, msgspec.json.encode(_of(settings, None)))
    if settings.screen.json:
        settings.screen.data({"name": name, "file": str(path)})
    else:
        settings.screen.line(f"saved; `writ context use {name}` makes it the current one")
    return Exit.DONE


@context.command("use")
@click.argument("name", required=False, shell_complete=completion.contexts)
@click.option("--none", "nothing", is_flag=True, help="Use no saved context.")
@local
async def use(settings: Settings, name: str | None, nothing: bool) -> int:
    """Make the context NAME the current one: it counts where no `.writ` is found and nothing else is named."""
    if (name is None) != nothing:
        raise click.UsageError("name a context, or give --none")
    ContextFolder(settings.environ).use(name)
    if settings.screen.json:
        settings.screen.data({"current": name})
    else:
        settings.screen.line(f"the current context is {name}" if name else "no context is current")
    return Exit.DONE


@context.command("remove")
@click.argument("name", shell_complete=completion.contexts)
@local
async def remove(settings: Settings, name: str) -> int:
    """Remove the saved context NAME; the file of its key stays."""
    ContextFolder(settings.environ).remove(name)
    if settings.screen.json:
        settings.screen.data({"name": name, "removed": True})
    else:
        settings.screen.line(f"{name} is removed")
    return Exit.DONE


@context.command("list")
@listing(local)
async def list_all(settings: Settings) -> int:
    """List the saved contexts, and which one is current."""
    folder = ContextFolder(settings.environ)
    found = [(name, read_context(folder.file(name))) for name in folder.names()]
    settings.screen.listing(
        [
            {"name": name, "current": name == folder.current, "principal": one.principal, "url": one.url}
            for name, one in found
        ],
        ("context", "", "principal", "url"),
        [(name, "current" if name == folder.current else "", one.principal, one.url) for name, one in found],
        empty="no context is saved: `writ context save NAME`",
        drop=("url",),
    )
    return Exit.DONE
