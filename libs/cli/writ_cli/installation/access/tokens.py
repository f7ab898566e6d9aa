"""`writ token`: bearer tokens for clients of the MCP gateway over HTTP."""

import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import click
import msgspec

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import in_installation, listing
from writ_cli.arguments.suggestions import inventory_targets
from writ_cli.context.settings import Settings
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_client.whole_ids import one_of
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.installation.gateway_tokens import GatewayToken, Glob
from writ_contracts.inventory import Principal
from writ_contracts.nearest_name import near_glob
from writ_installation.files.gateway_tokens import bind_tokens, create_token, read_tokens, revoke_token
from writ_installation.files.principal_changes import principals_of
from writ_runtime.plugins.entry_points import load_catalogue

LONGEST = 366 * 86_400.0


@click.group(cls=CommandGroup)
def token() -> None:
    """Bearer tokens of the MCP gateway (`writ mcp http`)."""


@token.command()
@click.argument("name", metavar="PRINCIPAL", shell_complete=completion.principals)
@click.option("--expires", metavar="SPAN", default="30d", show_default=True, help="At most 366d.")
@click.option("--note", default="", help="A label: where the token is used.")
@click.option(
    "--operation",
    "operations",
    multiple=True,
    metavar="GLOB",
    help="Only these operations.",
    shell_complete=completion.operations,
)
@click.option(
    "--target", "targets", multiple=True, metavar="GLOB", help="Only these targets.", shell_complete=completion.targets
)
@click.option("--rate", type=click.IntRange(1, 100_000), metavar="N", help="Most MCP requests a minute.")
@in_installation
async def create(
    settings: Settings,
    name: str,
    expires: str,
    note: str,
    operations: tuple[str, ...],
    targets: tuple[str, ...],
    rate: int | None,
) -> int:
    """Make a bearer token of PRINCIPAL, and print it once.

    Its digest alone is stored. Only an AI agent or a service can have one, with a gateway as its `via`; a person
    cannot. The limits narrow the operations allowed to PRINCIPAL by the policy.
    """
    lifetime = times.lifetime("--expires", expires)
    if not 0 < lifetime <= LONGEST:
        raise Invalid(f"--expires {expires}: more than 0s and at most 366d")
    known = principals_of(settings.home)
    _check_principal(settings, known, name)
    for glob in (*operations, *targets):
        _check_glob(glob)
    _refuse_unknown(operations)
    _warn_of_no_target(settings, targets)
    limits: dict[str, Any] = {"operations": operations, "targets": targets, "rate": rate}
    path = settings.home.gateway_tokens
    bind_tokens(path, known)
    made, entry = create_token(path, known[name], now=time.time(), lifetime=lifetime, note=note[:200], **limits)
    if settings.screen.json:
        settings.screen.data({"token": made, "id": entry.id, "principal": name, "expires": entry.expires})
        return Exit.DONE
    settings.screen.line(made)
    text = f"token {entry.id} of {name}, until {times.date(entry.expires)}; it is not shown again"
    settings.screen.err.print(text)
    return Exit.DONE


def _check_principal(settings: Settings, known: Mapping[str, Principal], name: str) -> None:
    if name not in known:
        raise Invalid(f"there is no principal {name[:80]!r} in {settings.home.principals}", code="unknown_principal")
    if known[name].kind == "human":
        raise Invalid(
            f"{name} is a human: give the agent a principal of its own (`writ principal add NAME --kind agent`)"
        )
    if known[name].via is None and not any(one.kind == "gateway" for one in known.values()):
        make = "`writ principal add NAME --kind agent --via gateway` adds a new agent, and the gateway for it"
        raise Invalid(f"there is no gateway yet that could request for {name}: {make}")
    if known[name].via is None:
        raise Invalid(f"no gateway may request for {name}: add `via: gateway` to it in {settings.home.principals}")


def _check_glob(text: str) -> None:
    try:
        msgspec.convert(text, Glob)
    except msgspec.ValidationError:
        raise Invalid(f"{text[:80]!r} is not a glob of names: letters, digits, -, _, * and ?") from None


def _refuse_unknown(globs: Iterable[str]) -> None:
    """Raises Invalid for a glob that fits no operation: its token could do nothing."""
    catalogue = load_catalogue()
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in catalogue):
            hint = near_glob(glob, catalogue) or "; `writ operations` lists them"
            raise Invalid(f"--operation {glob}: no operation has this name{hint}", code="unknown_operation")


def _warn_of_no_target(settings: Settings, globs: Iterable[str]) -> None:
    """Warn of a glob that fits no target: it may be misspelt, or for targets to come."""
    known = inventory_targets(settings) or []
    for glob in globs if known else ():
        if not any(fnmatchcase(name, glob) for name in known):
            hint = near_glob(glob, known) or "; `writ target list` lists them"
            settings.screen.err.print(f"writ: --target {glob}: no target has this name{hint}")


@token.command("list")
@listing(in_installation)
async def list_all(settings: Settings) -> int:
    """List the tokens without their values."""
    known, ended = read_tokens(settings.home.gateway_tokens), _ended_tokens(settings)
    settings.screen.listing(
        known,
        ("token", "principal", "created", "expires", "", "limits", "note"),
        (_row(one, ended(one), time.time()) for one in known),
        empty="no token is known; `writ token create PRINCIPAL` makes one",
        drop=("created", ("token", "expires"), "note", "limits"),
    )
    return Exit.DONE


def _ended_tokens(settings: Settings) -> Callable[[GatewayToken], bool]:
    """Return a function that returns whether the token's principal was removed, or has got another key since. With a
    bad list of principals the tokens must still be seen: one of them may have to be revoked.
    """
    try:
        principals = principals_of(settings.home)
    except ConfigError as error:
        settings.screen.err.print(f"writ: which tokens ended with their principal is not known: {error}")
        return lambda _: False
    return lambda one: not one.counts_for(principals.get(one.principal))


def _row(one: GatewayToken, ended: bool, now: float) -> tuple[object, ...]:
    end = "expired" if one.expires <= now else "ended" if ended else ""
    return one.id, one.principal, times.date(one.created), times.date(one.expires), end, _limits(one), one.note


def _limits(one: GatewayToken) -> str:
    narrowed = [("operations", one.operations), ("targets", one.targets)]
    limits = [f"{name} {', '.join(globs)}" for name, globs in narrowed if globs != ["*"]]
    return "; ".join([*limits, *([] if one.rate is None else [f"{one.rate} a minute"])])


@token.command()
@click.argument("token_id", shell_complete=completed_names.gateway_tokens)
@in_installation
async def revoke(settings: Settings, token_id: str) -> int:
    """Remove a token; the gateway refuses it from the next request on."""
    known = [one.id for one in read_tokens(settings.home.gateway_tokens)]
    gone = revoke_token(settings.home.gateway_tokens, one_of(token_id, known, "token"))
    if settings.screen.json:
        settings.screen.data({"id": gone.id, "principal": gone.principal})
    else:
        settings.screen.line(f"token {gone.id} of {gone.principal} is revoked")
    return Exit.DONE
