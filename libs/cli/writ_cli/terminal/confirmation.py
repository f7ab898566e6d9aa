"""Questions before an action that cannot be taken back."""

import sys

import click


def confirm(question: str, *, yes: bool, without_terminal: str) -> None:
    """Ask, unless `yes`. Raises Abort for a no, and UsageError with this message where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(without_terminal)
    click.confirm(question, abort=True, err=True)
