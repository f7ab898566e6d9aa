"""`writ target sudoers|leftovers`: the rights Writ needs on the host of an SSH target, and its files there."""

from collections.abc import Iterable

import click

from writ_cli.arguments import completion
from writ_cli.arguments.options import in_installation
from writ_cli.context.settings import Settings
from writ_cli.installation.targets.target_lookup import known_target
from writ_cli.terminal.exit_status import Exit
from writ_contracts.backends import SSH
from writ_contracts.errors import Invalid
from writ_contracts.plural import plural
from writ_installation.administration.host_leftovers import HostLeftovers, host_leftovers
from writ_installation.administration.targets import ask_agent


@click.command("sudoers")
@click.argument("name", shell_complete=completion.targets)
@in_installation
async def sudoers(settings: Settings, name: str) -> int:
    """Print the sudo rule of target NAME with `become: sudo`, for /etc/sudoers.d/writ on its host.

    The rule names one exact command, which runs the code it reads: anyone with the target's key, and every program of
    that user, can become root by it. Use a user of Writ's own, or leave out NOPASSWD and give the agent the password.
    """
    target = known_target(settings, name)
    user = str(target.connection.get("user", ""))
    if target.backend != SSH or not user:
        raise Invalid(f"{name} is not a target over SSH")
    rule = ask_agent(SSH, ["sudoers", user])["rule"]
    if settings.screen.json:
        settings.screen.data({"target": name, "rule": rule})
        return Exit.DONE
    settings.screen.whole(rule)
    if "become" not in target.connection:
        click.echo(f"{name} does not use it yet: writ target set {name} connection.become=sudo", err=True)
    return Exit.DONE


@click.command("leftovers")
@click.argument("name", shell_complete=completion.targets)
@in_installation
async def leftovers(settings: Settings, name: str) -> int:
    """List Writ's files on the host of target NAME: folders, and lines of authorized_keys with the target's key.

    `writ target remove NAME --clean` removes the folders.
    """
    found = host_leftovers(settings.home, known_target(settings, name), settings.environ, "leftovers")
    if settings.screen.json:
        settings.screen.data(found)
    else:
        show_leftovers(settings, found, gone=False)
    return Exit.DONE


def show_leftovers(settings: Settings, found: Iterable[HostLeftovers], *, gone: bool) -> None:
    """Show folders, present or removed, and the keys for people to remove."""
    for one in found:
        state = "removed" if gone else "there"
        settings.screen.line(
            f"{state}: {one.folder} of {one.user}, {plural(one.files, 'file')}, {plural(one.bytes, 'byte')}"
        )
        if one.others:
            settings.screen.line(f"  not Writ's, and kept: {', '.join(one.others)}")
        if one.running:
            settings.screen.line(f"  running there now: {plural(one.running, 'operation')}")
        for place in one.keys:
            settings.screen.line(f"  the target's key is in {place}: remove that line there")
