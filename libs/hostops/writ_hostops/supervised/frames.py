"""Frames on a byte stream: nine bytes (kind, length of the JSON, length of the attachment), then both.

Long texts (the content of a file) travel attached as their bytes, not as JSON; `pack` takes them out of `parameters`
and `output`, `unpack` puts them back.

Either end may be hostile. Reading a frame takes time and memory in proportion to its bytes, which its kind bounds. JSON
that readers understand differently (depth, numbers, surrogates) is refused.
"""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple, Union

REQUEST, SETTLE, STOP, PING = b"Q", b"T", b"S", b"P"
"""Kinds of requests: to hostops; to the marks; to end a request; for a sign of life."""
HELLO, PROGRESS, RESULT, LOG = b"H", b"G", b"R", b"L"
"""Kinds of replies. Every request, settle, stop and ping gets one RESULT with its `tag`."""
FREE = b"F"
"""A child's frame for its parent alone: after the result of a change, it waits for another request."""
MOST, MOST_HEAD = 8 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes of a frame with a request or result, and of its JSON; a stream that announces more is ended."""
MOST_OF_OTHERS = 64 * 1024
"""Bytes of a frame of another kind."""
MOST_SYMBOLS, MOST_DEPTH, MOST_DIGITS, MOST_ATTACHED = 400_000, 20, 20, 64
"""Commas, colons and brackets of a frame's JSON, which bound its values; its nesting; the digits of an integer; its
attached texts.
"""
LONG = 4096
HEADER = struct.Struct(">cII")
_PLACES = ("parameters", "output")
_LARGE = REQUEST + RESULT
Bytes = Union[bytes, memoryview]


class BrokenFrame(Exception):
    """The bytes are no frame: another program wrote into the stream, or it was cut."""


class Frame(NamedTuple):
    """A frame as received."""

    kind: bytes
    head: bytes
    attached: Bytes
    missing: int = 0
    """The attached bytes that have not come yet."""

    def message(self) -> Dict[str, Any]:
        """Return the message; BrokenFrame if it is no object."""
        return unpack(self.head, self.attached)

    def without_attached(self) -> Dict[str, Any]:
        """Return the message without the attached texts, which are for another reader. Raises BrokenFrame."""
        return unpack(self.head, None)

    def raw(self) -> bytes:
        """Return the frame's bytes, without the missing ones."""
        header = HEADER.pack(self.kind, len(self.head), len(self.attached) + self.missing)
        return b"".join((header, self.head, self.attached))


def pack(kind: bytes, message: Dict[str, Any]) -> bytes:
    """Return the bytes of a frame with this message.

    Raises UnicodeEncodeError for half a surrogate pair in a request, which must arrive unchanged. Elsewhere "?"
    replaces it: file names may hold bytes outside of UTF-8.
    """
    shown, names, parts = dict(message), [], []
    errors = "strict" if kind == REQUEST else "replace"
    for folders in _PLACES:
        for name, value in _long(shown.get(folders)):
            if shown[folders] is message[folders]:
                shown[folders] = dict(message[folders])
            data = value.encode("utf-8", errors)
            del shown[folders][name]
            names.append([folders, name, len(data)])
            parts.append(data)
    if names:
        shown["attached"] = names
    head = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors)
    return b"".join((HEADER.pack(kind, len(head), sum(map(len, parts))), head, *parts))


def unpack(head: bytes, attached: Optional[Bytes]) -> Dict[str, Any]:
    """Return the message of a frame; without the attached texts if `attached` is None. Raises BrokenFrame."""
    if sum(map(head.count, (b",", b":", b"[", b"{"))) > MOST_SYMBOLS:
        raise BrokenFrame("a frame has too many values")
    try:
        message = json.loads(head.decode("utf-8"), parse_int=_whole, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BrokenFrame("a frame without valid JSON") from None
    if not isinstance(message, dict):
        raise BrokenFrame("a frame without valid JSON")
    _check(message)
    names = message.pop("attached", [])
    if attached is not None:
        _attach(message, names, memoryview(attached))
    return message


def _attach(message: Dict[str, Any], names: Any, attached: memoryview) -> None:
    """Put back the attached texts: in order, each once, and all of them."""
    if not isinstance(names, list) or len(names) > MOST_ATTACHED:
        raise BrokenFrame("an attachment list that is no list of texts")
    offset = 0
    for entry in names:
        folders, name, length = _attached_entry(entry)
        values = message.setdefault(folders, {})
        if not isinstance(values, dict) or name in values or length > len(attached) - offset:
            raise BrokenFrame("a frame attaches a text that is not there, or twice")
        try:
            values[name] = str(attached[offset : offset + length], "utf-8")
        except UnicodeDecodeError:
            raise BrokenFrame("an attachment that is no text") from None
        offset += length
    if offset != len(attached):
        raise BrokenFrame("a frame with more attached bytes than listed")


def _attached_entry(entry: Any) -> Tuple[str, str, int]:
    if isinstance(entry, list) and len(entry) == 3:
        folders, name, length = entry
        if folders in _PLACES and isinstance(name, str) and type(length) is int and length >= 0:
            return folders, name, length
    raise BrokenFrame("a frame attaches something without place, name and length")


def _check(message: Any) -> None:
    """Raise BrokenFrame for JSON that some readers accept and others refuse."""
    waiting = [(message, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            _no_number("")
        elif isinstance(value, (dict, list)):
            if depth > MOST_DEPTH:
                raise BrokenFrame("a frame is nested too deep")
            if isinstance(value, dict):
                waiting += [(name, depth) for name in value]
            waiting += [(one, depth + 1) for one in (value.values() if isinstance(value, dict) else value)]


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise BrokenFrame("a frame holds half a character") from None


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= MOST_DIGITS else 1 << 64
    if not -(1 << 63) <= number < 1 << 64:
        raise BrokenFrame("a frame holds a number that is too large")
    return number


def _no_number(_: str) -> NoReturn:
    raise BrokenFrame("a frame with an invalid number")


def _long(values: Any) -> List[Tuple[str, str]]:
    if not isinstance(values, dict):
        return []
    return [(name, value) for name, value in values.items() if isinstance(value, str) and len(value) > LONG]


def read_frame(fd: int, kinds: bytes) -> Optional[Frame]:
    """Read one frame of these kinds, and nothing of the next one; None at the end of the stream. Raises BrokenFrame."""
    header = _read_exactly(fd, HEADER.size)
    if header is None:
        return None
    kind, head, attached = HEADER.unpack(header)
    if kind not in kinds or not _is_bounded(kind, head, attached):
        raise BrokenFrame("this is no frame")
    body = _read_exactly(fd, head + attached)
    return None if body is None else Frame(kind, bytes(body[:head]), body[head:])


def _read_exactly(fd: int, size: int) -> Optional[memoryview]:
    """Read into one buffer: a process that was just forked pays for each page that it touches."""
    whole = memoryview(bytearray(size))
    left = whole
    while left:
        count = os.readv(fd, [left])
        if not count:
            return None
        left = left[count:]
    return whole


class Cutter:
    """Cuts a stream of any chunks into frames.

    Frames of the kinds `early` come as soon as their JSON is there. The caller takes their `missing` bytes from the
    stream, before it feeds on.
    """

    def __init__(self, kinds: bytes, early: bytes = b"") -> None:
        self._kinds = kinds
        self._early = early
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with this data. Raises BrokenFrame."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, head, attached = HEADER.unpack_from(self._buffer)
            if kind not in self._kinds or not _is_bounded(kind, head, attached):
                raise BrokenFrame("this is no frame")
            middle = HEADER.size + head
            end = middle + attached
            if len(self._buffer) < (middle if kind in self._early else end):
                return
            with memoryview(self._buffer) as view:
                frame = Frame(kind, bytes(view[HEADER.size : middle]), bytes(view[middle:end]), max(0, end - len(view)))
            del self._buffer[:end]
            yield frame


def _is_bounded(kind: bytes, head: int, attached: int) -> bool:
    if kind in _LARGE:
        return head <= MOST_HEAD and head + attached <= MOST
    return head + attached <= MOST_OF_OTHERS
