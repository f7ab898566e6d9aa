"""`writ target show|remove|rename|tag|set|repin`: entries of inventory.yaml, by the owner of the folder."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.options import DASHED, dashed, in_installation
from writ_cli.context.settings import Settings
from writ_cli.installation.targets.entry_checks import check_values
from writ_cli.installation.targets.target_access import show_leftovers
from writ_cli.installation.targets.target_add import confirmed_host_key
from writ_cli.installation.targets.target_lookup import known_target
from writ_cli.terminal.confirmation import confirm
from writ_cli.terminal.exit_status import Exit
from writ_contracts.backends import LOCAL, SSH
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import near
from writ_documents import yaml_file
from writ_installation.administration.host_leftovers import host_leftovers
from writ_installation.administration.target_edits import (
    RemainingParts,
    refuse_gateway,
    remove_target,
    rename_target,
    set_values,
    tag_target,
)
from writ_installation.administration.targets import SshAddress, verified_host_key

_INSTEAD = {"id": "; use `writ target rename`", "pool": "; its pool is the key agent"}
_name = click.argument("name", shell_complete=completion.targets)


@click.command("show")
@_name
@in_installation
async def show(settings: Settings, name: str) -> int:
    """Show the entry of target NAME in inventory.yaml."""
    target = known_target(settings, name)
    if settings.screen.json:
        settings.screen.data(target)
    else:
        settings.screen.line(name)
        entry = msgspec.to_builtins(target)
        settings.screen.fields([("pool", target.pool), *((key, entry[key]) for key in entry if key != "id")])
    return Exit.DONE


@click.command("remove")
@_name
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--clean", is_flag=True, help="Over SSH: first remove the files that Writ left on its host.")
@in_installation
async def remove(settings: Settings, name: str, yes: bool, clean: bool) -> int:
    """Remove target NAME from inventory.yaml; its credentials, its record and, without --clean, its host stay as they
    are. Where the host cannot be cleaned, nothing is removed.
    """
    target = known_target(settings, name)
    confirm(f"Remove target {name}?", yes=yes, without_terminal=f"confirm the removal of {name} with --yes")
    refuse_gateway(settings.home, name)
    cleaned = host_leftovers(settings.home, target, settings.environ, "clean") if clean else []
    left = remove_target(settings.home, name)
    if settings.screen.json:
        settings.screen.data({**msgspec.to_builtins(left), "cleaned": cleaned})
    else:
        show_leftovers(settings, cleaned, gone=True)
        _show_remaining(settings, left)
    return Exit.DONE


@click.command("rename")
@click.argument("old", shell_complete=completion.targets)
@click.argument("new")
@in_installation
async def rename(settings: Settings, old: str, new: str) -> int:
    """Rename target OLD to NEW, with its credentials here, and as gateway of other targets.

    Change rules and suites naming OLD by hand; the record keeps the old name.
    """
    backend = known_target(settings, old).backend
    files = rename_target(settings.home, old, new)
    if settings.screen.json:
        settings.screen.data({"target": new, "credentials": files})
        return Exit.DONE
    settings.screen.line(f"{old} is {new} now; rules and suites of the policy that name {old} do not follow")
    for file in files:
        settings.screen.whole(f"  renamed: {file}")
    if not files and backend != LOCAL:
        settings.screen.line(f"An agent on another host needs its credentials for it under the name {new}")
    return Exit.DONE


class TagCommand(click.Command):
    """Completes tags behind a dash, too, where click completes options alone."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the tags to remove, before the options."""
        tags = completed_names.tag_changes(ctx, self.params[-1], incomplete)
        return [*tags, *super().shell_complete(ctx, incomplete)]


@click.command("tag", cls=TagCommand, context_settings=DASHED)
@_name
@click.argument(
    "changes", nargs=-1, required=True, metavar="(+TAG|-TAG)...", shell_complete=completed_names.tag_changes
)
@dashed
async def tag(settings: Settings, name: str, changes: tuple[str, ...]) -> int:
    """Add tags to target NAME (+web) and remove tags from it (-old)."""
    known_target(settings, name)
    for change in changes:
        if change.startswith("--") or change[0] not in "+-" or not change[1:]:
            hint = "; the option is --output here: -o removes the tag 'o'" if "-o" in changes else ""
            raise click.UsageError(f"{change!r} is neither +TAG nor -TAG{hint}")
    added, removed = ([one[1:] for one in changes if one[0] == sign] for sign in "+-")
    if both := sorted(set(added).intersection(removed)):
        raise click.UsageError(f"{both[0]} cannot be added and removed at once")
    tags = tag_target(settings.home, name, added, removed)
    if settings.screen.json:
        settings.screen.data({"target": name, "tags": tags})
    else:
        settings.screen.line(f"tags of {name}: {', '.join(tags) or 'none'}")
    return Exit.DONE


@click.command("set")
@_name
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...", shell_complete=completed_names.entry_keys)
@in_installation
async def set_(settings: Settings, name: str, words: tuple[str, ...]) -> int:
    """Set keys of the entry of target NAME, such as role=staging; a value is YAML, such as 'file_roots=[/srv]'.

    A key within a key has a dot: connection.port=2222. Without a value it is removed: connection.port=
    """
    before = msgspec.to_builtins(known_target(settings, name))
    values = dict[str, Any]()
    flags = set[str]()
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is not KEY=VALUE")
        if path in flags:
            raise click.UsageError(f"{path} is given more than once")
        flags.add(path)
        key, *inner = path.split(".")
        if key not in Target.__struct_fields__ or key == "id":
            hint = _INSTEAD.get(key) or near(key, Target.__struct_fields__)
            raise click.UsageError(f"{key!r} is not a key that can be set{hint}")
        value = yaml_file.parse(text.encode(), path).data if text else None
        values[key] = nested(values.get(key, before.get(key)), inner, value)
    check_values(settings, str(values.get("backend", before["backend"])), values)
    set_values(settings.home, name, values)
    if settings.screen.json:
        settings.screen.data(known_target(settings, name))
    else:
        settings.screen.line(f"set for {name}: {', '.join(values)}")
    return Exit.DONE


def nested(before: Any, path: Sequence[str], value: Any) -> Any:
    """Return the value of a key with the one at the inner path changed; None removes that. Raises UsageError."""
    if not path:
        return value
    if before is not None and not isinstance(before, dict):
        raise click.UsageError(f"there is no key {path[0]!r} in a value that is not a mapping")
    inner = nested((before or {}).get(path[0]), path[1:], value)
    changed = {**(before or {}), path[0]: inner}
    return {name: one for name, one in changed.items() if one is not None}


@click.command("repin")
@_name
@click.option("--host-key", metavar="KEY", default="", help="The host's new public key, or its fingerprint.")
@in_installation
async def repin(settings: Settings, name: str, host_key: str) -> int:
    """Pin another host key of the SSH target NAME in place of the present ones, after the host was reinstalled.

    Compare the shown key with the host's own, or give it with --host-key.
    """
    target = known_target(settings, name)
    connection = target.connection
    if target.backend != SSH or "host" not in connection:
        raise Invalid(f"{name} is not an SSH target with a host of its own")
    address = SshAddress(str(connection.get("user", "root")), str(connection["host"]), int(connection.get("port", 22)))
    shown = verified_host_key(host_key, address, lambda key: confirmed_host_key(key, address))
    set_values(settings.home, name, {"connection": {**connection, "host_keys": [shown.line]}})
    if settings.screen.json:
        settings.screen.data({"target": name, "host_key": shown})
    else:
        settings.screen.line(f"{name} has another host key now: {shown.fingerprint}")
        settings.screen.line(f"Next, test it: writ target test {name}")
    return Exit.DONE


def _show_remaining(settings: Settings, left: RemainingParts) -> None:
    screen = settings.screen
    screen.line(f"{left.target} is no longer a target")
    if left.credentials:
        screen.line("Its credentials stay. If nothing else needs them, delete them, and remove the key from the host:")
    for file in left.credentials:
        screen.whole(f"  {file}")
    if left.pool is not None:
        screen.line(f"Pool {left.pool} has no target now; the keys of its agents in agents.yaml stay")
