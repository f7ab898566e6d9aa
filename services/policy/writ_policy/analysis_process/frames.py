"""Messages on a pipe: four bytes of length, then the content."""

from asyncio import IncompleteReadError, StreamReader
from typing import BinaryIO

LONGEST = 64 << 20


def framed(data: bytes) -> bytes:
    """Return a message as it is written to the pipe."""
    return len(data).to_bytes(4, "big") + data


def read_frame(source: BinaryIO) -> bytes | None:
    """Return the next message; None at the end."""
    head = source.read(4)
    return source.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def write_frame(sink: BinaryIO, data: bytes) -> None:
    """Write a message and flush it."""
    sink.write(framed(data))
    sink.flush()


async def next_frame(source: StreamReader) -> bytes | None:
    """Return the next message; None at the end."""
    try:
        length = int.from_bytes(await source.readexactly(4), "big")
        return await source.readexactly(length) if length <= LONGEST else None
    except IncompleteReadError:
        return None
