"""Frames on a byte stream: nine bytes (kind, length of the JSON, length of what is attached), then both.

Long texts (the content of a file) travel attached as the bytes that they are, not as JSON; `pack` takes them out of
`parameters` and `output`, `unpack` puts them back.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

REQUEST, SETTLE, STOP, PING = b"Q", b"T", b"S", b"P"
"""What is asked: of hostops; of the marks; to end a request; nothing, but an answer."""
HELLO, PROGRESS, RESULT, LOG = b"H", b"G", b"R", b"L"
"""What is told. Every request, settle, stop and ping gets one RESULT with its `tag`."""
MOST = 24 * 1024 * 1024
"""Bytes of a frame; both sides end a stream that announces more."""
LONG = 4096
HEADER = struct.Struct(">cII")
_PLACES = ("parameters", "output")


class Broken(Exception):
    """What came is no frame: somebody else wrote into the stream, or it was cut."""


class Frame(NamedTuple):
    """One of them, as it came."""

    kind: bytes
    head: bytes
    attached: bytes

    def message(self) -> Dict[str, Any]:
        """What it says; Broken if that is no object."""
        return unpack(self.head, self.attached)

    def raw(self) -> bytes:
        """As it is sent."""
        return HEADER.pack(self.kind, len(self.head), len(self.attached)) + self.head + self.attached


def pack(kind: bytes, message: Dict[str, Any]) -> bytes:
    """The bytes of a frame that says this."""
    shown, names, parts = dict(message), [], []
    for place in _PLACES:
        for name, value in _long(shown.get(place)):
            if shown[place] is message[place]:
                shown[place] = dict(message[place])
            data = value.encode("utf-8", "replace")
            del shown[place][name]
            names.append([place, name, len(data)])
            parts.append(data)
    if names:
        shown["attached"] = names
    head = json.dumps(shown, separators=(",", ":")).encode("ascii")
    attached = b"".join(parts)
    return HEADER.pack(kind, len(head), len(attached)) + head + attached


def unpack(head: bytes, attached: bytes) -> Dict[str, Any]:
    """What a frame says."""
    try:
        message = json.loads(head)
        offset = 0
        for place, name, length in message.pop("attached", ()):
            message.setdefault(place, {})[name] = attached[offset : offset + length].decode("utf-8")
            offset += length
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Broken("a frame says nothing that can be read") from None
    if not isinstance(message, dict):
        raise Broken("a frame says nothing that can be read")
    return message


def _long(values: Any) -> List[Tuple[str, str]]:
    if not isinstance(values, dict):
        return []
    return [(name, value) for name, value in values.items() if isinstance(value, str) and len(value) > LONG]


class Cutter:
    """Cuts a stream into frames, however its bytes come."""

    def __init__(self, kinds: bytes) -> None:
        self._kinds = kinds
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with this. Raises Broken."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, head, attached = HEADER.unpack_from(self._buffer)
            if kind not in self._kinds or head + attached > MOST:
                raise Broken("this is no frame")
            end = HEADER.size + head + attached
            if len(self._buffer) < end:
                return
            middle = HEADER.size + head
            frame = Frame(kind, bytes(self._buffer[HEADER.size : middle]), bytes(self._buffer[middle:end]))
            del self._buffer[:end]
            yield frame
