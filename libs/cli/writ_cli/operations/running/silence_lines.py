"""Lines on standard error about hosts and agents that do not reply: one for each, also where nobody watches."""

import click

from writ_cli.terminal.output import Screen, visible
from writ_client.operations.operation_events import Event
from writ_contracts.agents import Progress

MOST = 100
"""More names than these get no line: agents send them."""


class SilenceLines:
    """Writes each silent host or agent once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._named: set[str] = set()

    def show(self, event: Event) -> None:
        """Write a line if the event reports a host or agent that was not reported before."""
        if not isinstance(event, Progress) or not event.silent or event.silent in self._named:
            return
        if len(self._named) < MOST:
            self._named.add(event.silent)
            self._write(visible(f"writ: {event.message}"))

    def _write(self, line: str) -> None:
        if self._screen.live:  # above the line of progress
            self._screen.err.print(line, soft_wrap=True)
        else:
            click.echo(line, err=True)
