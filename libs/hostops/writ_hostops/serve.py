"""Answer requests that come as lines, until the input ends; several at once, each in its own thread.

Only answers go to the output; stray prints go to stderr. SIGTERM and SIGINT cancel all running and later requests. Each
of them gets its result, then the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from writ_hostops import syscalls
from writ_hostops.errors import HostError
from writ_hostops.operations import run
from writ_hostops.protocol import MAX_LINE, MAX_MESSAGE, failure, id_of, parse_line, parse_request, result
from writ_hostops.stop import CancelToken

AT_ONCE = 16
_READ = 1 << 16
_FINISHED = b"\0"


def live_alone(environ: Dict[str, str]) -> None:
    """Lead a session of our own, so the parent can end this process with all its children.

    With WRIT_HOSTOPS_PDEATHSIG=1 the kernel ends this process when the parent thread ends.
    """
    parent = os.getppid()
    with contextlib.suppress(PermissionError):  # we lead our process group already
        os.setsid()
    if environ.get("WRIT_HOSTOPS_PDEATHSIG") == "1":
        syscalls.die_with_parent()
        if os.getppid() != parent:
            os._exit(1)


def take_over_stdout() -> int:
    """Return a descriptor of the real standard output. From now on prints go to stderr."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def serve(source: int, output: int) -> None:
    """Read requests from `source`, write answers to `output`, until the input ends or a signal comes. Main thread."""
    with _wakeups() as (woken, wake), ThreadPoolExecutor(AT_ONCE) as workers, selectors.PollSelector() as ready:
        requests, lines = _Requests(output), _Lines(source)
        ready.register(source, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        unfinished = 0
        # A signal counts after the end of the input, too: all requests have often come by then.
        while unfinished or not lines.ended:
            events = {key.fd for key, _ in ready.select()}
            if woken in events:
                wakeups = os.read(woken, _READ)
                unfinished -= wakeups.count(_FINISHED)
                if wakeups.strip(_FINISHED):
                    requests.cancel()
                    lines.no_more()
            while source in events or (requests.cancelled and not lines.ended):
                for line in lines.read():
                    unfinished += 1
                    workers.submit(requests.carry_out, line).add_done_callback(lambda _: os.write(wake, _FINISHED))
                events.discard(source)
                if lines.ended:
                    ready.unregister(source)


class _Lines:
    """Cut input into lines. A line that is too long becomes None and does not fill the memory."""

    def __init__(self, source: int) -> None:
        self.ended = False
        self._source = source
        self._buffer = bytearray()
        self._skipping = False

    def no_more(self) -> None:
        """Read the available input only, without waiting for more."""
        os.set_blocking(self._source, False)

    def read(self) -> List[Optional[bytes]]:
        """Return the lines that are complete after one read."""
        try:
            data = os.read(self._source, _READ)
        except BlockingIOError:
            data = b""
        self.ended = not data
        lines: List[Optional[bytes]] = []
        for piece in data.splitlines(keepends=True) if data else [b"\n"]:
            self._add(piece, lines)
        return [line for line in lines if line is None or line.strip()]

    def _add(self, piece: bytes, lines: List[Optional[bytes]]) -> None:
        if not self._skipping:
            self._buffer += piece
        if len(self._buffer) > MAX_LINE:
            self._buffer.clear()
            self._skipping = True
            lines.append(None)
        if piece.endswith(b"\n"):
            if not self._skipping:
                lines.append(bytes(self._buffer))
            self._buffer.clear()
            self._skipping = False


class _Requests:
    """The running requests, and the lock for their answers on the output."""

    def __init__(self, output: int) -> None:
        self.cancelled = False
        self._output = output
        self._running: Set[CancelToken] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Cancel the running requests and all later ones."""
        with self._lock:
            self.cancelled = True
            for stop in self._running:
                stop.cancel()

    def carry_out(self, line: Optional[bytes]) -> None:
        """Carry out the request in a line, and write its progress and result."""
        try:
            if line is None:
                raise HostError("too_large", f"the request is longer than {MAX_LINE} bytes")
            raw = parse_line(line)
        except HostError as error:
            self._write(result("", failure(error)))
            return
        try:
            timeout = parse_request(raw).timeout
        except HostError as error:
            self._write(result(id_of(raw), failure(error)))
            return
        with CancelToken(timeout) as stop, self._counted(stop):
            self._write(run(raw, lambda message: self._progress(id_of(raw), message), stop))

    @contextlib.contextmanager
    def _counted(self, stop: CancelToken) -> Iterator[None]:
        with self._lock:
            self._running.add(stop)
            if self.cancelled:
                stop.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(stop)

    def _progress(self, request_id: str, message: str) -> None:
        self._write({"id": request_id, "event": "progress", "message": message[:MAX_MESSAGE]})

    def _write(self, answer: Dict[str, Any]) -> None:
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n"
        data = memoryview(text.encode("utf-8", "replace"))
        # The requester may be gone; a begun operation is finished and marked all the same.
        with self._lock, contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._output, data) :]


@contextlib.contextmanager
def _wakeups() -> Iterator[Tuple[int, int]]:
    """Yield a pipe: its reading end receives the numbers of SIGTERM and SIGINT, and any byte written to the other
    end.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _noted)
    try:
        yield woken, wake
    finally:
        signal.set_wakeup_fd(-1)
        os.close(woken)
        os.close(wake)


def _noted(number: int, frame: Optional[FrameType]) -> None:
    """Ignore the signal: the wakeup pipe has reported it to the loop."""
