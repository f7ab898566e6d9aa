"""The process from which commands of `writ` are forked: it has loaded their modules, and does nothing else.

Each message on its socket is the JSON of a `CommandStart`, with four descriptors: the command's standard streams, and
a socket for its exit status. It ends with the process that has the other end of its socket, and its commands with it.
"""

import gc
import os
import selectors
import socket
import sys
from importlib import import_module

import msgspec
from msgspec import Struct

from writ_cli.__main__ import main as command
from writ_cli.main import PLACES
from writ_hostops.syscalls import die_with_parent

LARGEST = 1 << 20
"""Bytes of a message."""


class CommandStart(Struct, frozen=True, kw_only=True):
    """What differs from command to command."""

    arguments: list[str]
    environ: dict[str, str]
    folder: str


class CommandTemplate:
    """The sockets and processes of the template."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}

    def serve(self) -> CommandStart | None:
        """Fork a command for each message. Return None at the end of the socket, and in a fork what it has to run."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._running:
                    self._report(key.fd)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._control, LARGEST, 4)
                if not data:
                    return None
                if self._is_fork(descriptors):
                    return msgspec.json.decode(data, type=CommandStart)

    def _is_fork(self, descriptors: list[int]) -> bool:
        *streams, reply = descriptors
        pid = os.fork()
        if pid:
            ended = os.pidfd_open(pid)
            self._running[ended] = (pid, reply)
            self._selector.register(ended, selectors.EVENT_READ)
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
        with socket.socket(fileno=reply) as answer:
            answer.send(str(status).encode(), socket.MSG_NOSIGNAL)


def main(descriptor: int) -> None:
    """Serve; in a fork, run the command and exit with its status."""
    die_with_parent()
    for module in sorted({place.partition(":")[0] for place in PLACES.values()}):
        import_module(module)
    gc.collect()
    gc.freeze()
    started = CommandTemplate(socket.socket(fileno=descriptor)).serve()
    if started is not None:
        os.chdir(started.folder)
        os.environ.clear()
        os.environ.update(started.environ)
        sys.argv[1:] = started.arguments
        command()


if __name__ == "__main__":
    main(int(sys.argv[1]))
