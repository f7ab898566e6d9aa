"""One program on a host, on a channel of its own: its bounded output and its exit status."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import asyncssh

from writ_agent_ssh.connection.link import SshLink
from writ_agent_ssh.startup.quoting import line
from writ_contracts.errors import Unreachable

MOST_OUTPUT = 8 * 1024 * 1024
SECONDS = 10.0
"""Seconds for a command that should answer at once."""


class ProgramOutput(NamedTuple):
    """The result of a command. `status` 127: the program is missing."""

    status: int
    out: str


class Program(asyncssh.SSHClientSession[bytes]):
    """The channel of the program. Output of the shell before our marker is skipped."""

    def __init__(self, word: bytes) -> None:
        self._word = b"\n" + word + b"\n"
        self._out = bytearray(b"\n")
        self._noise = 0
        self._status: int | None = None
        self._aborted = False
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self.ended: asyncio.Future[ProgramOutput] = asyncio.get_running_loop().create_future()

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._chan = chan
        if self._aborted:  # it was opened after all, too late for its caller
            chan.abort()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Count errors without keeping them: they may quote anything."""
        if datatype is None:
            self._out += data
        else:
            self._noise += len(data)
        if len(self._out) + self._noise > MOST_OUTPUT and not self.ended.done():
            self._fail(f"the host wrote more than {MOST_OUTPUT} bytes", "garbled")
            self.abort()

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish: the channel is closed."""
        if self.ended.done():
            return
        _, word, out = bytes(self._out).partition(self._word)
        if self._status is None:
            self._fail("the connection to the host ended", "connection_lost")
        elif not word:
            self._fail("the host's shell does not run the command literally", "garbled")
        else:
            self.ended.set_result(ProgramOutput(self._status, out.decode("utf-8", "replace")))

    def abort(self) -> None:
        self._aborted = True
        if self._chan is not None:
            self._chan.abort()

    def _fail(self, message: str, code: str) -> None:
        self.ended.set_exception(Unreachable(message, code=code))
        self.ended.exception()  # a waiter sees it; without one it is no defect


async def run(link: SshLink, vector: Sequence[str], seconds: float = SECONDS) -> ProgramOutput:
    """Run the command to its end, within so many seconds. Raises Invalid (`unquotable`), Unreachable
    (`connection_lost`, `garbled`, …).

    The host itself ends a much longer run, in case the agent is gone.
    """
    word = secrets.token_hex(16)
    bounded = ["env", "LC_ALL=C", "timeout", str(int(seconds) + 5), *vector]
    program = Program(word.encode())
    try:
        async with asyncio.timeout(seconds):
            await link.channel(lambda: program, f"echo {word}; {line(bounded)}")
            return await program.ended
    except TimeoutError:
        raise Unreachable(f"{vector[0]} did not end on the host in {seconds:g} s", code="unreachable") from None
    finally:
        program.abort()
