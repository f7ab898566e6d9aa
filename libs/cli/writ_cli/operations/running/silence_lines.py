"""Lines on standard error where nobody watches: the first reason for which an operation waits.

Hosts and agents that do not reply have a line each, on a terminal too.
"""

import click

from writ_cli.terminal.output import Screen, visible
from writ_client.operations.operation_events import Event
from writ_contracts.agents import Progress

FOR_APPROVAL = "waits for an approval"
MOST = 100
"""More names than these get no line: agents send them."""


class SilenceLines:
    """Writes each silent host or agent once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._named: set[str] = set()
        self._waiting: set[str] = set()

    def show(self, event: Event) -> None:
        """Write a line if the event reports a host, an agent or a reason to wait that was not reported before."""
        if not isinstance(event, Progress):
            return
        named = event.silent or self._new_wait(event)
        if named and named not in self._named and len(self._named) < MOST:
            self._named.add(named)
            self._write(visible(f"writ: {event.message}"))

    def _new_wait(self, event: Progress) -> str:
        """Return an operation's first reason to wait. For people, those who can approve are shown elsewhere."""
        message = event.message
        if self._screen.live or not message.startswith("waits for ") or event.operation_id in self._waiting:
            return ""
        if message.startswith(FOR_APPROVAL) and not self._screen.json:
            return ""
        self._waiting.add(event.operation_id)
        return message

    def _write(self, line: str) -> None:
        if self._screen.live:  # above the line of progress
            self._screen.err.print(line, soft_wrap=True)
        else:
            click.echo(line, err=True)
