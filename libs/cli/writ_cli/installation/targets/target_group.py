"""The group `writ target` with all of its subcommands."""

import click

from writ_cli.arguments.lazy_group import LazyGroup

_EDITS, _ACCESS = "writ_cli.installation.targets.target_edits", "writ_cli.installation.targets.target_access"


@click.group(
    cls=LazyGroup,
    places={
        "list": "writ_cli.installation.targets.target_list:list_targets",
        "show": f"{_EDITS}:show",
        "test": "writ_cli.installation.targets.target_test:test_targets",
        "add": "writ_cli.installation.targets.target_add:add",
        "set": f"{_EDITS}:set_",
        "tag": f"{_EDITS}:tag",
        "rename": f"{_EDITS}:rename",
        "repin": f"{_EDITS}:repin",
        "sudoers": f"{_ACCESS}:sudoers",
        "leftovers": f"{_ACCESS}:leftovers",
        "remove": f"{_EDITS}:remove",
    },
)
def target() -> None:
    """Targets: list, test, add, change and remove them."""
