"""The bytes of hostops' channel on one host: the bootstrap, then frames. Every size is bounded."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, cast

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR

from writ_agent.backends.hostops_requests import redact
from writ_agent_ssh.host_sessions.channel_pace import ChannelPace
from writ_agent_ssh.host_sessions.quarantine import HostReading
from writ_agent_ssh.startup.archive import Archive
from writ_agent_ssh.startup.bootstrap_output import BootstrapLine, BootstrapOutput, TooMuchNoise
from writ_agent_ssh.startup.sudo import SudoStart
from writ_contracts.errors import Invalid, Unreachable
from writ_hostops.errors import CODES
from writ_hostops.supervised import frames
from writ_runtime.logs import Log

MOST_STDERR = 1024 * 1024
KEPT_STDERR = 4096
MOST_LOG = 8192
"""Characters of a request's log, as many as hostops itself writes."""
MOST_UNSENT = 16 * 1024 * 1024
"""Bytes waiting for a host to read them."""
PIECE = 32 * 1024
"""Bytes that asyncssh gets at once: those of one packet to OpenSSH. It copies a longer part as a whole before."""
NO_SUCH_COMMAND = 127
WHERE_TO_LOOK = "look for ForceCommand in its sshd_config, command= before the key, and a login shell such as nologin"
PACED = frozenset({frames.PROGRESS, frames.LOG})
Progress = Callable[[str], None]
HostMessage = dict[str, Any]
_CODES = frozenset({"", *CODES})
_log = Log("writ.agent.ssh")


class ConnectionDropped(Unreachable):
    """The connection ended before the answer."""

    default_code = "connection_lost"


class PendingRequest:
    """A request awaiting its result from the host: takes its progress and its logs, without secrets."""

    def __init__(self, progress: Progress, secrets: Collection[str]) -> None:
        self.answer: asyncio.Future[HostMessage] = asyncio.get_running_loop().create_future()
        self.secrets = secrets
        self._progress = progress
        self._log_left = MOST_LOG

    def progress(self, message: str) -> None:
        """Report progress, without the secrets."""
        self._progress(redact(message, self.secrets))

    def log(self, message: str) -> None:
        """Log the host's text, without the secrets and within the bound."""
        if self._log_left > 0:
            _log.warning("hostops.stderr", text=redact(message, self.secrets)[: self._log_left])
            self._log_left -= len(message)


class FrameChannel(asyncssh.SSHClientSession[bytes]):
    """Cuts the bytes of the channel into frames. Anything else ends it."""

    def __init__(
        self, nonce: str, archive: Archive, folder: str, reading: HostReading, start: SudoStart | None = None
    ) -> None:
        """`start`: the dialogue before the bootstrap."""
        self._reading = reading
        self._start = start
        self._opening: BootstrapOutput | None = BootstrapOutput(nonce)
        self._archive = archive
        self._folder = folder
        self._nonce = nonce
        self._sent = False
        self._cutter = frames.Cutter(frames.HELLO + frames.PROGRESS + frames.RESULT + frames.LOG)
        self._pending: dict[int, PendingRequest] = {}
        self._unanswered = set[int]()
        """Tags without their result, also of requests without a waiter: each gets one."""
        self._stderr = bytearray()
        self._noise = 0
        self._status: int | None = None
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self._next = 0
        self._pace = ChannelPace(asyncio.get_running_loop().time())
        self.hello: asyncio.Future[HostMessage] = asyncio.get_running_loop().create_future()
        self.gone = False
        self.heard_at = 0.0
        """The time of the latest bytes from the host, by the loop's clock; later while it is not read."""

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._chan = chan
        if self.gone:  # it was opened after all, too late for its caller
            chan.abort()

    def session_started(self) -> None:
        if self._start is None:
            self._open()

    def _open(self) -> None:
        if not self.gone:
            self._write(self._archive.opening(self._nonce, self._folder))

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take in bytes from the host."""
        if self.gone:
            return
        self.heard_at = asyncio.get_running_loop().time()
        try:
            if datatype == EXTENDED_DATA_STDERR:
                self._hear_errors(data)
                return
            with self._reading:
                self._read(data)
        except Invalid as error:
            self._end(error)
        except (frames.BrokenFrame, TooMuchNoise, KeyError, TypeError) as error:
            self._end(
                Unreachable(
                    f"the host wrote bytes into the stream that are not of the protocol: {error}", code="garbled"
                )
            )

    def _read(self, data: bytes) -> None:
        if self._start is not None:
            rest = self._start.take_output(data)
            if rest is None:
                return
            self._start, data = None, rest
            self._open()
        while data and self._opening is not None:
            line = self._opening.feed(data)
            data = self._opened(line) if line else b""
        for frame in self._cutter.feed(data):
            if frame.kind in PACED:
                self._pace.spend(len(frame.head) + len(frame.attached))
            self._take(frame)
        loop = asyncio.get_running_loop()
        if (seconds := self._pace.pause(loop.time())) and self._chan is not None:
            self._chan.pause_reading()
            self.heard_at = loop.time() + seconds
            loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._chan is not None and not self.gone:
            self._chan.resume_reading()

    def exit_status_received(self, status: int) -> None:
        """Handle the exit status; 127 means: python3 is missing."""
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all pending requests: the channel is closed."""
        if self._start is not None and self._status is not None:
            self._end(self._start.refusal(self._status))
        elif self._status == NO_SUCH_COMMAND:
            self._end(Invalid("the host has no python3", code="no_python"))
        elif self._stderr and not self.hello.done():  # no request was sent yet: it quotes no secret
            _log.warning("hostops.not_started", status=self._status, text=self._stderr.decode(errors="replace"))
            message = "hostops ended before its start on the host; the agent's log has its output"
            if self._opening is not None and not self._sent:
                message = f"{message}. If the host ran another command than Writ's, {WHERE_TO_LOOK}"
            self._end(ConnectionDropped(message))
        elif self._status is not None and self._opening is not None and not self._sent:
            self._end(ConnectionDropped(_other_command(self._status, self._opening.noise)))
        else:
            self._end(ConnectionDropped("the connection to the host ended"))

    def post(self, kind: bytes, message: Mapping[str, Any], pending: PendingRequest) -> int:
        """Send a request and return its tag. Raises ConnectionDropped, or Invalid (`invalid_parameter`) for text
        outside of UTF-8.
        """
        if self.gone:
            raise ConnectionDropped("the connection to the host ended")
        tag = self._next + 1
        try:
            parts = frames.parts(kind, {**message, "tag": tag})
        except UnicodeEncodeError:  # names the text, which may be a secret
            raise Invalid("a parameter has half of a surrogate pair", code="invalid_parameter") from None
        self._next, self._pending[tag] = tag, pending
        self._unanswered.add(tag)
        for part in parts:
            for start in range(0, len(part), PIECE):
                self._write(memoryview(part)[start : start + PIECE])
        return tag

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    def forget(self, tag: int) -> None:
        """Drop a request without a waiter."""
        self._pending.pop(tag, None)

    def close(self) -> None:
        self._end(ConnectionDropped("the connection was closed"))

    def _opened(self, line: BootstrapLine) -> bytes:
        self._opening = None
        match line.word:
            case "SEND" if self._sent:
                raise frames.BrokenFrame("the host requests the archive a second time")
            case "SEND":
                self._sent = True
                self._opening = BootstrapOutput(self._nonce)  # whether it could be unpacked
                self._write(self._archive.data)
            case "OLD":
                self._end(Invalid(f"the host has Python {line.why}; 3.9 is needed", code="no_python"))
            case "UNUSABLE":
                self._end(Invalid(f"Writ's folder on the host cannot be used: {line.why}", code="unusable_folder"))
            case "HERE":
                pass
        return line.rest

    def _take(self, frame: frames.Frame) -> None:
        if frame.kind == frames.HELLO and self.hello.done():
            raise frames.BrokenFrame("a second greeting")  # read no further: without an end, they would hold up others
        if frame.kind == frames.RESULT and not self._unanswered:
            raise frames.BrokenFrame("a result without a request")
        message = frame.message()
        if frame.kind == frames.HELLO:
            self.hello.set_result(message)
            return
        pending = self._pending.get(message["tag"])
        if frame.kind == frames.RESULT:
            self._answered(message["tag"])
            _refuse_foreign_codes(message)
            self.forget(message["tag"])
            if pending is not None and not pending.answer.done():
                pending.answer.set_result(message)
        elif pending is not None and frame.kind == frames.PROGRESS:
            pending.progress(str(message["message"]))
        elif pending is not None and frame.kind == frames.LOG:
            pending.log(str(message["message"]))

    def _answered(self, tag: int) -> None:
        """Raise BrokenFrame for a result beyond the one of each request."""
        if tag not in self._unanswered:
            raise frames.BrokenFrame("a result without a request")
        self._unanswered.discard(tag)

    def _hear_errors(self, data: bytes) -> None:
        if self._start is not None:
            self._write(self._start.take_errors(data))
        self._noise += len(data)
        self._stderr += data[: KEPT_STDERR - len(self._stderr)]
        if self._noise > MOST_STDERR:
            self._end(Unreachable("the host writes too much to its error stream", code="garbled"))

    def _write(self, data: bytes | memoryview) -> None:
        if self._chan is not None:
            with suppress(BrokenPipeError, OSError):  # it is closed: `connection_lost` comes, and knows more
                self._chan.write(cast("bytes", data))  # it copies any bytes
            if self._chan.get_write_buffer_size() > MOST_UNSENT:
                self._end(Unreachable("the host does not read its input", code="garbled"))

    def _end(self, error: Exception) -> None:
        if self.gone:
            return
        self.gone = True
        waiting = [pending.answer for pending in self._pending.values()]
        self._pending.clear()
        for future in [self.hello, *waiting]:
            if not future.done():
                future.set_exception(error)
                future.exception()  # a waiter sees it; without one it is no defect
        if self._chan is not None:
            self._chan.abort()


def _refuse_foreign_codes(message: HostMessage) -> None:
    """Raise BrokenFrame for a result, or a kept one, with a code outside of hostops' own: it would pass for a
    finding of the agent, such as `host_key_changed`.
    """
    for message_or_result in (message, message.get("result")):
        if isinstance(message_or_result, dict) and message_or_result.get("code", "") not in _CODES:
            raise frames.BrokenFrame("a result has a code that hostops does not have")


def _other_command(status: int, noise: str) -> str:
    """Return the message about a host that runs another command than the requested one."""
    output = f" after writing {noise!r}" if noise else ""
    return f"the host ran another command than Writ's, which ended with status {status}{output}: {WHERE_TO_LOOK}"
