"""nats-py's client against malformed messages and servers that die: nothing but a cancellation ends its reading or its
reconnect, and only the server names a sender.

The server passes on any bytes in subjects and headers. A principal chooses some of them.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client

from writ_bus import tasks
from writ_bus.nats.client.encrypted import EncryptedClient
from writ_bus.sender import REQUEST_INFO

_logger = logging.getLogger("writ.bus")
_SERVERS_LINE = f"{REQUEST_INFO}: ".encode()
BLANK = " \t\n\r\x0b\x0c"


class GuardedClient(EncryptedClient):
    """A client that drops what nats-py cannot read; otherwise like its base."""

    _dropped = 0
    """Messages whose subject, reply subject or headers are not UTF-8."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found: dict[str, str] = Client._parse_header_lines(raw)
        if REQUEST_INFO in found:
            take_from_server(found, raw)
        return found

    async def _connect_to_server(self, s: Any) -> None:
        await _cancellable(super()._connect_to_server(s))

    async def _process_connect_init(self) -> None:
        """Shake hands with the server. Raises only what makes nats-py try again.

        Any other exception ends its reconnect for good, as the RuntimeError of uvloop does where a server sends its
        greeting and dies.
        """
        try:
            await _cancellable(super()._process_connect_init())
        except (OSError, nats.errors.Error):  # TimeoutError is an OSError
            raise
        except Exception as error:
            raise nats.errors.Error(f"the handshake failed: {type(error).__name__}: {error}") from error

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError):
            # No text, or headers shorter than a status line. nats-py's reading task would end by the error, so that one
            # message by a stolen key would make a service deaf.
            self._drop(subject)

    def _drop(self, subject: bytes) -> None:
        """Count the message. The log has one line for each doubling: its sender decides how many there are."""
        self._dropped += 1
        if self._dropped.bit_count() == 1:
            _logger.warning("nats.message_not_text", extra={"subject": repr(subject[:80]), "messages": self._dropped})


async def _cancellable(step: Coroutine[Any, Any, None]) -> None:
    """Do a step of connecting, and raise CancelledError after it if its task was cancelled meanwhile.

    `asyncio.wait_for` of Python 3.11 drops a cancellation that comes in the moment its reply arrives, and nats-py would
    go on connecting without end to a server that refuses it.
    """
    try:
        await step
    finally:
        if tasks.is_cancelled():
            raise asyncio.CancelledError


def take_from_server(found: dict[str, str], raw: bytes) -> None:
    """Keep the server's own REQUEST_INFO, and no other.

    nats-server appends it as the last line, after it has removed one of this name. A sender whose headers do not end
    with a line break has it appended to a line of their own, so that another one of theirs would count.
    """
    last = raw.rstrip(b"\r\n").rpartition(b"\r\n")[2]
    if last.startswith(_SERVERS_LINE):
        found[REQUEST_INFO] = last[len(_SERVERS_LINE) :].decode().strip(BLANK)
    else:
        del found[REQUEST_INFO]
