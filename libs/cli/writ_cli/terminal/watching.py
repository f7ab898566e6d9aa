"""`--watch`: a list again and again, shown whenever it has changed, until the user interrupts it."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout

import click

EVERY = 2.0
"""Seconds between two reads; a list costs its services a few milliseconds."""


async def watched(
    show: Callable[[], Awaitable[int | None]], *, every: float = EVERY, times: int | None = None
) -> int | None:
    """Show the list, and again when it has changed; the status of the last time. `times`: no more often than that."""
    before, status, left = None, None, times
    while left is None or left > 0:
        paper = io.StringIO()
        with redirect_stdout(paper):
            status = await show()
        if (text := paper.getvalue()) != before:
            if sys.stdout.isatty():
                click.clear()
            click.echo(text, nl=False)
            sys.stdout.flush()
        before, left = text, None if left is None else left - 1
        if left != 0:
            await asyncio.sleep(every)
    return status
