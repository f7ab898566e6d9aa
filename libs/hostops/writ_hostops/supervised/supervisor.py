"""Serve one connection: receive requests as frames, have children carry them out, relay their replies, end them.

One thread, one loop. When the connection is gone, reads are ended; changes are finished and marked within their own
time. Then nothing of this process is left.
"""

from __future__ import annotations

import collections
import os
import select
import selectors
import signal
import time
from typing import Any, Deque, Dict, List, Optional

from writ_hostops import processes
from writ_hostops.encoded_text import Buffer
from writ_hostops.errors import HostError
from writ_hostops.protocol import DEFAULT_TIMEOUT, MAX_TIMEOUT, failure, result
from writ_hostops.supervised import frames, shared_text
from writ_hostops.supervised.child import ChildProcess, HostFolders, drop, fork, is_read
from writ_hostops.supervised.supervised_request import SupervisedRequest

SILENCE = 90.0
"""Seconds without a frame after which the other end counts as gone: it pings more often."""
LATE = 3.0
"""Seconds after its timeout at which a child is ended."""
MOST_AT_ONCE = 64
_FULL = f"this host carries out {MOST_AT_ONCE} requests of this agent already; nothing was done"
MOST_SPARES, MOST_USES = 4, 200
"""Waiting children, and the requests that one of them serves."""
_FORCE, _SPARE_AGAIN = 2.0, 1.0
_READ_SECONDS = 0.05
"""Seconds for which a child is waited for that does not read its request. One that works needs a millisecond."""
_MOST_WAITING = 8 * 1024 * 1024
_READ = 1 << 16


class ChildSupervisor:
    """One supervisor; call `serve` once."""

    def __init__(self, source: int, output: int, folders: HostFolders) -> None:
        self._source, self._output, self._folders = source, output, folders
        self._jobs: Dict[int, SupervisedRequest] = {}
        self._slow: Dict[int, SupervisedRequest] = {}
        """Jobs with unread bytes, by the descriptor that takes them."""
        self._waiting: Deque[memoryview] = collections.deque()
        self._waiting_bytes = self._given_bytes = 0
        self._unsent: List[SupervisedRequest] = []
        """Jobs whose child is free once its shared texts are sent."""
        requests = frames.REQUEST + frames.SETTLE
        self._cutter = frames.Cutter(requests + frames.STOP + frames.PING, early=requests)
        self._missing = 0
        self._incomplete: Optional[SupervisedRequest] = None
        self._ready = selectors.PollSelector()
        self._listening = True
        self._heard_at = time.monotonic()
        self._spares = [fork(folders)]
        self._spare_at = 0.0
        self._uses: Dict[int, int] = {}

    def serve(self, hello: Dict[str, Any]) -> None:
        """Serve until the connection is gone and every change has ended."""
        os.set_blocking(self._output, False)
        self._ready.register(self._source, selectors.EVENT_READ)
        self._send(frames.pack(frames.HELLO, hello))
        try:
            while self._listening or self._jobs:
                ready = self._ready.select(self._pause())
                for key, _ in ready:
                    self._handle(key.fd)
                if not ready and not self._spares:  # it has no waiter just now
                    self._prepare()
                self._check_clock()
        finally:
            for job in list(self._jobs.values()):
                processes.kill_group(job.child.pid, signal.SIGKILL)
            for spare in self._spares:
                drop(spare)

    def _prepare(self) -> None:
        """Fork a child for the next request. Running requests go on if the host has no process left just now."""
        if time.monotonic() >= self._spare_at:
            try:
                self._spares.append(fork(self._folders))
            except OSError:
                self._spare_at = time.monotonic() + _SPARE_AGAIN

    def _handle(self, fd: int) -> None:
        if fd == self._source:
            self._hear()
        elif fd == self._output:
            self._flush()
        elif fd in self._slow:
            self._feed(self._slow[fd])
        elif fd in self._jobs:
            self._relay(self._jobs[fd])

    def _hear(self) -> None:
        try:
            data = os.read(self._source, _READ)
            self._heard_at = time.monotonic()
            for frame in self._cutter.feed(self._pass_on(data)):
                self._receive(frame)
        except (OSError, frames.BrokenFrame, KeyError, TypeError, ValueError):
            data = b""
        if not data:
            self._hang_up()

    def _pass_on(self, data: bytes) -> bytes:
        """Pass the missing bytes of an attachment on to its child. Return the bytes behind them.

        They are not kept here: after each fork this process pays for every page that it writes to.
        """
        piece = data[: self._missing] if self._missing else b""
        self._missing -= len(piece)
        if piece and self._incomplete is not None:
            self._give(self._incomplete, piece)
        if not self._missing:
            self._incomplete = None
        return data[len(piece) :] if piece else data

    def _give(self, job: SupervisedRequest, data: bytes) -> None:
        """Give bytes to its child. A child that does not read, such as one that waits for a bus that hangs, gets them
        later, and holds up nobody else.
        """
        job.unread.append(memoryview(data))
        if len(job.unread) == 1:
            self._feed(job, _READ_SECONDS)

    def _feed(self, job: SupervisedRequest, patience: float = 0.0) -> None:
        """Write what the child reads now, or within so many seconds."""
        into, room = job.child.into, select.poll()
        room.register(into, select.POLLOUT)
        try:
            while job.unread and room.poll(patience * 1000):
                job.unread[0] = job.unread[0][os.write(into, job.unread[0]) :]
                if not job.unread[0]:
                    job.unread.popleft()
        except BrokenPipeError:  # it was killed: the end of its other pipe shows that
            job.unread.clear()
        if job.unread and into not in self._slow:
            self._slow[into] = job
            self._ready.register(into, selectors.EVENT_WRITE)
        elif not job.unread:
            self._stop_feeding(job)

    def _stop_feeding(self, job: SupervisedRequest) -> None:
        if self._slow.pop(job.child.into, None) is not None:
            self._ready.unregister(job.child.into)

    def _receive(self, frame: frames.Frame) -> None:
        if frame.kind in (frames.REQUEST, frames.SETTLE):
            self._begin(frame)
            return
        message = frame.message()
        if frame.kind == frames.STOP:
            self._stop(message)
        else:
            self._reply(message["tag"], {})

    def _begin(self, frame: frames.Frame) -> None:
        self._missing = frame.missing
        message = frame.without_attached()  # that is the child's to read
        tag, request = int(message["tag"]), message.get("request", {})
        if frame.kind == frames.REQUEST and len(self._jobs) >= MOST_AT_ONCE:
            self._reply(tag, result(str(request.get("id", "")), failure(HostError("busy", _FULL))))
            return
        seconds = request.get("timeout", message.get("grace", DEFAULT_TIMEOUT))
        limit = time.monotonic() + min(float(seconds), MAX_TIMEOUT) + LATE
        operation_id = str(request.get("id", ""))
        try:
            child = self._spares.pop() if self._spares else fork(self._folders)
        except OSError as error:
            no_process = HostError("unavailable", f"no process could be started: {error.strerror}; nothing was done")
            self._reply(tag, result(operation_id, failure(no_process)))
            return
        job = SupervisedRequest(tag, operation_id, child, is_read(frame.kind, message), limit)
        self._jobs[child.out] = job
        self._ready.register(child.out, selectors.EVENT_READ)
        self._incomplete = job if frame.missing else None
        os.set_blocking(child.into, False)
        self._give(job, frame.raw())

    def _stop(self, message: Dict[str, Any]) -> None:
        for job in self._jobs.values():
            if job.tag == message["of"]:
                job.stops.append(message["tag"])
                self._tell_to_end(job, float(message["grace"]))
                return
        self._reply(message["tag"], {"certain": True})

    def _tell_to_end(self, job: SupervisedRequest, grace: float) -> None:
        processes.kill([job.child.pid], signal.SIGTERM)
        job.stop_at, job.kill_at = None, time.monotonic() + grace

    def _relay(self, job: SupervisedRequest) -> None:
        at_end = False
        try:
            complete = job.relay.read(job.child.out)
            at_end = complete is None
            for kind, data in complete or ():
                job.has_result = job.has_result or kind in (frames.RESULT, frames.SHARED)
                job.is_free = job.has_result if job.is_read else kind == frames.FREE
                if kind == frames.SHARED:
                    self._send_shared(job, data)
                elif kind != frames.FREE:
                    self._send(data)
            if complete and job.is_free:
                if job.undisturbed:
                    job.stop_at = None
                    self._unsent.append(job)
                    self._free_sent()
                    return
                processes.kill_group(job.child.pid, signal.SIGKILL)  # it was to end, and waits for the next one instead
        except frames.BrokenFrame:
            processes.kill_group(job.child.pid, signal.SIGKILL)
        if at_end:
            self._ended(job)

    def _send_shared(self, job: SupervisedRequest, frame: Buffer) -> None:
        for part in shared_text.parts_of(job.child.shared, frame):
            self._send(part)
        job.sent_until = self._given_bytes

    def _free_sent(self) -> None:
        """Free the children whose shared texts are sent."""
        sent = self._given_bytes - self._waiting_bytes
        jobs, self._unsent = self._unsent, [job for job in self._unsent if job.sent_until > sent]
        for job in jobs:
            running = self._jobs.get(job.child.out) is job and job.undisturbed  # else it has ended, or is to end
            if running and job.sent_until <= sent:
                self._free(job)

    def _free(self, job: SupervisedRequest) -> None:
        """Keep its child for the next request, unless enough children wait or it has served many."""
        self._ready.unregister(job.child.out)
        del self._jobs[job.child.out]
        uses = self._uses[job.child.pid] = self._uses.get(job.child.pid, 0) + 1
        if uses < MOST_USES and len(self._spares) < MOST_SPARES:
            self._spares.append(job.child)
        else:
            self._retire(job.child)

    def _retire(self, child: ChildProcess) -> None:
        self._uses.pop(child.pid, None)
        drop(child)

    def _ended(self, job: SupervisedRequest) -> None:
        os.waitpid(job.child.pid, 0)
        self._uses.pop(job.child.pid, None)
        self._forget(job)
        # A killed child leaves its processes behind, which nothing watches any more.
        doubtful = job.operation_id and (job.stops or not (job.is_read or job.has_result))
        self._close(job, certain=not doubtful or processes.end({}, job.operation_id, 0.0))

    def _close(self, job: SupervisedRequest, certain: bool) -> None:
        if not job.has_result:
            self._reply(job.tag, {"gone": True, "certain": certain})
        for tag in job.stops:
            self._reply(tag, {"certain": certain})

    def _forget(self, job: SupervisedRequest) -> None:
        if self._incomplete is job:  # the rest of its request is for nobody
            self._incomplete = None
        self._stop_feeding(job)
        self._ready.unregister(job.child.out)
        del self._jobs[job.child.out]
        os.close(job.child.out)
        os.close(job.child.into)

    def _check_clock(self) -> None:
        now = time.monotonic()
        if self._listening and now - self._heard_at > SILENCE:
            self._hang_up()
        for job in list(self._jobs.values()):
            if job.stop_at is not None and now >= job.stop_at:
                self._tell_to_end(job, _FORCE)
            if job.kill_at is not None and now >= job.kill_at:
                processes.kill_group(job.child.pid, signal.SIGKILL)
                processes.kill(processes.marked(job.operation_id) if job.operation_id else [], signal.SIGKILL)
                job.kill_at, job.give_up_at = None, now + _FORCE
            if job.give_up_at is not None and now >= job.give_up_at:
                self._forget(job)
                self._close(job, certain=False)

    def _pause(self) -> float:
        times = [t for job in self._jobs.values() for t in (job.stop_at, job.kill_at, job.give_up_at) if t is not None]
        times += [] if self._spares else [self._spare_at]
        soonest = min(times, default=time.monotonic() + SILENCE / 3)
        return max(0.0, min(soonest - time.monotonic(), SILENCE / 3))

    def _hang_up(self) -> None:
        """End reads, and a change whose request is not whole; let the others finish: nobody listens any more."""
        if not self._listening:
            return
        self._listening = False
        self._ready.unregister(self._source)
        for job in self._jobs.values():
            if job.is_read or job is self._incomplete:
                processes.kill_group(job.child.pid, signal.SIGKILL)

    def _reply(self, tag: int, answer: Dict[str, Any]) -> None:
        self._send(frames.pack(frames.RESULT, {**answer, "tag": tag}))

    def _send(self, data: Buffer) -> None:
        if self._output < 0 or (self._waiting_bytes > _MOST_WAITING and not self._listening):
            return
        self._waiting.append(memoryview(data))
        self._waiting_bytes += len(data)
        self._given_bytes += len(data)
        self._flush()

    def _flush(self) -> None:
        self._write_waiting()
        self._free_sent()

    def _write_waiting(self) -> None:
        if self._output < 0:
            return
        try:
            while self._waiting:
                count = os.write(self._output, self._waiting[0])
                self._waiting_bytes -= count
                self._waiting[0] = self._waiting[0][count:]
                if not self._waiting[0]:
                    self._waiting.popleft()
        except BlockingIOError:
            self._watch_output(True)
            return
        except OSError:
            self._watch_output(False)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._output = -1
            self._hang_up()
            return
        self._watch_output(False)

    def _watch_output(self, pending: bool) -> None:
        watched = self._output in self._ready.get_map()
        if pending and not watched:
            self._ready.register(self._output, selectors.EVENT_WRITE)
        elif watched and not pending:
            self._ready.unregister(self._output)
