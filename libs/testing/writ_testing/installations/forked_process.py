"""A process forked by a `CommandTemplate` for this one: its pid, its signals and its exit status."""

import asyncio
import atexit
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Struct

FORKS = "TEST_FORKS"
"""Variable of the environment: if it has a value, the processes of installations are forked."""
AT_START = ("PYTHON", "LC_", "LANG", "TZ")
"""Beginnings of the names of variables that Python reads when it starts."""
TEMPLATE_ENDED = -signal.SIGKILL
"""Status of a process whose template has ended: it dies with it."""


class ForkedStart(Struct, frozen=True, kw_only=True):
    """What differs from process to process."""

    arguments: Sequence[str]
    environ: dict[str, str]
    folder: str
    module: str = ""
    """Of a service, which is to run as `python -m` does; "" for a command of `writ`."""


class ForkedProcess:
    """Has those attributes and methods of `asyncio.subprocess.Process` that supervisors use, in one event loop."""

    def __init__(self, pid: int, reply: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reply = reply
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(reply, self._read_status)

    def _read_status(self) -> None:
        status = self._reply.recv(16)
        self.returncode = int(status) if status else TEMPLATE_ENDED
        self._loop.remove_reader(self._reply)
        self._reply.close()
        self._ended.set()

    async def wait(self) -> int:
        """Return its exit status, or minus the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def at_start(environ: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the variables that a forked process has to have in common with its template."""
    return frozenset((name, value) for name, value in environ.items() if name.startswith(AT_START))


async def fork_writing(control: socket.socket, start: ForkedStart, output: IO[bytes]) -> ForkedProcess:
    """Let the template fork a process without input, whose output and errors go to this file."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        return await fork(control, start, (nothing, output.fileno(), output.fileno()))
    finally:
        os.close(nothing)


async def fork(control: socket.socket, start: ForkedStart, streams: Sequence[int]) -> ForkedProcess:
    """Let the template at this socket fork a process with these three standard streams."""
    reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(control, [msgspec.json.encode(start)], [*streams, theirs.fileno()])
    reply.setblocking(False)
    try:
        pid = await asyncio.get_running_loop().sock_recv(reply, 16)
        if not pid:
            raise AssertionError("the process from which others are forked has ended")
        return ForkedProcess(int(pid), reply)
    except BaseException:
        reply.close()
        raise


def run_to_quick_end(work: Callable[[], None]) -> None:
    """Do this work. At its `sys.exit`, end the process as Python does, but let the kernel release the memory.

    Python would release each object, and for that copy each page that the process shares with its template.
    """
    try:
        work()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        status = ended.code or 0
    else:
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()  # tasks and coroutines say what is wrong with their end when they are released
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(status)  # Python says what could not be written
    os._exit(status)
