"""Structured logs on standard error: a dotted event name and fields, never a sentence with values in it.

JSON lines for programs, aligned text for people. The standard library's logging is underneath, so messages of
libraries have the same form. Fields must not hold secrets: no check here can find them.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

import msgspec

Context = Callable[[], Mapping[str, str]]

_bound: ContextVar[Mapping[str, object]] = ContextVar("writ_log_fields", default={})  # noqa: B039 - never written to
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "fields"}
_JOURNAL_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Log:
    """A named source of events. Expected failures are `info` or `warning`; an `error` needs a person."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        """Log details for debugging."""
        self.write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Log an expected event or refusal."""
        self.write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log a deviation after which Writ goes on."""
        self.write(logging.WARNING, event, fields)

    def error(self, event: str, /, *, exception: BaseException | None = None, **fields: object) -> None:
        """Log a defect or a loss; with `exception` its traceback, too."""
        self.write(logging.ERROR, event, fields, exception)

    def is_enabled(self, level: int) -> bool:
        """Return whether events of this level are logged."""
        return self._logger.isEnabledFor(level)

    def write(
        self, level: int, event: str, fields: Mapping[str, object], exception: BaseException | None = None
    ) -> None:
        """Log at a computed level (a number of the standard library)."""
        if self.is_enabled(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=exception)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add these fields (operation, correlation, …) to every event logged in the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(service: str, level: str, form: str, *, context: Context = dict, stream: TextIO | None = None) -> None:
    """Direct all logs of the process to standard error. `context` gives fields of the moment, such as trace ids."""
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    formatter = ConsoleFormatter(service, context) if console else JsonFormatter(service, context)
    handler.setFormatter(JournalFormatter(formatter) if is_journal(stream) else formatter)
    logging.basicConfig(level=_LEVELS[level], handlers=[handler], force=True)


def is_journal(stream: TextIO) -> bool:
    """Return whether systemd's journal reads the stream, by `JOURNAL_STREAM` of systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a closed stream, or one without a descriptor
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalFormatter(logging.Formatter):
    """Lines of another formatter, each event with its priority before it: `<3>` and others, as in sd-daemon(3). The
    journal removes that again.
    """

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the text with its priority before it."""
        return f"<{_JOURNAL_PRIORITIES.get(record.levelno, 6)}>{self._form.format(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, beginning with `time`, `level`, `service`, `event`."""

    def __init__(self, service: str, context: Context) -> None:
        super().__init__()
        self._service = service
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end. A field which JSON cannot hold is shown as text."""
        head = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
        }
        fields = {**self._context(), **fields_of(record)}
        try:
            return _encode({**head, **fields, **head})
        except (TypeError, ValueError, RecursionError):  # a lone surrogate of a file name, a dict with odd keys, …
            return _encode({key: ascii(value) for key, value in {**head, **fields}.items()} | head)


class ConsoleFormatter(logging.Formatter):
    """Time, level, event and `key=value` fields for a person. Control characters never reach the terminal."""

    def __init__(self, service: str, context: Context) -> None:
        super().__init__()
        self._service = service
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it if there is one."""
        fields = {**self._context(), **fields_of(record)}
        traceback = fields.pop("traceback", "")
        words = [f"{key}={_visible(value)}" for key, value in fields.items()]
        head = f"{_time(record)[11:23]} {record.levelname.lower():7} {self._service} {_visible(record.getMessage())}"
        return " ".join([head, *words]) + (f"\n{traceback}" if traceback else "")


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return bound fields, a library's `extra`, the event's own fields and the exception, in that order."""
    extra = {key: value for key, value in vars(record).items() if key not in _PLAIN}
    fields = {**_bound.get(), **extra, **getattr(record, "fields", {})}
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _encode(line: Mapping[str, object]) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _visible(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
