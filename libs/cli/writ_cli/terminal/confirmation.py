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


def confirmed(question: str, *, without_answer: str) -> bool:
    """Ask, also where the answer comes through a pipe. Raises UsageError with this message where the input has none."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError) and not sys.stdin.isatty():
            click.echo(err=True)  # the question stands on the line
            raise click.UsageError(without_answer) from None
        raise
