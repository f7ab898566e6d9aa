"""Questions before an action that cannot be taken back."""

import sys

import click

from writ_runtime.signals import interruptible


def confirm(question: str, *, yes: bool, without_terminal: str) -> None:
    """Ask, unless `yes`. Raises Abort for a no, and UsageError with this message where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(without_terminal)
    ask(question)


def ask(question: str) -> None:
    """Ask a person at the terminal. Raises Abort for a no."""
    with interruptible():
        click.confirm(question, abort=True, err=True)


def is_the_same() -> bool:
    """Return whether a person at the terminal confirms what the command has shown; only `yes` in full does."""
    with interruptible():
        answer = click.prompt("Is it the same? (yes or no)", prompt_suffix=": ", err=True)
    return str(answer).strip().lower() == "yes"


def confirmed(question: str, *, without_answer: str) -> bool:
    """Ask, also where the answer comes through a pipe. Raises UsageError with this message where the input has none."""
    try:
        with interruptible():
            return click.confirm(question, default=False, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError) and not sys.stdin.isatty():
            click.echo(err=True)  # the question stands on the line
            raise click.UsageError(without_answer) from None
        raise
