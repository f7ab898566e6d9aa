"""A client by frames of a supervisor with handlers for tests."""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from writ_hostops.supervised import frames

SERVED = """
import os, signal, sys, time
from writ_hostops.supervised import frames, supervisor
from writ_hostops.supervised.child import HostFolders
from writ_hostops.supervised.supervisor import ChildSupervisor
from writ_hostops.operations import HANDLERS
from writ_hostops.protocol import HostReply

def me(call):
    return HostReply(output={"pid": os.getpid(), "mark": os.environ["WRIT_OPERATION_ID"]})

def wait(call):
    call.progress("waiting")
    call.stop.wait(float(call.parameters["seconds"]))
    return me(call)

def wait_for(call):
    call.progress("waiting")
    while not os.path.exists(call.parameters["path"]):
        call.stop.wait(0.02)
    return me(call)

fork = supervisor.fork

def fork_if_there_is_room(place):
    if os.path.exists(sys.argv[1] + ".full"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork(place)

supervisor.fork = fork_if_there_is_room
fsync = os.fsync

def sync_unless_held(fd):
    is_end = os.readlink(f"/proc/self/fd/{fd}").endswith(".ended.tmp")
    while is_end and os.path.exists(sys.argv[1] + ".held"):
        time.sleep(0.02)
    if is_end and os.path.exists(sys.argv[1] + ".broken"):
        raise OSError(5, "Input/output error")
    fsync(fd)

os.fsync = sync_unless_held

def length(call):
    return HostReply(output={"length": len(call.parameters["text"])})

def share_too_much(call):
    os.write(4, frames.HEADER.pack(frames.SHARED, 2, 4 << 20) + b"{}")
    return me(call)

HANDLERS["test_look"] = {"run": me}
HANDLERS["test_share_too_much"] = {"run": share_too_much}
HANDLERS["test_length"] = {"run": length, "preview": length}
HANDLERS["test_wait_for"] = {"run": wait_for}
HANDLERS["test_wait"] = {"run": wait}
HANDLERS["test_change"] = {"run": me, "preview": me}
ChildSupervisor(0, 1, HostFolders(sys.argv[1], ())).serve({})
"""
WITHIN = 20.0


class Kept:
    """A supervisor, and its client by frames."""

    def __init__(self, marks: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVED, str(marks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._cutter = frames.Cutter(frames.HELLO + frames.PROGRESS + frames.RESULT + frames.LOG)
        self._frames: list[frames.Frame] = []
        self._tag = 0
        try:
            assert self.next().kind == frames.HELLO
        except BaseException:
            with self.process:
                self.process.kill()
            raise

    def next(self) -> frames.Frame:
        assert self.process.stdout is not None
        while not self._frames:
            assert select.select([self.process.stdout], [], [], WITHIN)[0], "nothing is said"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "it has ended"
            self._frames += self._cutter.feed(data)
        return self._frames.pop(0)

    def post(self, kind: bytes, message: dict[str, Any]) -> int:
        """Send it; return its tag."""
        assert self.process.stdin is not None
        self._tag += 1
        self.process.stdin.write(frames.pack(kind, {**message, "tag": self._tag}))
        self.process.stdin.flush()
        return self._tag

    def write(self, data: bytes) -> None:
        """Write a part of a frame."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def begin(
        self, operation: str, *, timeout: float = 30.0, target: dict[str, Any] | None = None, **parameters: Any
    ) -> int:
        """Request one operation; return its tag."""
        request = {
            "id": f"op{self._tag}", "action": "run", "operation": operation, "target": target or {}, "timeout": timeout,
        }  # fmt: skip
        return self.post(frames.REQUEST, {"request": request, "parameters": parameters})

    def result(self, tag: int) -> dict[str, Any]:
        while True:
            frame = self.next()
            message = frame.message()
            if frame.kind == frames.RESULT and message["tag"] == tag:
                return message

    def pid(self, operation: str = "test_look") -> int:
        """Return the process of the operation."""
        reported = self.result(self.begin(operation))
        assert reported["outcome"] == "succeeded", reported
        assert reported["output"]["mark"] == reported["id"]
        return int(reported["output"]["pid"])

    def children(self) -> list[str]:
        """Return its present processes."""
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
