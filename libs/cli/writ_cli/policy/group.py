"""The group `writ policy` with all of its subcommands."""

import click

from writ_cli.arguments.lazy_group import LazyGroup


@click.group(
    cls=LazyGroup,
    places={
        "init": "writ_cli.policy.init:init",
        "convert": "writ_cli.policy.convert:convert",
        "validate": "writ_cli.policy.validate:validate",
        "format": "writ_cli.policy.format_files:format_command",
        "test": "writ_cli.policy.test_suites:test",
        "eval": "writ_cli.policy.evaluate:evaluate",
        "explain": "writ_cli.policy.explain:explain",
        "matrix": "writ_cli.policy.matrix:matrix",
        "can-i": "writ_cli.policy.permissions:can_i",
        "who-can": "writ_cli.policy.permissions:who_can",
        "allowed": "writ_cli.policy.permissions:allowed",
        "diff": "writ_cli.policy.diff:diff",
        "status": "writ_cli.policy.versions:status",
        "publish": "writ_cli.policy.versions:publish",
        "history": "writ_cli.policy.versions:history",
        "show": "writ_cli.policy.versions:show",
        "rollback": "writ_cli.policy.versions:rollback",
        "recover": "writ_cli.policy.recover:recover",
    },
)
def policy() -> None:
    """Policies: show, test, explain and change them."""
