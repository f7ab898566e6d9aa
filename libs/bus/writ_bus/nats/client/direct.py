"""nats-py's client with a shorter path from the socket to the parser and back; the protocol on the wire is the same.

nats-py leaves reading and sending to tasks: each hop of an operation costs one more turn of the event loop on either
side, and one operation has dozens of hops. Here incoming bytes are parsed at once, whole messages by `frames`. The
first message of a turn is sent at once, the others together after it. Every step which has to wait (a server's refusal,
a full socket) takes nats-py's own path, and so does whatever is not plain. `internals` lists all of nats-py's internals
used here.

A token of a subject may be any bytes (NATS protocol), and a principal chooses some tokens. A message whose subject is
not UTF-8 is dropped: an exception on the way from the socket would end the connection.
"""

import asyncio
import logging
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, cast

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import MaxPayloadError
from nats.protocol.parser import AWAITING_CONTROL_LINE

from writ_bus import tasks
from writ_bus.nats.client.frames import BegunMessage, Frame, begun_message, whole_messages
from writ_bus.nats.client.headers import BEGINNING, HeaderClient, header_block, status_headers
from writ_bus.nats.client.outgoing import message_parts, write_parts
from writ_bus.nats.client.port import DOWN, OnMessage
from writ_bus.nats.client.watchdog import Watchdog, limit_silence, send_ping

_logger = logging.getLogger("writ.bus")

CLOSED_WITHIN = 2.0
_plain_subject = re.compile(r"[!-~]+").fullmatch


class ReplyFuture:
    """A stand-in for nats-py's future of a request: it receives the message from within the parser.

    With `cb=` each message would go through a queue and a task, two turns of the event loop.
    """

    __slots__ = ("_on_message",)

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message

    def cancelled(self) -> bool:
        return False

    def set_result(self, message: Msg) -> None:
        """Pass the message on."""
        try:
            self._on_message(message)
        except Exception:  # an exception would end nats-py's reader silently
            _logger.exception("nats.callback")


class DirectClient(HeaderClient):
    """A client with the shorter path; otherwise like its base."""

    _given_up = False
    _sent_this_turn = False
    _parsing: asyncio.Task[None] | None = None
    _late: bytearray
    _begun: BegunMessage | None = None
    """The message whose other bytes have not arrived yet."""

    async def _connect_to_server(self, s: Any) -> None:
        self._go_no_further()
        if self._transport:
            # nats-py forgets the socket of an attempt that failed.
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)
        setattr(self._transport, "wait_closed", partial(_closed, self._transport))  # noqa: B010 - as below
        self._go_no_further()

    def _go_no_further(self) -> None:
        """Stop reconnecting. nats-py ends it by a cancel, which Python 3.11's wait_for may lose."""
        if self._given_up:
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise asyncio.CancelledError

    async def _read_loop(self) -> None:
        reader: StreamReader | None = getattr(self._transport, "_io_reader", None)
        if reader is not None:
            self._parsing, self._late, self._begun = None, bytearray(), None
            early = bytes(reader._buffer)  # type: ignore[attr-defined]
            reader._buffer.clear()  # type: ignore[attr-defined]
            setattr(reader, "feed_data", self._arrived)  # noqa: B010 - a method of its own instead of its class's
            self._arrived(early)
        await super()._read_loop()  # from now on it gets only the end of the connection

    def _arrived(self, data: bytes) -> None:
        """Parse the bytes, and pass the messages on."""
        if self._parsing is not None:
            self._late += data
            return
        try:
            rest = self._take_plain(data)
            if not rest:
                return
            parse = self._ps.parse(rest)
            waits_for = parse.send(None)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - the reading task knows what each means
            self._reader_fails(error)
            return
        self._late = bytearray()
        self._parsing = tasks.spawn(self._parse_on(parse, waits_for), "nats parser")

    def _take_plain(self, data: bytes) -> bytes:
        """Pass on the messages at the beginning, and keep the beginning of one. Return what is left for nats-py."""
        if self._ps.buf or self._ps.state != AWAITING_CONTROL_LINE:
            return data
        begun, self._begun = self._begun, None
        if begun is not None:
            data = begun.add(data)
            if begun.missing:
                self._begun = begun
                return b""
            if not self._is_taken(begun.frame()):
                return begun.all_bytes() + data
        taken = self._take_whole(data)
        data = data[taken:] if taken else data
        self._begun = begun_message(data)
        return data if self._begun is None else b""

    def _take_whole(self, data: bytes) -> int:
        """Pass on the whole messages at the beginning, up to the first for nats-py. Return the number of bytes."""
        taken = 0
        for frame in whole_messages(data):
            if not self._is_taken(frame):
                break
            taken = frame[5]
        return taken

    def _is_taken(self, frame: Frame) -> bool:
        """Pass the message on, or drop it. Return False if its subscription is nats-py's, or its status not plain."""
        sid, subject, reply, headers, payload, _ = frame
        try:
            subject_text, reply_text = subject.decode(), reply.decode()
        except UnicodeDecodeError:
            self._drop(subject)
            return True
        subscription = self._subs.get(sid)
        sink: Any = None if subscription is None else subscription._future
        if subscription is None or not isinstance(sink, ReplyFuture):
            return False
        try:
            if not headers:
                found = None
            elif headers.startswith(BEGINNING):
                found = self._parse_header_lines(headers[len(BEGINNING) :].rstrip(b"\r\n"))
            elif not headers.startswith(b"NATS/1.0"):
                self._drop(subject)
                return True
            elif (found := status_headers(headers)) is None:
                return False
        except ValueError:
            self._drop(subject)
            return True
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(payload)
        subscription._received += 1
        sink.set_result(Msg(self, subject_text, reply_text, payload, found or None, _sid=sid))
        return True

    async def _parse_on(self, parse: Coroutine[Any, Any, None], waits_for: Any) -> None:
        """Finish a parse which had to wait, and the bytes received since."""
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
        if self._is_taken((sid, subject, reply, headers or b"", data, 0)):
            return
        await super()._process_msg(sid, subject, reply, data, headers)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message, as nats-py does. What is not plain takes nats-py's own path, with its errors.

        Raises MaxPayloadError also where it is the headers that are too much: nats-py does not count them, and the
        server, which does, would end the connection.
        """
        queue, block = self._flush_queue, b"" if headers is None else header_block(headers)
        if len(payload) <= self._max_payload < len(payload) + len(block or b""):
            raise MaxPayloadError
        plain = _plain_subject(subject) and (not reply or _plain_subject(reply))
        unlimited = self._status == self.CONNECTED and self._max_pending_size <= 0
        if block is None or queue is None or not (plain and unlimited) or len(payload) > self._max_payload:
            await super().publish(subject, payload, reply, headers)
            return
        parts = message_parts(subject, reply, block, payload)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        self._pending += parts
        self._pending_data_size += sum(map(len, parts))
        if queue.empty() and not self._goes_out():
            await super()._flush_pending()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        if force_flush or not self._goes_out():
            return await super()._flush_pending(force_flush)
        return None

    def _goes_out(self) -> bool:
        """Return whether pending bytes are sent now or after this turn; otherwise nats-py's task, which can wait, sends
        them.
        """
        if self._sent_this_turn:
            return True
        writer: StreamWriter | None = getattr(self._transport, "_io_writer", None)
        if not self.is_connected or writer is None or writer.is_closing() or _held_up(writer):
            return False
        waiting, self._pending, self._pending_data_size = self._pending, [], 0
        if waiting:
            self._sent_this_turn = True
            asyncio.get_running_loop().call_soon(self._after_turn)
            try:
                write_parts(writer, waiting)
            except RuntimeError:  # closed, see DOWN: what was written a moment before is lost as well
                _logger.debug("nats.write", exc_info=True)
        return True

    @property
    def clustered(self) -> bool:
        """Return whether the server is one of several, so a stream may have a replica which lags behind."""
        return "cluster" in self._server_info

    @property
    def server_id(self) -> str:
        """Return the id of the server of the present or last connection."""
        return str(self._server_info.get("server_id", ""))

    @property
    def waiting_bytes(self) -> int:
        """Return the number of bytes not taken by the socket yet."""
        return self._pending_data_size

    async def listen(self, subject: str, queue: str, on_message: OnMessage) -> Subscription:
        """Call `on_message` for each message, from within the parser."""
        return await self.subscribe(subject, queue=queue, future=cast("asyncio.Future[Msg]", ReplyFuture(on_message)))

    async def unlisten(self, subscription: Subscription) -> None:
        """Unsubscribe at the server, and wait for the messages it has already sent."""
        await self._send_unsubscribe(subscription._id)
        await self.round_trip(1.0)

    async def forget(self, subscription: Subscription) -> None:
        self._remove_sub(subscription._id)
        if self.is_connected:
            with suppress(*DOWN):
                await self._send_unsubscribe(subscription._id)

    async def round_trip(self, timeout: float) -> bool:
        """Wait for the pong of a ping sent after all earlier data."""
        done, _ = await asyncio.wait({await send_ping(self)}, timeout=timeout)
        return bool(done)

    def connection_made(self) -> None:
        """Let the kernel end a silent connection."""
        limit_silence(self)

    def drop_waiting(self) -> None:
        """Drop data the socket has not taken: its senders have given up, or get an error now."""
        self._pending.clear()
        self._pending_data_size = 0

    async def watch(self, every: float, patience: float) -> None:
        """Run the watchdog until cancelled."""
        await Watchdog(self, every, patience).run()

    async def shut(self) -> None:
        self.give_up()
        await self.close()

    def give_up(self) -> None:
        """Prepare for closing: drop bytes the server has not taken, and do not reconnect."""
        self._given_up = True
        self._pending, self._pending_data_size = [], 0
        writer: StreamWriter | None = getattr(self._transport, "_io_writer", None)
        if writer is not None and not writer.is_closing() and (_held_up(writer) or _is_tls(writer)):
            writer.transport.abort()

    def _after_turn(self) -> None:
        self._sent_this_turn = False
        queue = self._flush_queue
        if self._pending and not self._goes_out() and queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())


async def _closed(transport: Any) -> None:
    """Wait for the end of the socket, but not of one whose TLS handshake failed: asyncio never reports its end.

    All wait for one future, which `asyncio.wait` does not cancel with a waiter. A task around it would be left pending
    by a waiter that is cancelled, and destroyed with the socket of the failed handshake.
    """
    writer = transport._io_writer
    ended: asyncio.Future[None] = writer._protocol._get_close_waiter(writer)  # as StreamWriter.wait_closed
    await asyncio.wait({ended}, timeout=CLOSED_WITHIN)
    if ended.done() and not ended.cancelled():
        ended.result()


def _held_up(writer: StreamWriter) -> bool:
    """Return whether the socket has not taken earlier bytes."""
    return writer.transport.get_write_buffer_size() > 0


def _is_tls(writer: StreamWriter) -> bool:
    """Return whether a close would wait for the server's, which may be frozen: 30 s, asyncio's ssl_shutdown_timeout."""
    return writer.get_extra_info("ssl_object") is not None


class _Rest:
    """Awaits a coroutine started by hand, which waits for `waits_for`."""

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
