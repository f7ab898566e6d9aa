"""Warn before a change of the folder's principals after which nobody could govern the installation any more.

An operation that does so is denied (`lock_out`). The owner of the folder may do it, but has to know.
"""

import time
from collections.abc import Mapping

import click

from writ_cli.context.settings import Settings
from writ_cli.terminal.output import visible
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import ConfigError
from writ_contracts.inventory import Principal
from writ_contracts.people.principal_changes import changed, is_active
from writ_documents.document import FileErrors
from writ_installation.files.principal_changes import principals_of
from writ_rules.analysis.lockout import Lockout, lockouts
from writ_rules.setting import read_policy
from writ_runtime.plugins.entry_points import load_catalogue

RESTRICTING = ("disable", "remove", "set_roles")


def warn_of_lockout(settings: Settings, change: PrincipalManage) -> None:
    """Print a warning for the first lockout that the change makes, by the folder's policy file if it can be used."""
    if change.action not in RESTRICTING or settings.context is not None or not settings.home.policy.exists():
        return
    before = principals_of(settings.home)
    try:
        there, made = _lockouts(settings, before), _lockouts(settings, changed(before, change))
    except (ConfigError, FileErrors, OSError):
        return
    known = {one.operation for one in there}
    if new := [one for one in made if one.operation not in known]:
        click.echo(visible(f"writ: warning: with this change {new[0].text}"), err=True)


def _lockouts(settings: Settings, principals: Mapping[str, Principal]) -> list[Lockout]:
    policy = read_policy(settings.home.policy, load_catalogue(evaluators=True), "permissive").policy
    return lockouts(policy, [one for one in principals.values() if is_active(one, principals)], time.time())
