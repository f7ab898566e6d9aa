"""nats-py's client with a shorter way from the socket to the parser and back; what goes over the wire is the same.

nats-py leaves reading and sending to tasks: with each hop of an operation that is a turn of the event loop more, here
and there, and one operation has dozens of hops. Here what arrives is parsed as it arrives, and the first message of a
turn goes out as it comes, the others together after it. Whatever has to wait (a server's refusal, a socket that takes
no more) goes nats-py's own way, and so does a message with a status. Of its internals (2.16) this uses
`_connect_to_server`, `_read_loop`, `_process_msg`, `_subs`, `_flush_pending`, `_pending` and `_ps`.
"""

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from writ_bus.nats.headers import BEGINNING, HeaderClient

_logger = logging.getLogger("writ.bus")

DOWN = (nats.errors.Error, OSError, RuntimeError)
"""What nats-py raises without a connection. RuntimeError is uvloop's word for a socket that is closed: until nats-py
has heard that it is lost it writes to it, in place of its flusher, which has ended by then.
"""


class Sink:
    """What nats-py takes for the future of a request: it gives it the message from within the parser.

    With `cb=` it would go through a queue and a task, for each message two turns of the event loop.
    """

    __slots__ = ("_on_message",)

    def __init__(self, on_message: Callable[[Msg], None]) -> None:
        self._on_message = on_message

    def cancelled(self) -> bool:
        """Never."""
        return False

    def set_result(self, message: Msg) -> None:
        """Hand it over."""
        try:
            self._on_message(message)
        except Exception:  # an exception would end nats-py's reader without a word
            _logger.exception("nats.callback")


class DirectClient(HeaderClient):
    """As its base; nothing else is changed."""

    _given_up = False
    _sent_this_turn = False
    _parsing: asyncio.Task[None] | None = None
    _late: bytearray

    async def _connect_to_server(self, s: Any) -> None:
        self._go_no_further()
        if self._transport:
            # nats-py forgets the socket of an attempt that failed.
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)
        setattr(self._transport, "wait_closed", partial(_closed, self._transport))  # noqa: B010 - as below
        self._go_no_further()

    def _go_no_further(self) -> None:
        """nats-py ends its reconnecting by a cancel, which Python 3.11's wait_for may lose."""
        if self._given_up:
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise asyncio.CancelledError

    async def _read_loop(self) -> None:
        reader: StreamReader | None = getattr(self._transport, "_io_reader", None)
        if reader is not None:
            self._parsing, self._late = None, bytearray()
            early = bytes(reader._buffer)  # type: ignore[attr-defined]
            reader._buffer.clear()  # type: ignore[attr-defined]
            setattr(reader, "feed_data", self._arrived)  # noqa: B010 - a method of its own instead of its class's
            self._arrived(early)
        await super()._read_loop()  # from now on it hears of the end alone

    def _arrived(self, data: bytes) -> None:
        """Parse it, and hand over the messages in it."""
        if self._parsing is not None:
            self._late += data
            return
        parse = self._ps.parse(data)
        try:
            waits_for = parse.send(None)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - the reading task knows what each means
            self._reader_fails(error)
            return
        self._late = bytearray()
        self._parsing = asyncio.get_running_loop().create_task(self._parse_on(parse, waits_for))

    async def _parse_on(self, parse: Coroutine[Any, Any, None], waits_for: Any) -> None:
        """The rest of what had to wait, and what has arrived since."""
        try:
            await _Rest(parse, waits_for)
            while self._late:
                late, self._late = bytes(self._late), bytearray()
                await self._ps.parse(late)
        except Exception as error:  # noqa: BLE001 - as above
            self._reader_fails(error)
        finally:
            if self._parsing is asyncio.current_task():  # and not of the connection that came after
                self._parsing = None

    def _reader_fails(self, error: Exception) -> None:
        reader: StreamReader | None = getattr(self._transport, "_io_reader", None)
        if reader is not None:
            reader.set_exception(error)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        subscription = self._subs.get(sid)
        sink: Any = None if subscription is None else subscription._future
        if subscription is None or not isinstance(sink, Sink) or (headers and not headers.startswith(BEGINNING)):
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        subscription._received += 1
        found = self._parse_header_lines(headers[len(BEGINNING) :].rstrip(b"\r\n")) if headers else None
        sink.set_result(Msg(self, subject.decode(), reply.decode(), data, found or None, _sid=sid))

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        if force_flush or not self._goes_out():
            return await super()._flush_pending(force_flush)
        return None

    def _goes_out(self) -> bool:
        """Whether what waits is sent, or will be after this turn; else it is for nats-py's task, which can wait."""
        if self._sent_this_turn:
            return True
        writer: StreamWriter | None = getattr(self._transport, "_io_writer", None)
        if not self.is_connected or writer is None or writer.is_closing() or _held_up(writer):
            return False
        waiting, self._pending, self._pending_data_size = self._pending, [], 0
        if waiting:
            self._sent_this_turn = True
            asyncio.get_running_loop().call_soon(self._after_turn)
            with suppress(RuntimeError):  # closed, see DOWN: what was written a moment before is lost as well
                writer.writelines(waiting)
        return True

    def give_up(self) -> None:
        """Before closing: what the server has not taken until now is not waited for, and nothing reconnects."""
        self._given_up = True
        self._pending, self._pending_data_size = [], 0
        writer: StreamWriter | None = getattr(self._transport, "_io_writer", None)
        if writer is not None and not writer.is_closing() and _held_up(writer):
            writer.transport.abort()

    def _after_turn(self) -> None:
        self._sent_this_turn = False
        queue = self._flush_queue
        if self._pending and not self._goes_out() and queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())


async def _closed(transport: Any) -> None:
    """The end of its socket. All wait for one future, which would be cancelled with the first of them that is."""
    ended = asyncio.ensure_future(transport._io_writer.wait_closed())
    ended.add_done_callback(lambda one: one.cancelled() or one.exception())  # seen, even where nobody waits any more
    await asyncio.wait({ended})
    ended.result()


def _held_up(writer: StreamWriter) -> bool:
    """Whether the socket has not taken what it was given before."""
    return writer.transport.get_write_buffer_size() > 0


class _Rest:
    """Awaits a coroutine that was begun by hand and waits for that."""

    def __init__(self, begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._begun, self._waits_for = begun, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            yield waits_for
            try:
                waits_for = self._begun.send(None)
            except StopIteration:
                return
