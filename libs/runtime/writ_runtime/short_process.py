"""A process that does one piece of work and ends, so that its memory and its hold on the interpreter end with it."""

import os
import subprocess
from collections.abc import Collection
from mmap import mmap
from typing import BinaryIO

from writ_runtime import subprocess_env


def run_once(
    module: str, *arguments: str, given: bytes = b"", seconds: float, statuses: Collection[int]
) -> tuple[int, mmap]:
    """Run the module with `given` as its standard input, and return its exit status and its output.

    Raises OSError and SubprocessError if the system lacks memfd_create(2), if the process does not start, does not end
    in time, or has a status that is not among `statuses`, and ValueError for no output. Call it in a thread.

    The output is in memory (`memfd_create(2)`) and mapped, since reading would leave its size to the thread. The
    process has a group of its own, so a Ctrl-C does not reach it.
    """
    command = subprocess_env.command(module, *arguments)
    with _memory("given") as source, _memory("reading") as answer:
        source.write(given)
        source.seek(0)
        status = subprocess.run(
            command,
            env=subprocess_env.environment(),
            stdin=source,
            stdout=answer,
            timeout=seconds,
            process_group=0,
            check=False,
        ).returncode
        if status not in statuses:
            raise subprocess.CalledProcessError(status, command)
        return status, mmap(answer.fileno(), 0)  # not closed explicitly: that fails while an error holds parts of it


def is_possible() -> bool:
    """Return whether this system has memfd_create(2)."""
    return hasattr(os, "memfd_create")


def _memory(name: str) -> BinaryIO:
    if not is_possible():
        raise OSError("this system has no memfd_create(2)")
    return os.fdopen(os.memfd_create(name), "w+b", buffering=0)
