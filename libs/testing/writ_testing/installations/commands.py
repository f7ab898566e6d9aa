"""Commands of `writ` for tests, each a process of its own.

They are forked from a process that has loaded their modules: that takes a new one 0.3 s of processor time, four times
what the command itself needs, and tests run hundreds.
"""

import asyncio
import atexit
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from writ_installation.processes.child import tie
from writ_testing.installations import command_template
from writ_testing.installations.forked_process import FORKS, ForkedProcess, ForkedStart, at_start, fork, fork_writing

PIPE_BYTES = 65536
"""A pipe takes so many bytes that nobody has read yet (pipe(7))."""


class WritResult:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


class _Template(NamedTuple):
    """The process and its socket. It ends with the socket, or with this process."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def end(self) -> None:
        self.control.close()
        self.process.wait()


async def run_command(
    arguments: Sequence[str], environ: Mapping[str, str], stdin: bytes = b"", folder: Path | None = None
) -> WritResult:
    """Run `writ` with these arguments and variables to its end, in this folder or the present one."""
    start = ForkedStart(arguments=[*arguments], environ={**environ}, folder=str(folder or Path.cwd()))
    template = _template_for(environ)
    if template is None or len(stdin) > PIPE_BYTES:
        return await _run_new_process(start, stdin)
    return await _run_fork(template, start, stdin)


async def start_command(
    arguments: Sequence[str], environ: Mapping[str, str], output: IO[bytes], folder: Path | None = None
) -> ForkedProcess | None:
    """Start `writ` with these arguments and variables, without input. Return None where it needs a new process.

    The services of an installation that it starts are forked, too.
    """
    template = _template_for(environ)
    if template is None:
        return None
    start = ForkedStart(arguments=[*arguments], environ={**environ}, folder=str(folder or Path.cwd()))
    return await fork_writing(template.control, start, output)


async def start_service(
    module: str, environ: Mapping[str, str], output: IO[bytes]
) -> ForkedProcess | asyncio.subprocess.Process:
    """Start `python -m MODULE` without input: forked if `FORKS` is set and the module is one of Writ's, else new.

    Its environment has the variables of this process that Python reads at its start, too.
    """
    given = {**dict(at_start(os.environ)), **environ}
    template = _template_for(given) if os.environ.get(FORKS) and module.startswith("writ_") else None
    if template is not None:
        start = ForkedStart(module=module, arguments=[], environ=given, folder=str(Path.cwd()))
        return await fork_writing(template.control, start, output)
    return await asyncio.create_subprocess_exec(
        *(*tie(), sys.executable, "-m", module),
        env=given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def _template_for(environ: Mapping[str, str]) -> _Template | None:
    variables = at_start(os.environ)
    return _template(variables) if at_start(environ) == variables and _namespaces() == _NAMESPACES else None


def _namespaces() -> list[str]:
    """Return the namespaces of this thread, in which its new processes are: tests enter others for a while."""
    return [str(Path(f"/proc/thread-self/ns/{kind}").readlink()) for kind in ("net", "mnt")]


_NAMESPACES = _namespaces()


async def _run_new_process(start: ForkedStart, stdin: bytes) -> WritResult:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("writ")), *start.arguments),
        cwd=start.folder,
        env=start.environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return WritResult(process.returncode or 0, out.decode(), err.decode())


async def _run_fork(template: _Template, start: ForkedStart, stdin: bytes) -> WritResult:
    with ExitStack() as theirs:
        (in_reader, in_writer), (out, out_writer), (err, err_writer) = os.pipe(), os.pipe(), os.pipe()
        for descriptor in (in_reader, out_writer, err_writer):
            theirs.callback(os.close, descriptor)
        with os.fdopen(in_writer, "wb") as text:
            text.write(stdin)
        process = await fork(template.control, start, (in_reader, out_writer, err_writer))
    status, printed, errors = await asyncio.gather(process.wait(), _all_of(out), _all_of(err))
    return WritResult(status, printed.decode(), errors.decode())


async def _all_of(descriptor: int) -> bytes:
    """Return what is written into a pipe until its end."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        return await reader.read()
    finally:
        transport.close()


@functools.cache
def _template(_variables: frozenset[tuple[str, str]]) -> _Template:
    """Start the process, once for the variables which Python has read by then."""
    control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", command_template.__name__, str(its.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )
    template = _Template(process, control)
    atexit.register(template.end)
    return template
