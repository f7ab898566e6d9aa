"""The standard output and error of the process: there always, and able to take any text."""

import io
import os
import sys


def prepare() -> None:
    """Open the null device in place of a closed stream (`>&-`), so that nothing else gets its number. Text that the
    encoding of a stream lacks, such as a name in a Latin-1 terminal, is written as its escape: what was done is done.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w"))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")
