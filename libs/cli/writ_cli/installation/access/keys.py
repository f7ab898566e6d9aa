"""`writ keys`: list the keys of an installation, and rotate them."""

import time
from pathlib import Path

import click

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import in_installation, listing
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.installation.access.agents import issue_token
from writ_cli.installation.access.ended_access import end_access
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_contracts.installation.keyring import POLICY
from writ_installation.administration.key_list import ListedKey, list_keys
from writ_installation.administration.key_rotation import (
    AGENT,
    LEAF,
    PRINCIPAL,
    RotationStep,
    end_lost,
    pending,
)
from writ_installation.administration.key_steps import SETTLE, followed, in_containers, rotate, supervised
from writ_installation.administration.people_key import rotate_people_key
from writ_installation.administration.principals import key_admitted, new_key, not_admitted, rotate_principal
from writ_installation.administration.remote_agent_keys import (
    chosen_key,
    drop_unused,
    keys_elsewhere,
    retire_elsewhere,
    successor,
)
from writ_installation.files.home import PEOPLE, Home
from writ_installation.files.lock import held
from writ_installation.files.lost_policy_key import UNKNOWN_END, VARIABLE, has_unknown_end, kept_former_keys
from writ_installation.files.parameter_keys import PARAMS
from writ_installation.initialise import refresh_environment

SHORT = 12
HOST_SPAN = "1h"
FILE = click.Path(dir_okay=False, path_type=Path)
RETIRED = {
    PARAMS: "opens only what was stored and recorded before",
    PEOPLE: "signs no version of the directory any more",
}


@click.group(cls=CommandGroup)
def keys() -> None:
    """Keys of services, agents, principals and people."""


@keys.command("list")
@listing(in_installation)
async def show(settings: Settings) -> int:
    """List every key: its owner, public half, file, age and use.

    A former key of policy counts for the record until an event of the journal, and for nothing later. `-o json` has the
    whole public halves.
    """
    found = list_keys(settings.home)
    if settings.screen.json:
        settings.screen.data({"keys": found})
        return Exit.DONE
    columns = ("key", "state", "public", "age", "used by", "file")
    rows = [_row(one, time.time()) for one in found]
    settings.screen.table(columns, rows, drop=("age", "used by", "public"), spill=True)
    return Exit.DONE


@keys.command("rotate")
@click.argument("name", metavar="KEY", shell_complete=completed_names.keys)
@click.option(
    "--settle",
    metavar="SPAN",
    default=f"{SETTLE:g}s",
    show_default=True,
    help="How long policy's old key counts after its last use; 0s where it was stolen.",
)
@click.option("--people-key", type=FILE, metavar="FILE", help="For `people`: its file, if not in $WRIT_HOME/people.")
@click.option(
    "--key",
    metavar="U…",
    default="",
    help="For agents on other hosts: the beginning of the old key.",
    shell_complete=completed_names.agent_keys,
)
@click.option(
    "--hosts-ready", is_flag=True, help="Confirm that agents on other hosts have policy's new key in WRIT_POLICY_KEY."
)
@in_installation
async def rotate_key(
    settings: Settings, name: str, settle: str, hosts_ready: bool, people_key: Path | None, key: str
) -> int:
    """Replace the key pair of KEY, a name of `writ keys list`, while everything runs.

    The new key is trusted first, then used; then the old one is refused. The same command continues an interrupted
    rotation. If systemd or containers run the services, each call takes one step, and names the services to restart.
    """
    home = settings.home
    _refuse_of_others(home, name)
    if name == PEOPLE:
        _report_step(settings, rotate_people_key(home, people_key))
        return Exit.DONE
    if keys_elsewhere(home, name) and (key or not home.seed_file(name).exists()):
        return await _elsewhere(settings, name, key)
    if name.startswith(PRINCIPAL):
        return await _principal(settings, name.removeprefix(PRINCIPAL))
    await rotate(
        home, name, lambda made: _report_step(settings, made), settle=times.seconds(settle), hosts_ready=hosts_ready
    )
    if not supervised(home) or name.startswith(LEAF):
        _next(settings, name)
    return Exit.DONE


def _refuse_of_others(home: Home, name: str) -> None:
    """Raises UsageError for options that are about another key."""
    for options, about in (
        (("settle", "hosts_ready"), name == POLICY),
        (("people_key",), name == PEOPLE),
        (("key",), bool(keys_elsewhere(home, name))),
    ):
        if not about:
            refuse_typed(options, f"it is not for {name[:80]}: leave it out")


@keys.command("lost")
@click.argument("name", metavar="KEY", shell_complete=completed_names.keys)
@in_installation
async def end_lost_key(settings: Settings, name: str) -> int:
    """Refuse a lost key of KEY, in whose place a start has made a new one, or which was announced.

    A key that had been rotated stays accepted beside the new one until then. The lost key still verifies what is on
    record. To replace a key that you have, use `writ keys rotate`. Policy's lost key counts up to the events and
    versions that the printed value names.
    """
    with held(settings.home.root / ".rotation.lock", "a key is being rotated in"):
        ended = end_lost(settings.home, name)
        is_replaced = name == POLICY and not settings.home.keyring().of(POLICY)  # an announced key had signed nothing
        former = kept_former_keys(settings.home) if is_replaced else ""
        refresh_environment(settings.home)
        await followed(settings.home)  # also after a command that ended them, and then was interrupted
    if settings.screen.json:
        settings.screen.data({"ended": ended} | ({"former_policy_keys": former} if former else {}))
        return Exit.DONE
    for made in ended:
        _report_step(settings, made)
    if not ended:
        settings.screen.line(f"{name}: no lost key is accepted")
    if former and (settings.home.site or settings.home.in_containers):  # `writ up` has it already
        _show_former(settings, former)
    elif has_unknown_end(former):
        settings.screen.whole(f"next: replace the word NUMBER in {settings.home.former_policy_keys}, then start Writ")
        settings.screen.line(f"  {UNKNOWN_END}")
    elif ended and not supervised(settings.home):
        _next(settings, name)
    return Exit.DONE


def _show_former(settings: Settings, former: str) -> None:
    """Show what to set after the loss of policy's key."""
    settings.screen.whole(f"next: start policy with {VARIABLE}={former}")
    if has_unknown_end(former):
        settings.screen.line(f"  {UNKNOWN_END}")
    settings.screen.whole(f"  and agents, executors and audit with WRIT_POLICY_KEY={settings.home.public(POLICY)}")
    settings.screen.line("  as docs/operating/policy-versions.md describes")


async def _elsewhere(settings: Settings, name: str, beginning: str) -> int:
    """Take the next step for an agent on another host: a token for it, or the end of its old key."""
    home = settings.home
    old = chosen_key(home, name, beginning)
    if new := successor(home, old):
        _report_step(settings, retire_elsewhere(home, name, old, new))
        return Exit.DONE
    drop_unused(home, old)
    await issue_token(settings, name.removeprefix(AGENT), HOST_SPAN, replaces=old)
    if not settings.screen.json:
        again = f"`writ keys rotate {name} --key {old[:SHORT]}`"
        click.echo(f"there: `writ agent enrol`, start the agent again; then here {again}", err=True)
    return Exit.DONE


async def _principal(settings: Settings, name: str) -> int:
    changed = rotate_principal(settings.home, name)
    if changed is None:
        raise Invalid(f"there is no principal {name}")
    end_access(settings, name)
    if await key_admitted(settings.home, name) is False:
        raise not_admitted(settings.home, new_key(name))
    _report_step(settings, RotationStep(name=f"{PRINCIPAL}{name}", step="retired", old="", new=changed.key))
    return Exit.DONE


def _report_step(settings: Settings, made: RotationStep) -> None:
    if settings.screen.field is not None:
        settings.screen.data(made)
        return
    if settings.screen.json:
        settings.screen.item(made)
        return
    words = {
        "announced": f"{made.new} is known, but not used yet",
        "switched": f"{made.new} is in use",
        "retired": f"{made.old or 'the old key'} {RETIRED.get(made.name, 'is refused from now on')}",
    }
    settings.screen.line(f"{made.name}: {words[made.step]}")


def _next(settings: Settings, name: str) -> None:
    """Print what to do before the next step, where others start the services."""
    if settings.screen.json:
        return
    step = pending(settings.home, name)
    if name == POLICY and settings.home.in_containers and step != "retired":
        again = "run `init` again, then `docker compose up --detach --wait`: agents then trust the key in use alone"
        settings.screen.line(f"next: {in_containers(settings.home) if step == 'switched' else again}")
        return
    if step == "announced":
        return
    processes = "executors" if name == PARAMS else f"processes of {name}"
    before = f"start the {processes} again, and then"
    if step == "retired" and name.startswith(LEAF):
        before = "make the site's files again (`writ leaf add`), start its leaf node with them, and then"
    if step == "switched" and name != PARAMS:
        before = "once NATS has loaded its file"
    settings.screen.line(f"next: {before} run `writ keys rotate {name}` again")


def _row(one: ListedKey, now: float) -> list[object]:
    state = f"{one.state} until event {one.last_event}" if one.last_event else one.state
    age = times.span(now - one.since) if one.since is not None else ""
    return [one.name, state, f"{one.public[:SHORT]}…", age, one.used_by, one.file]
