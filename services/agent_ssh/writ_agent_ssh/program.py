"""One program of a host, run on a channel of its own to its end: what it wrote, bounded, and how it ended."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import NamedTuple

import asyncssh

from writ_agent_ssh.link import Link
from writ_agent_ssh.quoting import line
from writ_contracts.errors import Unreachable

MOST_OUTPUT = 8 * 1024 * 1024
SECONDS = 10.0
"""For what should answer at once."""


class CommandResult(NamedTuple):
    """`status` 127: there is no such program."""

    status: int
    out: str


class Program(asyncssh.SSHClientSession[bytes]):
    """The bytes of its channel. What a shell says before our word is skipped."""

    def __init__(self, word: bytes) -> None:
        self._word = b"\n" + word + b"\n"
        self._out = bytearray(b"\n")
        self._noise = 0
        self._status: int | None = None
        self._aborted = False
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self.ended: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """See asyncssh.SSHClientSession."""
        self._chan = chan
        if self._aborted:  # it was opened after all, and nobody waits for it any more
            chan.abort()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Errors are counted, and not kept: they may quote anything."""
        if datatype is None:
            self._out += data
        else:
            self._noise += len(data)
        if len(self._out) + self._noise > MOST_OUTPUT and not self.ended.done():
            self._fail(f"the host wrote more than {MOST_OUTPUT} bytes", "garbled")
            self.abort()

    def exit_status_received(self, status: int) -> None:
        """How it ended."""
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        if self.ended.done():
            return
        _, word, out = bytes(self._out).partition(self._word)
        if self._status is None:
            self._fail("the connection to the host ended", "connection_lost")
        elif not word:
            self._fail("the host's shell does not do as it is told", "garbled")
        else:
            self.ended.set_result(CommandResult(self._status, out.decode("utf-8", "replace")))

    def abort(self) -> None:
        """Away with the channel."""
        self._aborted = True
        if self._chan is not None:
            self._chan.abort()

    def _fail(self, message: str, code: str) -> None:
        self.ended.set_exception(Unreachable(message, code=code))
        self.ended.exception()  # whoever waits sees it; if nobody does, that is no defect


async def run(link: Link, vector: Sequence[str], seconds: float = SECONDS) -> CommandResult:
    """Its end, within so many seconds. Raises Invalid (`unquotable`), Unreachable (`connection_lost`, `garbled`, …).

    The host itself ends what takes much longer, should nobody be here any more.
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
