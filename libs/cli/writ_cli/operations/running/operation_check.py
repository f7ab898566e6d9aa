"""Refuses a misspelt operation or target, and parameters that break its schema, before they become a record."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import click

from writ_cli.arguments import suggestions
from writ_cli.arguments.usual_names import usual_operation
from writ_cli.context.settings import Settings
from writ_cli.terminal.output import visible
from writ_client.client import Writ
from writ_contracts.errors import Invalid, WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.nearest_name import near, near_glob
from writ_runtime.plugins.entry_points import load_catalogue


async def refuse_unknown(writ: Writ, operation: str) -> None:
    """Raises Invalid (`unknown_operation`). Queries the installation, which may have other plugins."""
    catalogue = load_catalogue()
    if operation in catalogue:
        return
    offered = {name for target in await writ.targets() for name in target.operations}
    if operation not in offered:
        hint = usual_operation(operation, {*catalogue, *offered}) or "; `writ operations` lists them"
        raise Invalid(f"no operation {operation!r}{hint}", code="unknown_operation")


async def refuse_misspelt_target(settings: Settings, writ: Writ, target: str) -> None:
    """Raises Invalid (`unknown_target`) for a target that is not in the inventory.

    The installation's files have all targets. A running Writ lists those of the principal: then only a name like a
    listed one is misspelt, and any other is sent, so that a request for a hidden target is on record.
    """
    if target == WRIT_TARGET:
        return
    if (known := suggestions.inventory_targets(settings)) is not None:
        if target not in known:
            hint = near(target, known) or "; `writ target list` lists them"
            raise Invalid(f"no target {target!r} in the inventory{hint}", code="unknown_target")
        return
    try:
        hint = await writ.similar_target(target)
    except WritError:  # such as `policy_silent`: the request itself fails with the reason
        return
    if hint:
        raise Invalid(f"no target {target!r} among those that you may list{hint}", code="unknown_target")


async def warn_of_globs_without_targets(writ: Writ, globs: Iterable[str]) -> None:
    """Warn where a glob of what is in force now names no target: it may be misspelt, or for targets to come."""
    try:
        listed = [one.id for one in await writ.targets()]
    except WritError:  # such as `policy_silent`: what was requested is done all the same
        return
    for glob in globs:
        if glob != WRIT_TARGET and not any(fnmatchcase(one, glob.replace("[", "[[]")) for one in listed):
            text = f"writ: {glob!r} names no target that you may list now{near_glob(glob, listed)}"
            click.echo(visible(text), err=True)


def refuse_wrong_parameters(operation: str, parameters: Mapping[str, Any]) -> None:
    """Raises Invalid (`invalid_parameters`) with all mistakes; an operation of the server alone is not checked."""
    definition = load_catalogue().get(operation)
    if definition is not None:
        definition.check(parameters)
