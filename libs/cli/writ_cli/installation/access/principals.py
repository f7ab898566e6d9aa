"""`writ principal`: add, list, change and remove principals, in the folder or by an operation."""

import functools
from collections.abc import Callable
from typing import Any

import click
import msgspec

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.installation.access.ended_access import end_access
from writ_cli.installation.access.lockout_warning import warn_of_lockout
from writ_cli.installation.access.role_names import check_roles, new_role_option
from writ_cli.operations.running.requests import show_requested
from writ_cli.terminal.confirmation import confirm
from writ_cli.terminal.exit_status import Exit
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import Invalid
from writ_contracts.ids import PrincipalId
from writ_contracts.inventory import Principal
from writ_contracts.nearest_name import near
from writ_contracts.people.principal_changes import is_active
from writ_contracts.type_words import plain_words
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.principals import (
    add_principal,
    change_principal,
    key_admitted,
    new_key,
    not_admitted,
    rotate_principal,
)
from writ_installation.files.principal_changes import principals_of
from writ_installation.nats.external_server import LOAD_AGAIN, is_external
from writ_trust.keys import Key, generate_seed

Command = Callable[..., Any]
OF_REQUESTS = ("principal", "context")
"""Options that have an effect on requests alone."""
KINDS = click.Choice(["human", "agent", "service"])
NAME = click.argument("name", shell_complete=completion.principals)


@click.group(cls=CommandGroup)
def principal() -> None:
    """Principals: humans, AI agents and services with the right to send requests.

    Without --request a command changes the folder's files; the right to write there is enough. With --request it is an
    operation, decided by the policy and possibly approved by others.
    """


def changing(body: Command) -> Command:
    """Make a subcommand that changes principals: `body(settings, …, request, reason)`."""

    @functools.wraps(body)
    async def checked(settings: Settings, *arguments: Any, request: bool, **options: Any) -> int | None:
        if not request:
            refuse_typed(("reason", *OF_REQUESTS), "it goes with --request; else the files of the folder change")
        changed: int | None = await body(settings, *arguments, request=request, **options)
        return changed

    made: Command = checked
    for option in (
        click.option("--request", is_flag=True, help="Request it as an operation of the running installation."),
        click.option("--reason", "-r", default="", help="Why, for the record (with --request)."),
    ):
        made = option(made)
    return asking(made)


async def _change(settings: Settings, action: str, name: str, *, request: bool, reason: str, **values: Any) -> int:
    """Change a principal by an operation, or in the files."""
    known = {key: value for key, value in values.items() if value is not None}
    try:
        change = msgspec.convert({"action": action, "principal_id": name, **known}, PrincipalManage)
    except msgspec.ValidationError as error:
        raise Invalid(plain_words(str(error))) from None
    if not request:
        if action != "remove":  # the warning came before the confirmation
            warn_of_lockout(settings, change)
        return _show_changed(settings, name, change_principal(settings.home, change))
    async with await settings.connect() as writ:
        return show_requested(settings.screen, await writ.principals.change(action, name, known, reason=reason))


def _show_changed(settings: Settings, name: str, after: Principal | None) -> int:
    external = is_external(settings.home)
    if settings.screen.json:
        settings.screen.data({"principal": after, **({"next": LOAD_AGAIN} if external else {})})
    elif after is None and external:
        settings.screen.line(f"{name} is removed: policy refuses its requests from now on")
        settings.screen.line(f"  its key still connects to NATS: {LOAD_AGAIN}")
    elif after is None:
        settings.screen.line(f"{name} is removed, and its key with it; a running Writ ends its access within a second")
    else:
        state = "disabled" if after.disabled else f"roles: {', '.join(after.roles) or 'none'}"
        settings.screen.line(f"{name} is changed ({state}); a running Writ follows within a second")
        if external:
            settings.screen.line(f"  its access to NATS changes later: {LOAD_AGAIN}")
    return Exit.DONE


def _refuse_unknown(settings: Settings, name: str, *, request: bool) -> None:
    """Raises Invalid for a principal that is not in the folder; by a request, the installation decides."""
    if not request:
        settings.check_installation()
    if not request and name not in (known := principals_of(settings.home)):
        raise Invalid(f"there is no principal {name[:80]!r}{near(name, known)}", code="unknown_principal")


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, PrincipalId)
    except msgspec.ValidationError:
        raise Invalid(f"{name[:80]!r} cannot name a principal: letters, digits, - and _, at most 64") from None


@principal.command("add")
@NAME
@click.option("--kind", type=KINDS, default="human", show_default=True)
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="Its roles, which the policy's rules refer to.",
    shell_complete=completion.roles,
)
@click.option(
    "--acts-for",
    metavar="HUMAN",
    help="The human that an AI agent or a service acts for.",
    shell_complete=completed_names.humans,
)
@click.option(
    "--via",
    metavar="GATEWAY",
    help="Let this MCP gateway request for it (`writ mcp http`); made if missing.",
    shell_complete=completed_names.gateways,
)
@click.option("--key", metavar="PUBLIC", help="Its public key (U…), with --request; else a key is made.")
@new_role_option
@changing
async def add(
    settings: Settings,
    name: str,
    kind: str,
    roles: tuple[str, ...],
    acts_for: str | None,
    via: str | None,
    key: str | None,
    new_role: bool,
    request: bool,
    reason: str,
) -> int:
    """Add the principal NAME with a new key; a running Writ accepts it at once."""
    for identifier in (name, *([] if via is None else [via])):
        _check_name(identifier)
    if request and via is not None:
        raise click.UsageError("--via is set in the folder alone, without --request")
    if not request:
        settings.check_installation()
    check_roles(settings, roles, new_role=new_role)
    if request:
        fields = {"request": True, "kind": kind, "roles": list(roles), "acts_for": acts_for}
        return await _with_key(settings, "add", name, key, reason, fields)
    if key is not None:
        raise click.UsageError("--key goes with --request: in the folder, a key is made")
    added = await add_principal(settings.home, name, kind, list(roles), acts_for, via)
    if added.admitted is False:
        raise not_admitted(settings.home, f"{name} is in principals.yaml, its key is {added.key_file}")
    if settings.screen.json:
        settings.screen.data(added)
    else:
        settings.screen.line(f"{name} may send requests now; its key is {added.key_file}")
        settings.screen.line(f"  writ context {name}    the settings for its client")
        if kind == "agent" and acts_for is None:
            settings.screen.line(f"  it acts for no human on record: `writ principal acts-for {name} HUMAN` names one")
        if added.admitted is None:
            settings.screen.line("  Writ is not running here: the principal is used from the next `writ up` on")
    return Exit.DONE


async def _with_key(
    settings: Settings, action: str, name: str, key: str | None, reason: str, fields: dict[str, Any]
) -> int:
    """Change it to a public key, or request that; without one, to a key made here that is kept in the folder."""
    made = Key(generate_seed()) if key is None else None
    public = key or (made.public if made else "")
    path = settings.home.seed_file(f"principal-{name}")
    draft = path.with_suffix(".new")
    if made is not None:  # before it is requested: what is approved later must not have lost its key
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(draft, made.seed + b"\n")
    status = await _change(settings, action, name, reason=reason, key=public, **fields)
    if made is not None and status == Exit.DONE:
        draft.replace(path)
    if action == "rotate" and status == Exit.DONE:
        end_access(settings, name)
    if made is not None and not settings.screen.json:
        settings.screen.line(f"  its new key is {path if status == Exit.DONE else draft}")
    return status


@principal.command("remove")
@NAME
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@changing
async def remove(settings: Settings, name: str, yes: bool, request: bool, reason: str) -> int:
    """Remove NAME: it loses access at once, and its key never returns. `disable` can be undone."""
    _refuse_unknown(settings, name, request=request)
    if not request:
        warn_of_lockout(settings, PrincipalManage(action="remove", principal_id=name))
    confirm(f"Remove principal {name}?", yes=yes, without_terminal=f"confirm the removal of {name} with --yes")
    status = await _change(settings, "remove", name, request=request, reason=reason)
    if status == Exit.DONE:
        settings.home.seed_file(f"principal-{name}").unlink(missing_ok=True)
        end_access(settings, name)
    return status


@principal.command("disable")
@NAME
@changing
async def disable(settings: Settings, name: str, request: bool, reason: str) -> int:
    """Take access from NAME, and from the agents acting for it, until it is enabled."""
    return await _change(settings, "disable", name, request=request, reason=reason)


@principal.command("enable")
@NAME
@changing
async def enable(settings: Settings, name: str, request: bool, reason: str) -> int:
    """Give NAME its access back."""
    return await _change(settings, "enable", name, request=request, reason=reason)


@principal.command("rotate")
@NAME
@click.option("--key", metavar="PUBLIC", help="The new public key (U…), with --request; else a key is made.")
@changing
async def rotate(settings: Settings, name: str, key: str | None, request: bool, reason: str) -> int:
    """Give NAME a new key. The old one loses access at once."""
    if request or key is not None:
        return await _with_key(settings, "rotate", name, key, reason, {"request": request})
    after = rotate_principal(settings.home, name)
    admitted = await key_admitted(settings.home, name)
    if not settings.screen.json:
        settings.screen.line(f"{name} has a new key: {settings.home.seed_file(f'principal-{name}')}")
        settings.screen.line(_effect(settings, name, admitted))
    end_access(settings, name)
    if admitted is False:
        raise not_admitted(settings.home, new_key(name))
    if settings.screen.json:
        settings.screen.data({"principal": after, "admitted": admitted})
    return Exit.DONE


def _effect(settings: Settings, name: str, admitted: bool | None) -> str:
    """Return the effect of a new key that the server accepts, or does not accept yet."""
    known = principals_of(settings.home)
    if not is_active(known[name], known):
        return f"  {name} stays disabled until `writ principal enable {name}`"
    if admitted:
        return "  NATS accepts it, and refuses the old one: copy the new one to its client"
    return "  copy it to its client: it is used, and the old one refused, once Writ runs here and has read the files"


@principal.command("roles")
@NAME
@click.argument("roles", nargs=-1, metavar="[ROLE]...", shell_complete=completion.roles)
@click.option("--none", "no_role", is_flag=True, help="It has no role from now on.")
@new_role_option
@changing
async def set_roles(
    settings: Settings, name: str, roles: tuple[str, ...], no_role: bool, new_role: bool, request: bool, reason: str
) -> int:
    """Set all roles of NAME: it loses those that are not named."""
    _refuse_unknown(settings, name, request=request)
    if bool(roles) == no_role:
        raise click.UsageError(f"name all roles that {name} has from now on, or --none")
    check_roles(settings, roles, new_role=new_role)
    return await _change(settings, "set_roles", name, request=request, reason=reason, roles=list(roles))


@principal.command("acts-for")
@NAME
@click.argument("human", required=False, shell_complete=completed_names.humans)
@click.option("--nobody", is_flag=True, help="It acts for nobody from now on.")
@changing
async def set_acts_for(
    settings: Settings, name: str, human: str | None, nobody: bool, request: bool, reason: str
) -> int:
    """Set the human that the agent or service NAME acts for."""
    _refuse_unknown(settings, name, request=request)
    if (human is not None) == nobody:
        raise click.UsageError(f"name the human that {name} acts for, or --nobody")
    return await _change(settings, "set_acts_for", name, request=request, reason=reason, acts_for=human)


@principal.command("list")
@listing(asking)
async def list_all(settings: Settings) -> int:
    """List the principals in force."""
    refuse_typed(OF_REQUESTS, "the principals are those of the folder: leave it out")
    settings.check_installation()
    known = principals_of(settings.home)
    if settings.screen.json:
        settings.screen.data(list(known.values()))
        return Exit.DONE
    rows = [
        (
            one.id,
            one.kind,
            one.roles,
            one.acts_for,
            one.via,
            "" if is_active(one, known) else "disabled",
            "yes" if settings.home.seed_file(f"principal-{one.id}").exists() else "",
            one.key,
        )
        for one in known.values()
    ]
    columns = ("principal", "kind", "roles", "acts for", "via", "state", "key here", "public key")
    settings.screen.table(columns, rows, drop=("public key", "key here", "via", "acts for"))
    return Exit.DONE


@principal.command("show")
@NAME
@asking
async def show(settings: Settings, name: str) -> int:
    """Show the principal NAME."""
    refuse_typed(OF_REQUESTS, "the principals are those of the folder: leave it out")
    _refuse_unknown(settings, name, request=False)
    known = principals_of(settings.home)
    one = known[name]
    if settings.screen.json:
        settings.screen.data(one)
        return Exit.DONE
    fields = msgspec.to_builtins(one)
    fields["access"] = "yes" if is_active(one, known) else "disabled"
    settings.screen.fields(fields.items(), indent=0)
    return Exit.DONE
