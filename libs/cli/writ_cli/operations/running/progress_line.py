"""Progress of an operation on a terminal: one line on standard error that is removed at the end.

Without a terminal, or with `-o json`, only hosts and agents that do not reply are shown, and its first reason to wait.
"""

from types import TracebackType
from typing import Self

from rich.text import Text

from writ_cli.operations.running.silence_lines import SilenceLines
from writ_cli.terminal import times
from writ_cli.terminal.output import Screen, visible
from writ_client.operations.operation_events import Event
from writ_contracts import journal
from writ_contracts.agents import Progress


class ProgressLine:
    """`with Live(screen) as live: live.show(event)`."""

    def __init__(self, screen: Screen) -> None:
        self._status = screen.err.status("waiting for a reply", spinner="dots") if screen.live else None
        self._silence = SilenceLines(screen)
        self._reported = ""
        self._until = ""

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def reported(self, reason: str) -> None:
        """Leave out this reason for a wait from now on: it stands above, with the people who can approve."""
        self._reported = reason

    def show(self, event: Event) -> None:
        """Show the latest event; without a terminal what does not reply, or its first reason to wait."""
        if self._status is not None:
            self._status.update(Text(visible(self.text(event))))
        else:
            self._silence.show(event)

    def text(self, event: Event) -> str:
        """Return an event in a few words, without the reported reason."""
        text = event_text(event)
        if not self._reported:
            return text
        if isinstance(event, journal.AwaitingApproval):
            self._until = f"waiting for approval until {times.clock(event.until)}"
            return self._until
        short = text.removesuffix(f": {self._reported}")
        return self._until or short if short != text else text


def event_text(event: Event) -> str:  # noqa: C901 - a table by type
    """Return an event in a few words."""
    match event:
        case Progress():
            return event.message
        case journal.Dispatched():
            return f"dispatched to {event.pool}: waiting for an agent"
        case journal.Granted() | journal.Started():
            return f"started by {event.instance}"
        case journal.CancelRequested():
            return f"{event.by} requested its cancel"
        case journal.AwaitingApproval():
            return waiting_text(event)
        case journal.PreviewTaken():
            return "waiting for approval; its preview is ready"
        case journal.ApprovalGiven():
            return f"approved by {event.approver}; {event.remaining} more needed"
        case journal.Rejected():
            return f"rejected by {event.approver}" + (f": {event.reason}" if event.reason else "")
        case journal.Finished() | journal.Resolved():
            return f"{event.outcome}: {event.message}" if event.message else event.outcome
        case journal.Archived():
            return "archived"
        case journal.Refused():
            return f"{event.outcome}: {event.message}"
        case journal.Unknown():
            return f"unknown: {event.message}"
        case journal.Requested() if event.dispatched is not None:
            return f"{event.verdict.decision}: dispatched to {event.pool}, waiting for an agent"
        case journal.Requested():
            return f"{event.verdict.decision}: {event.verdict.reason}"
        case journal.Approved():
            return f"approved by {event.approver}"


def waiting_text(event: journal.AwaitingApproval) -> str:
    """Return the people who can approve, until when, and the command for them."""
    able = ", ".join(event.approvers[:5]) or "nobody"
    until = times.clock(event.until)
    return f"waiting for approval until {until}; could approve: {able} (writ approvals show {event.operation_id})"
