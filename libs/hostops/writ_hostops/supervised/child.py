"""A process that carries out one request at a time, forked in advance.

Reads and changes of files follow each other in one process; any other change is the last of its process.
SIGTERM cancels the request. The process leads a session of its own, holds no descriptor of the others, and bears the
mark of its operation, so all its descendants can be found.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from typing import AbstractSet, Any, Dict, Mapping, NamedTuple, Optional

from writ_hostops import processes
from writ_hostops.encoded_text import Buffer
from writ_hostops.errors import HostError
from writ_hostops.markers import Markers
from writ_hostops.operations import ENCODED, REUSABLE, changes, run, run_encoded
from writ_hostops.protocol import MAX_MESSAGE, parse_request
from writ_hostops.stop import CancelToken
from writ_hostops.supervised import frames, shared_text
from writ_hostops.supervised.settlement import settle
from writ_hostops.systemd.bus import open_ahead

_MOST_LOG = 8192
LATE = 15
"""Seconds after its timeout at which a child ends itself, in case its parent does not."""


class HostFolders(NamedTuple):
    """Writ's own folders on this host: the marks, and the paths that no operation may touch."""

    state_dir: str
    forbidden: "tuple[str, ...]"


class ChildProcess(NamedTuple):
    """A child process, from its parent's side. `shared`: the memory for its long texts."""

    pid: int
    into: int
    out: int
    shared: mmap.mmap


def fork(folders: HostFolders) -> ChildProcess:
    """Fork a child that waits for its request. Raises OSError if the host has no process or descriptor left."""
    with contextlib.ExitStack() as failed:
        requests, into = _pipe(failed)
        out, replies = _pipe(failed)
        shared = shared_text.make()
        pid = os.fork()
        failed.pop_all()
    if pid == 0:
        status = 1
        try:
            _alone(requests, replies)
            status = _live(3, 4, folders, shared)
        finally:
            os._exit(status)
    os.close(requests)
    os.close(replies)
    shared_text.keep_from_others(shared)
    return ChildProcess(pid, into, out, shared)


def drop(spare: ChildProcess) -> None:
    """End a child without a request, and let go of it."""
    processes.kill([spare.pid], signal.SIGKILL)  # it may be waiting for the bus
    os.close(spare.into)
    os.close(spare.out)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(spare.pid, 0)


def _pipe(failed: contextlib.ExitStack) -> "tuple[int, int]":
    ends = os.pipe()
    for end in ends:
        failed.callback(os.close, end)
    return ends


def _alone(requests: int, replies: int) -> None:
    """Keep these two descriptors, as 3 and 4, and nothing else: no terminal, no foreign process group."""
    for awaited in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(awaited, signal.SIG_DFL)
    high = max(requests, replies, 10) + 1
    os.dup2(requests, high)
    os.dup2(replies, high + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.dup2(high, 3, inheritable=False)
    os.dup2(high + 1, 4, inheritable=False)
    os.closerange(5, min(65536, os.sysconf("SC_OPEN_MAX")))
    os.setsid()


def _live(requests: int, replies: int, folders: HostFolders, shared: mmap.mmap) -> int:
    """Serve requests until one is the last."""
    while True:
        open_ahead()
        frame = frames.read_frame(requests, frames.REQUEST + frames.SETTLE)
        if frame is None or not _serve(frame, replies, folders, shared):
            return 0
        del frame  # its buffers, before the wait for the next one


def _serve(frame: frames.Frame, replies: int, folders: HostFolders, shared: mmap.mmap) -> bool:
    """Reply to one request. Return whether another may follow."""
    message = frame.message(_encoded_parameters)
    tag = message["tag"]
    if frame.kind == frames.SETTLE:
        _write(replies, frames.pack(frames.RESULT, {**settle(message, folders.state_dir), "tag": tag}))
        return False
    request = message["request"]
    answer, reusable = _carry_out(request, tag, replies, folders, message.get("parameters"))
    _write(replies, *shared_text.shared(shared, frames.parts(frames.RESULT, {**answer, "tag": tag})))
    if is_read(frame.kind, message):
        return True
    if not reusable or not _has_ended(request, folders):
        return False
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _write(replies, frames.pack(frames.FREE, {}))
    return True


def is_read(kind: bytes, message: Mapping[str, Any]) -> bool:
    """Return whether the result of this request frees its child for another. A child that made a change says so itself
    (FREE), or ends. Parent and child must agree on it.
    """
    request = message.get("request") or {}
    return kind == frames.REQUEST and not changes(str(request.get("action")), str(request.get("operation")))


def _encoded_parameters(message: Mapping[str, Any]) -> AbstractSet[str]:
    """Return the names of the parameters that the operation takes as they came."""
    return ENCODED.get(str((message.get("request") or {}).get("operation")), frozenset())


def _has_ended(request: Mapping[str, Any], folders: HostFolders) -> bool:
    """Return whether the mark of its end is there. Without one, this process's life means that the operation runs."""
    return Markers(folders.state_dir).has_ended(str(request["id"]), int(request.get("attempt", 1)))


def _carry_out(
    request: Dict[str, Any], tag: int, replies: int, folders: HostFolders, parameters: Optional[Dict[str, Any]]
) -> "tuple[Dict[str, Any], bool]":
    """Return the result, and whether this process may carry out another change: it was not signalled meanwhile."""
    request["parameters"] = parameters or {}
    request["target"] = {**request.get("target", {}), "state_dir": folders.state_dir}
    forbidden = request["target"].get("forbidden_paths", [])
    request["target"]["forbidden_paths"] = [*forbidden, *folders.forbidden]
    log = _Log(replies, tag)

    def progress(text: str) -> None:
        _write(replies, frames.pack(frames.PROGRESS, {"tag": tag, "message": text[:MAX_MESSAGE]}))

    with contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
        try:
            timeout = parse_request(request).timeout
        except HostError:
            return run(request), False
        os.environ[processes.MARK] = str(request["id"])
        with CancelToken(timeout) as stop:
            signal.signal(signal.SIGTERM, lambda *_: stop.cancel())
            signal.signal(signal.SIGALRM, lambda *_: _end_all(str(request["id"])))
            signal.alarm(int(timeout) + LATE)
            try:
                answer = run_encoded(request, progress, stop)
                return answer, request["operation"] in REUSABLE and bool(answer["certain"]) and not stop.cancelled
            finally:
                signal.alarm(0)
                # The next one's are its own. A change whose mark says that it ended still has to reply.
                is_change = changes(str(request["action"]), str(request["operation"]))
                signal.signal(signal.SIGTERM, signal.SIG_IGN if is_change else signal.SIG_DFL)


def _end_all(operation_id: str) -> None:
    processes.kill(processes.marked(operation_id), signal.SIGKILL)
    os._exit(1)


class _Log:
    """Send prints as log frames while somebody listens."""

    def __init__(self, replies: int, tag: int) -> None:
        self._replies, self._tag, self._left = replies, tag, _MOST_LOG

    def write(self, text: str) -> int:
        """Send a piece of text."""
        if text.strip() and self._left > 0:
            _write(self._replies, frames.pack(frames.LOG, {"tag": self._tag, "message": text[: self._left]}))
            self._left -= len(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: every piece was sent already."""


def _write(fd: int, *parts: Buffer) -> None:
    """Write all parts. The reader may be gone; a begun operation is finished and marked all the same."""
    with contextlib.suppress(BrokenPipeError):
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(fd, left) :]
