"""`writ target sudoers`: the rule of sudo by which the user of an SSH target may become root."""

import click

from writ_cli import completion
from writ_cli.exit_status import Exit
from writ_cli.installation.known_target import known_target
from writ_cli.options import local
from writ_cli.settings import Settings
from writ_contracts.errors import Invalid
from writ_installation.administration.targets import SSH, ask_agent


@click.command("sudoers")
@click.argument("name", shell_complete=completion.targets)
@local
async def sudoers(settings: Settings, name: str) -> int:
    """Print the rule of sudo that target NAME with `become: sudo` needs, for /etc/sudoers.d/writ on its host.

    The rule names one exact command. Whoever has the target's key can have it run anything as root; keep that key as
    you would keep root's.
    """
    target = known_target(settings, name)
    user = str(target.connection.get("user", ""))
    if target.backend != SSH or not user:
        raise Invalid(f"{name} is no target over SSH")
    rule = ask_agent(SSH, ["sudoers", user])["rule"]
    if settings.screen.json:
        settings.screen.data({"target": name, "rule": rule})
        return Exit.DONE
    settings.screen.whole(rule)
    if "become" not in target.connection:
        click.echo(f"{name} does not use it yet: writ target set {name} connection.become=sudo", err=True)
    return Exit.DONE
