"""The process from which commands of `writ` are forked: it has loaded their modules, and does nothing else.

Each message on its socket is the JSON of a `ForkedStart`, with four descriptors: the command's standard streams, and a
socket for its pid and its exit status. It ends with the process that has the other end of its socket, and its commands
with it. `writ up` gets a template of its own: its services are forked from that. What `writ up --detach` starts is
forked from that command, and outlives it.
"""

import asyncio
import gc
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module, reload
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from writ_cli.__main__ import main as command
from writ_cli.main import PLACES
from writ_hostops.syscalls import die_with_parent
from writ_installation.backends import MODULE, Argv
from writ_installation.processes import child
from writ_installation.supervisor import detached_start
from writ_runtime import faults
from writ_testing.installations.forked_process import (
    ForkedProcess,
    ForkedStart,
    at_start,
    fork_writing,
    run_to_quick_end,
)

LARGEST = 1 << 20
"""Bytes of a message."""
SERVICES = ("writ_policy", "writ_executor", "writ_audit", "writ_agent_local")
"""The services that every installation starts. What another one needs besides is loaded when it is started first."""
GATEWAY = "writ_gateway.http"


class CommandTemplate:
    """The sockets and processes of the template."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}
        self._loaded = set[str]()

    def serve(self) -> ForkedStart | None:
        """Fork a command for each message. Return None at the end of the socket, and in a fork what it has to run."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._running:
                    self._report(key.fd)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._control, LARGEST, 4)
                if not data:
                    return None
                start = msgspec.json.decode(data, type=ForkedStart)
                if is_installation(start) or is_detached(start):
                    self._load(*SERVICES, *([GATEWAY] if "--gateway" in start.arguments else []))
                elif start.module:
                    self._load(start.module)
                if self._is_fork(descriptors):
                    return start

    def _load(self, *services: str) -> None:
        """Import the modules of these services, but for their `__main__`, which each process runs itself."""
        missing = set(services) - self._loaded
        if not missing:
            return
        load(f"{service}.__main__" for service in sorted(missing))
        for service in missing:
            del sys.modules[f"{service}.__main__"]
        self._loaded |= missing

    def _is_fork(self, descriptors: list[int]) -> bool:
        *streams, reply = descriptors
        pid = os.fork()
        if pid:
            ended = os.pidfd_open(pid)
            self._running[ended] = (pid, reply)
            self._selector.register(ended, selectors.EVENT_READ)
            _send(reply, pid)
        else:
            die_with_parent()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            self._control.close()
            self._selector.close()
            for ended, (_, other) in self._running.items():
                os.close(ended)
                os.close(other)
            os.close(reply)
        for stream in streams:
            os.close(stream)
        return pid == 0

    def _report(self, ended: int) -> None:
        pid, reply = self._running.pop(ended)
        self._selector.unregister(ended)
        os.close(ended)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _send(reply, status)
        os.close(reply)


def _send(reply: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(reply, str(number).encode())


def is_installation(start: ForkedStart) -> bool:
    return not start.module and start.arguments[:1] == ["up"] and "--detach" not in start.arguments


def is_detached(start: ForkedStart) -> bool:
    return not start.module and start.arguments[:1] == ["up"] and "--detach" in start.arguments


def load(modules: Iterable[str]) -> None:
    """Import these modules, and exempt them from the garbage collector."""
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()


def fork_services() -> ForkedStart | None:
    """Let the services that this process starts be forked from a new template. Return None in this process, and in a
    fork what it has to run.
    """
    control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        its.close()
        child.start_process = ServiceForks(control).start  # type: ignore[assignment]
        return None
    control.close()
    os.setsid()
    die_with_parent()
    return CommandTemplate(its).serve() or sys.exit()


class ServiceForks:
    """Starts services by a template, those apart that need an interpreter of their own."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._new_process = child.start_process

    async def start(
        self, argv: Argv, environ: Mapping[str, str], output: IO[bytes]
    ) -> asyncio.subprocess.Process | ForkedProcess:
        """As `writ_installation.processes.child.start_process`."""
        *interpreter, module = argv
        if tuple(interpreter) != MODULE or at_start(environ) - at_start(os.environ):
            return await self._new_process(argv, environ, output)
        start = ForkedStart(module=module, arguments=[], environ={**environ}, folder=str(Path.cwd()))
        return await fork_writing(self._control, start, output)


def fork_detached() -> ForkedStart | None:
    """Let `writ up --detach` fork what it starts. Return None in this process, and in a fork what it has to run."""
    control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if pid := os.fork():
        its.close()
        detached_start.start_session = DetachedFork(pid, control).start  # type: ignore[assignment]
        return None
    control.close()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    data, descriptors, _, _ = socket.recv_fds(its, LARGEST, 1)
    if not data:  # the command ended without a start
        os._exit(0)
    for stream in (1, 2):
        os.dup2(descriptors[0], stream)
    for descriptor in (nothing, *descriptors):
        os.close(descriptor)
    its.close()
    return msgspec.json.decode(data, type=ForkedStart)


class DetachedFork:
    """Has those attributes and methods of `subprocess.Popen` that a detached start uses. It waits for `start`."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._control = control

    def start(self, arguments: Sequence[str], output: BinaryIO) -> "DetachedFork":
        """As `writ_installation.supervisor.detached_start.start_session`."""
        start = ForkedStart(arguments=["up", *arguments], environ={**os.environ}, folder=str(Path.cwd()))
        socket.send_fds(self._control, [msgspec.json.encode(start)], [output.fileno()])
        self._control.close()
        return self

    def poll(self) -> int | None:
        """Return its exit status, or minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def run(started: ForkedStart) -> None:
    """Become what was started."""
    os.chdir(started.folder)
    _take_environ(started)
    if is_detached(started) and (detached := fork_detached()):
        started = detached
        _take_environ(started)
    if is_installation(started) and (service := fork_services()):
        started = service
        _take_environ(started)
    if started.module:
        os.setsid()
        sys.argv[:] = [started.module]
        runpy.run_module(started.module, run_name="__main__", alter_sys=True)
    else:
        sys.argv[1:] = started.arguments
        command()


def _take_environ(started: ForkedStart) -> None:
    os.environ.clear()
    os.environ.update(started.environ)
    reload(faults)  # it reads its variable when it is loaded


def main(descriptor: int) -> None:
    """Serve; in a fork, run the command and exit with its status."""
    die_with_parent()
    load(sorted({place.partition(":")[0] for place in PLACES.values()}))
    started = CommandTemplate(socket.socket(fileno=descriptor)).serve()
    if started is not None:
        run_to_quick_end(lambda: run(started))


if __name__ == "__main__":
    main(int(sys.argv[1]))
