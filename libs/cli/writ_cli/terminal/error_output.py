"""Output of errors: a readable line on standard error, and with `-o json` or `-o yaml` a document on standard output.

A program reading standard output gets `{"error": {"code", "message", "retry"}}` in every ending without a result, with
`operation_id` if an operation goes on. Where a document has mistakes, `error` has `problems`: each with `line`,
`column`, `message`, and `file` if it was read here.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoSuchCommand, NoSuchOption

from writ_bus.errors import NO_SERVICE
from writ_cli.terminal.exit_status import Exit, of_error
from writ_cli.terminal.output import Screen, visible
from writ_cli.terminal.output_option import DOCUMENTS
from writ_contracts.errors import ConfigError, Invalid, TimedOut, Unreachable, WritError
from writ_contracts.nearest_name import did_you_mean, near, nearest
from writ_documents.document import FileErrors

INTERRUPTED = 130
INCOMPLETE = (
    "the output is incomplete. What was requested may have been done, as `writ op list` and `writ audit search` show"
)


class OperationGoesOn(TimedOut):
    """Raised when waiting ends before the operation does."""

    def __init__(self, message: str, operation_id: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.operation_id = operation_id


def refuse(error: BaseException, form: str = "table") -> int:
    """Print an error, in one line, or in some for each mistake of a file; return its status.

    `WRIT_DEBUG=1` prints the traceback too.
    """
    if os.environ.get("WRIT_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # It may be secret, so it is not shown.
        error = click.UsageError("an argument, a variable of the environment or the name of a file is not UTF-8 text")
    code, message, status = described(error)
    message = visible(message.strip(), newlines=True)
    click.echo(f"writ: {message}", err=True)
    report: dict[str, Any] = {}
    if form in DOCUMENTS:
        retry = isinstance(error, WritError) and error.retry
        report = {"error": {"code": code, "message": message, "retry": retry}}
        if problems := _problems(error):
            report["error"]["problems"] = problems
        if number := _open_operation(error):
            report["operation_id"] = number
    try:
        if report:
            # In YAML it may follow documents of a stream: as one of its own.
            Screen(form).data(report) if form == "json" else Screen(form).item(report)
        sys.stdout.flush()
    except OSError:  # standard output takes no more, such as a file on a full disk; standard error has the message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would fail again
    return status


def described(error: BaseException) -> tuple[str, str, int]:
    """Return code, message and exit status."""
    match error:
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", "interrupted", INTERRUPTED
        case click.ClickException():
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f" (see `{context.command_path} --help`)" if context else ""
            return "usage", _usage_text(error) + hint, Exit.INVALID
        case FileErrors(found=found):
            counted = f"{len(found)} mistakes" if len(found) > 1 else "a mistake"
            return "invalid_document", f"{counted}:\n{error.explained()}", of_error(error)
        case TimedOut() if (number := _open_operation(error)) and not isinstance(error, OperationGoesOn):
            return error.code, f"{error}; it goes on: `writ op watch {number}`", of_error(error)
        case Unreachable() | TimedOut() if str(error).startswith(NO_SERVICE):
            advice = "`writ status` on its machine shows which is away"
            return error.code, f"no service replied: {error}; {advice}", of_error(error)
        case WritError():
            return error.code, str(error), of_error(error)
        case OSError(filename=str(name), strerror=str(reason)):
            return "os_error", f"{name}: {reason}", of_error(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT, strerror=str(reason)):
            return "os_error", f"{reason}: {INCOMPLETE}", of_error(error)
        case ConfigError() | OSError():
            return "configuration" if isinstance(error, ConfigError) else "os_error", str(error), of_error(error)
        case _:
            message = f"defect in writ: {type(error).__name__}: {error}; WRIT_DEBUG=1 shows where"
            return "internal", message, Exit.FAILED


def _problems(error: BaseException) -> list[dict[str, Any]]:
    match error:
        case FileErrors(found=found):
            return [{"file": p.file, "line": p.line, "column": p.column, "message": p.message} for p in found]
        case Invalid(problems=found):
            return [{"line": line, "column": column, "message": message} for line, column, message in found]
        case _:
            return []


def _open_operation(error: BaseException) -> str:
    """Return the operation that goes on: of the client's StillOpen, too, whose module takes long to import."""
    return str(getattr(error, "operation_id", "")) if isinstance(error, TimedOut) else ""


def _usage_text(error: click.ClickException) -> str:
    """Return the message in one line, without the last period, and with a suggestion in our form, not click's."""
    if isinstance(error, NoSuchOption | NoSuchCommand):
        name = error.option_name if isinstance(error, NoSuchOption) else error.command_name
        return error.message.removesuffix(".") + did_you_mean(_near_words(name, error.possibilities or ()))
    text = " ".join(error.format_message().split()).removesuffix(".")  # click lists choices one a line
    return text.replace("is not a valid integer range", "is not a whole number") + _nearest_choice(error)


def _near_words(name: str, possibilities: Sequence[str]) -> list[str]:
    """Return the near ones of click's suggestions, without regard to the dashes of options."""
    bare = {one.lstrip("-"): one for one in possibilities}
    return [bare[one] for one in nearest(name.lstrip("-"), bare, len(bare))]


def _nearest_choice(error: click.ClickException) -> str:
    """Return a suggestion in place of a misspelt choice; "" without one."""
    if not isinstance(error, click.BadParameter) or error.param is None:
        return ""
    if not isinstance(error.param.type, click.Choice):
        return ""
    quoted = re.match(r"'([^']+)' is not one of", error.message)
    return near(quoted[1], map(str, error.param.type.choices)) if quoted else ""
