"""Snapshots of a whole stream with its consumers, packed and unpacked by the server: same sequences, times, positions.

A snapshot may be taken during writes: it holds the stream as of some moment in between. Source: NATS ADR-1 and
server/jetstream_api.go (JSApiStreamSnapshotRequest, JSApiStreamRestoreRequest); each piece is acknowledged.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from writ_bus.errors import BusRefused, TimedOut
from writ_bus.nats.bus import NatsBus
from writ_bus.nats.client.port import NatsMessage
from writ_bus.nats.jetstream import ApiReply, call, error_of

CHUNK = 128 << 10
ANSWER = 30.0
"""Seconds between two pieces; the server's own limit is the same."""
_answer = msgspec.json.Decoder(ApiReply)


class StreamInfo(Struct, frozen=True, kw_only=True):
    """Data the server needs for a restore: the configuration, and the state."""

    config: dict[str, Any]
    state: dict[str, Any]


async def take(bus: NatsBus, stream: str, sink: Callable[[bytes], None]) -> StreamInfo:
    """Pack the stream into `sink`, piece by piece. Raises BusError."""
    pieces: asyncio.Queue[NatsMessage] = asyncio.Queue()
    subject = f"{bus.connection.options.inbox_prefix}.snapshot.{secrets.token_hex(11)}"
    subscription = await bus.connection.listen(subject, pieces.put_nowait)
    try:
        request = {"deliver_subject": subject, "chunk_size": CHUNK, "no_consumers": False, "jsck": True}
        info = await call(bus.replies, f"STREAM.SNAPSHOT.{stream}", request, timeout=ANSWER)
        while data := await _piece(bus, stream, pieces):
            sink(data)
    finally:
        await bus.connection.unlisten(subscription)
    return StreamInfo(config=info["config"], state=info["state"])


async def _piece(bus: NatsBus, stream: str, pieces: asyncio.Queue[NatsMessage]) -> bytes:
    try:
        async with asyncio.timeout(ANSWER):
            message = await pieces.get()
    except TimeoutError:
        raise TimedOut(f"the snapshot of {stream} stopped before its end") from None
    status = (message.headers or {}).get("Status", "")
    if not message.data and status not in ("", "204"):
        raise BusRefused(f"the snapshot of {stream} broke off: {(message.headers or {}).get('Description', status)}")
    if message.data and message.reply:
        await bus.connection.publish(message.reply, b"")
    return message.data


async def restore(bus: NatsBus, stream: str, info: StreamInfo, pieces: Iterator[bytes]) -> dict[str, Any]:
    """Unpack the stream, which must not exist; return its state. Raises BusError."""
    request = {"config": info.config, "state": info.state}
    begun = await call(bus.replies, f"STREAM.RESTORE.{stream}", request, timeout=ANSWER)
    for piece in pieces:
        for at in range(0, len(piece), CHUNK):
            await _send(bus, stream, begun["deliver_subject"], piece[at : at + CHUNK])
    await _send(bus, stream, begun["deliver_subject"], b"")
    state: dict[str, Any] = (await call(bus.replies, f"STREAM.INFO.{stream}", {}))["state"]
    return state


async def remove(bus: NatsBus, stream: str) -> None:
    """Delete the stream, with its content. Raises BusError."""
    await call(bus.replies, f"STREAM.DELETE.{stream}", {})


async def _send(bus: NatsBus, stream: str, subject: str, data: bytes) -> None:
    answer = await bus.replies.one(subject, data, timeout=ANSWER)
    if answer.data and (error := _answer.decode(answer.data).error):
        raise error_of(error, f"restoring {stream}")
