"""`--watch`: a list again and again, shown whenever it has changed, until the user interrupts it."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout

import click

from writ_cli.terminal.output import YAML_START, visible
from writ_contracts.errors import TimedOut, Unreachable

EVERY = 2.0
"""Seconds between two reads; a list costs its services a few milliseconds."""


async def watched(
    show: Callable[[], Awaitable[int | None]], *, every: float = EVERY, times: int | None = None, form: str = "table"
) -> int | None:
    """Show the list, and again when it has changed; the status of the last time. `times`: no more often than that;
    in the form `yaml` each is a document of a stream.

    Once it was shown, a read without a reply does not end it: the reason is written to standard error.
    """
    before, status, left, problem = None, None, times, ""
    while left is None or left > 0:
        paper = io.StringIO()
        try:
            with redirect_stdout(paper):
                status = await show()
        except (Unreachable, TimedOut) as error:
            if before is None:
                raise
            if str(error) != problem:
                problem = str(error)
                click.echo(visible(f"writ: {problem}; still watching"), err=True)
            await asyncio.sleep(every)
            continue
        if problem:
            problem, before = "", None
        if (text := paper.getvalue()) != before:
            if sys.stdout.isatty():
                click.clear()
            click.echo(YAML_START + text if form == "yaml" else text, nl=False)
            sys.stdout.flush()
        before, left = text, None if left is None else left - 1
        if left != 0:
            await asyncio.sleep(every)
    return status
