"""The standard streams of the process: there always, and output that takes any text."""

import codecs
import io
import os
import sys
from typing import Any

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""By their numbers."""


def prepare() -> None:
    """Open the null device in place of a closed stream (`>&-`), so that nothing else gets its number. Text that the
    encoding of an output lacks, such as a name in a Latin-1 terminal, is written as its escape: what was done is done.
    """
    codecs.register_error("writ", escaped)
    for number, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            _open_null(number)
            setattr(sys, name, os.fdopen(number, mode))
        stream: Any = getattr(sys, name)
        if number and isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="writ")


def escaped(error: UnicodeError) -> tuple[str, int]:
    """Return the text that cannot be encoded in escapes of JSON, which other escapes would make invalid; and its end.

    Raises the error if it is not about encoding.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _open_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, number)
    if null != number:
        os.close(null)
    os.set_inheritable(number, True)
