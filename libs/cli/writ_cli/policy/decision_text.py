"""Decisions on a screen, and instants of options."""

import time

import click
from rich.text import Text

from writ_cli import times
from writ_cli.exit_status import Exit

_STYLES = {"allow": "green", "deny": "red", "require_approval": "yellow", "invalid": "red"}
_STATUS = {"allow": Exit.DONE, "require_approval": Exit.PENDING, "deny": Exit.DENIED}
AT = click.option("--at", "moment", metavar="WHEN", help="At this instant (2026-11-25T14:30), not at any time.")


def decision(word: str) -> Text:
    """Return a decision in its colour."""
    return Text({"require_approval": "approval needed"}.get(word, word), style=_STYLES.get(word, ""))


def status_of(word: str) -> Exit:
    """Return the exit status for a decision: 0 allowed, 4 an approval is needed, 3 denied."""
    return _STATUS.get(word, Exit.INVALID)


def instant_option(text: str | None) -> float | None:
    """Return the instant of an option. Raises Invalid."""
    return None if text is None else times.instant(text, now=time.time())
