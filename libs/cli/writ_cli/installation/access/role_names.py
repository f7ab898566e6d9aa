"""Check the roles that a principal gets: a misspelt one would grant nothing, and nobody would see why.

A role counts as known if a rule of the installation's policy file names it, or a principal has it. Without a
policy file that can be read, no role is refused.
"""

from collections.abc import Iterable

import click

from writ_cli.context.settings import Settings
from writ_cli.terminal.output import visible
from writ_contracts.bounds import first_names
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.inventory import SCANNER
from writ_contracts.nearest_name import near
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_installation.files.principal_changes import principals_of
from writ_rules.analysis.role_names import named_roles
from writ_rules.loading import shaped
from writ_runtime.plugins.entry_points import load_catalogue

MOST_NAMED = 12

new_role_option = click.option(
    "--new-role", is_flag=True, help="Accept a role that no rule of the policy names and no principal has."
)


def check_roles(settings: Settings, roles: Iterable[str], *, new_role: bool) -> None:
    """Raises Invalid for a role that neither the policy nor a principal has, unless it is to be a new one."""
    asked = list(dict.fromkeys(roles))
    known = _known(settings) if asked and not new_role else None
    unknown = [] if known is None else [role for role in asked if role not in known]
    if known is None or not unknown:
        return
    hint = near(unknown[0], known) or f"; there are {first_names(sorted(known), MOST_NAMED)}."
    text = f"no rule of the policy names role {unknown[0][:80]!r}, and no principal has it{hint}"
    raise Invalid(f"{text} Or take it as it is: --new-role")


def _known(settings: Settings) -> set[str] | None:
    """Return the known roles; None where the policy file is of another machine, or cannot be read."""
    elsewhere = settings.context is not None or settings.environ.get("NATS_URL")
    if elsewhere or not settings.home.policy.exists():
        return None
    try:
        document = yaml_file.read(settings.home.policy)
        named = named_roles(shaped(document, load_catalogue(evaluators=True), "permissive"))
        held = {role for one in principals_of(settings.home).values() for role in one.roles}
    except (ConfigError, FileErrors, OSError) as error:
        text = f"writ: roles are not compared with the policy, since {settings.home.policy} cannot be used: {error}"
        click.echo(visible(text.splitlines()[0]), err=True)
        return None
    return {*named, *held, SCANNER}
