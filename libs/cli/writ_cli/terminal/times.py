"""Times of the command line: `2h` ago, an ISO 8601 instant; and local time for the screen."""

import re
from datetime import UTC, datetime

from writ_contracts.errors import Invalid
from writ_runtime.durations import span as span

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_time_field = re.compile(r"(.*_)?(at|until|since)|expires|created|deadline|start_by|confirm_by").fullmatch
_NO_DATE = (OverflowError, ValueError, OSError)
_span = re.compile(r"(\d{1,9})([smhdw])").fullmatch


def seconds(text: str) -> float:
    """Return `90`, `90s`, `15m`, `2h`, `7d` or `1w` in seconds; raises Invalid."""
    if match := _span(text):
        return float(int(match[1]) * _SECONDS[match[2]])
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e10:
        raise Invalid(f"{text!r} is not a time span such as 90s, 15m, 2h or 7d")
    return value


def lifetime(option: str, text: str) -> float:
    """Return a duration with its unit in seconds: a bare number may have been meant as minutes or days. Raises
    Invalid.
    """
    if text.isascii() and text.isdigit():
        short = text[:20]
        raise Invalid(f"{option} {short}: the unit is missing: {short}s, {short}m, {short}h or {short}d?")
    try:
        return seconds(text)
    except Invalid as error:
        raise Invalid(f"{option}: {error}") from None


def instant(text: str, *, now: float) -> float:
    """Return the Unix seconds of an ISO 8601 time (local time without a zone), or of a duration before `now`."""
    if _span(text):
        return now - seconds(text)
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise Invalid(f"{text!r} is neither a span such as 2h nor a time such as 2026-11-25T14:30") from None


def clock(at: float) -> str:
    """Return the time of day, to the millisecond, in local time."""
    return _formatted(at, "%H:%M:%S.%f", cut=3)


def date(at: float) -> str:
    """Return date and time of day in local time, with its offset."""
    return _formatted(at, "%Y-%m-%d %H:%M:%S%z")


def iso(at: float) -> str:
    """Return the instant in UTC, as ISO 8601 has it."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except _NO_DATE:
        return f"{at:g} s"


def _formatted(at: float, form: str, cut: int = 0) -> str:
    """Return a local time, and an instant that no calendar has as its seconds.

    A forged event with such a time, or a stop until the end of 9999, would otherwise keep all output from being shown.
    """
    try:
        text = datetime.fromtimestamp(at, UTC).astimezone().strftime(form)
    except _NO_DATE:
        return f"{at:g} s"
    return text[:-cut] if cut else text


def is_time_field(name: str) -> bool:
    """Return whether numbers of fields of this name are Unix seconds."""
    return _time_field(name) is not None
