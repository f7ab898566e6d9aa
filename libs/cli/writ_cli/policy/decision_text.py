"""Decisions and lists of names on a screen, and instants of options."""

import time
from collections.abc import Sequence

import click
from rich.text import Text

from writ_cli.terminal import times
from writ_contracts.bounds import first_names

_STYLES = {"allow": "green", "deny": "red", "require_approval": "yellow", "invalid": "red"}
MOST_NAMES = 6
AT = click.option("--at", "moment", metavar="WHEN", help="Only at this instant (2026-11-25T14:30).")


def decision(word: str) -> Text:
    """Return a decision in its colour."""
    return Text({"require_approval": "approval needed"}.get(word, word), style=_STYLES.get(word, ""))


def instant_option(text: str | None) -> float | None:
    """Return the instant of an option. Raises Invalid."""
    return None if text is None else times.instant(text, now=time.time())


def names(every: Sequence[str]) -> str:
    return first_names(every, MOST_NAMES)
