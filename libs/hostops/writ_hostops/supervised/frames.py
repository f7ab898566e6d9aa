"""Frames on a byte stream: nine bytes (kind, length of the JSON, length of the attachment), then both.

Long texts (the content of a file) travel attached as their bytes, not as JSON; `pack` takes them out of `parameters`
and `output`, `unpack` puts them back. With a text may come the name of a value that is its digest.

Either end may be hostile. Reading a frame takes time and memory in proportion to its bytes, which its kind bounds. JSON
that readers understand differently (depth, numbers, surrogates) is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from typing import (
    AbstractSet,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Tuple,
    Union,
)

from writ_hostops.encoded_text import Buffer, ComputedDigests, EncodedText, TextDigest

REQUEST, SETTLE, STOP, PING = b"Q", b"T", b"S", b"P"
"""Kinds of requests: to hostops; to the marks; to end a request; for a sign of life."""
HELLO, PROGRESS, RESULT, LOG = b"H", b"G", b"R", b"L"
"""Kinds of replies. Every request, settle, stop and ping gets one RESULT with its `tag`."""
FREE = b"F"
"""A child's frame for its parent alone: after the result of a change, it waits for another request."""
SHARED = b"M"
"""A child's frame for its parent alone: a RESULT whose attached bytes are in the memory that both share."""
MOST, MOST_HEAD = 8 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes of a frame with a request or result, and of its JSON; a stream that announces more is ended."""
MOST_SHARED, MOST_OF_OTHERS = 2 * 1024 * 1024, 64 * 1024
"""Bytes in the memory of child and parent (a file_read of 1 MiB in base64, and more); of a frame of another kind."""
MOST_SYMBOLS, MOST_DEPTH, MOST_DIGITS, MOST_ATTACHED = 400_000, 20, 20, 64
"""Commas, colons and brackets of a frame's JSON, which bound its values; its nesting; the digits of an integer; its
attached texts.
"""
LONG = 4096
HEADER = struct.Struct(">cII")
_READ = 1 << 16
_PLACES = ("parameters", "output")
COMPUTED = "computed_digests"
"""The name in a message of the ComputedDigests of its output."""
_LARGE = REQUEST + RESULT


def _none(_: Mapping[str, Any]) -> AbstractSet[str]:
    return frozenset()


class BrokenFrame(Exception):
    """The bytes are no frame: another program wrote into the stream, or it was cut."""


class Frame(NamedTuple):
    """A frame as received."""

    kind: bytes
    head: bytes
    attached: Buffer
    missing: int = 0
    """The attached bytes that have not come yet."""
    digest: str = ""
    """The SHA-256 of the attached bytes in hex, if it was computed while they came."""

    def message(self, encoded: Callable[[Mapping[str, Any]], AbstractSet[str]] = _none) -> Dict[str, Any]:
        """Return the message; BrokenFrame if it is no object. `encoded` names the attached texts, each of
        which becomes an EncodedText.
        """
        return unpack(self.head, self.attached, encoded, self.digest)

    def without_attached(self) -> Dict[str, Any]:
        """Return the message without the attached texts, which are for another reader. Raises BrokenFrame."""
        return unpack(self.head, None)

    def raw(self) -> bytes:
        """Return the frame's bytes, without the missing ones."""
        header = HEADER.pack(self.kind, len(self.head), len(self.attached) + self.missing)
        return b"".join((header, self.head, self.attached))


def pack(kind: bytes, message: Dict[str, Any]) -> bytes:
    """Return the bytes of a frame with this message. Raises as `parts`."""
    return b"".join(parts(kind, message))


def parts(kind: bytes, message: Dict[str, Any]) -> List[Buffer]:
    """Return the bytes of a frame with this message, in parts. The data of an EncodedText is not copied.

    Raises UnicodeEncodeError for half a surrogate pair in a request, which must arrive unchanged. Elsewhere "?"
    replaces it: file names may hold bytes outside of UTF-8.
    """
    shown, names, attached = dict(message), [], []
    errors = "strict" if kind == REQUEST else "replace"
    for folders in _PLACES:
        for name, value in _long(shown.get(folders)):
            if shown[folders] is message[folders]:
                shown[folders] = dict(message[folders])
            data = value.data if isinstance(value, EncodedText) else value.encode("utf-8", errors)
            digests = [other for other, one in shown[folders].items() if _is_digest_of(one, value)]
            for taken in (name, *digests):
                del shown[folders][taken]
            names.append([folders, name, len(data), *digests])
            attached.append(data)
    if names:
        shown["attached"] = names
    head = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors)
    return [HEADER.pack(kind, len(head), sum(map(len, attached))) + head, *attached]


def unpack(
    head: bytes,
    attached: Optional[Buffer],
    encoded: Callable[[Mapping[str, Any]], AbstractSet[str]] = _none,
    digest: str = "",
) -> Dict[str, Any]:
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
    message.pop(COMPUTED, None)
    if attached is not None:
        _attach(message, names, attached, encoded(message), digest)
    return message


def _attach(message: Dict[str, Any], names: Any, attached: Buffer, encoded: AbstractSet[str], digest: str) -> None:
    """Put back the attached texts: in order, each once, and all of them. `digest`: of all attached bytes, or ""."""
    if not isinstance(names, list) or len(names) > MOST_ATTACHED:
        raise BrokenFrame("an attachment list that is no list of texts")
    offset = 0
    for entry in names:
        folders, name, length, digest_name = _attached_entry(entry)
        values = message.setdefault(folders, {})
        if not isinstance(values, dict) or name in values or length > len(attached) - offset:
            raise BrokenFrame("a frame attaches a text that is not there, or twice")
        try:
            is_whole = length == len(attached)
            data = attached if is_whole else memoryview(attached)[offset : offset + length]
            if name in encoded:
                values[name] = EncodedText.checked(data, digest if is_whole else "")
            else:
                values[name] = str(data, "utf-8")
        except UnicodeDecodeError:
            raise BrokenFrame("an attachment that is no text") from None
        if digest_name is not None:
            if digest_name in values:
                raise BrokenFrame("a frame names a digest twice")
            values[digest_name] = digest if is_whole and digest else hashlib.sha256(data).hexdigest()
            if folders == "output":
                message.setdefault(COMPUTED, ComputedDigests())[name] = values[digest_name]
        offset += length
    if offset != len(attached):
        raise BrokenFrame("a frame with more attached bytes than listed")


def _attached_entry(entry: Any) -> Tuple[str, str, int, Optional[str]]:
    if isinstance(entry, list) and len(entry) in (3, 4):
        folders, name, length, *digests = entry
        texts = all(isinstance(one, str) for one in (name, *digests))
        if folders in _PLACES and texts and type(length) is int and length >= 0:
            return folders, name, length, digests[0] if digests else None
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


def _long(values: Any) -> List[Tuple[str, Union[str, EncodedText]]]:
    if not isinstance(values, dict):
        return []
    return [
        (name, value)
        for name, value in values.items()
        if isinstance(value, EncodedText) or (isinstance(value, str) and len(value) > LONG)
    ]


def _is_digest_of(value: Any, text: Union[str, EncodedText]) -> bool:
    return isinstance(value, TextDigest) and value.text is text


def read_frame(fd: int, kinds: bytes) -> Optional[Frame]:
    """Read one frame of these kinds, and nothing of the next one; None at the end of the stream. Raises BrokenFrame."""
    header = _read_exactly(fd, HEADER.size)
    if header is None:
        return None
    kind, head, attached = HEADER.unpack(header)
    if kind not in kinds or not _is_bounded(kind, head, attached):
        raise BrokenFrame("this is no frame")
    digest = hashlib.sha256()
    text = _read_exactly(fd, head)
    rest = None if text is None else _read_exactly(fd, attached, digest.update)
    if text is None or rest is None:
        return None
    return Frame(kind, bytes(text), rest, digest=digest.hexdigest())


def _ignore(_: memoryview) -> None:
    return


def _read_exactly(fd: int, size: int, arrived: Callable[[memoryview], None] = _ignore) -> Optional[bytearray]:
    """Read into one buffer: a process pays for each page of a new one. `arrived` gets each piece, while others come."""
    whole, length = bytearray(size), 0
    with memoryview(whole) as view:
        while length < size:
            with view[length:] as left:
                count = os.readv(fd, [left])
            if not count:
                return None
            with view[length : length + count] as piece:
                arrived(piece)
            length += count
    return whole


class Relay:
    """Reads frames to be passed on as they came. A long frame is read into one buffer, and copied no more. The attached
    bytes of a SHARED frame do not come here.
    """

    def __init__(self, kinds: bytes) -> None:
        self._kinds = kinds
        self._begun = bytearray()
        self._length = 0

    def read(self, fd: int) -> Optional[List[Tuple[bytes, Buffer]]]:
        """Read once. Return the kind and the bytes of each frame that is complete now; None at the end of the stream.
        Raises BrokenFrame.
        """
        if self._length < len(self._begun):
            with memoryview(self._begun) as view, view[self._length :] as rest:
                count = os.readv(fd, [rest])
            self._length += count
            return None if not count else self._cut() if self._length == len(self._begun) else []
        data = os.read(fd, _READ)
        self._begun += data
        self._length = len(self._begun)
        return self._cut() if data else None

    def _cut(self) -> List[Tuple[bytes, Buffer]]:
        complete: List[Tuple[bytes, Buffer]] = []
        while self._length >= HEADER.size:
            kind, head, attached = HEADER.unpack_from(self._begun)
            if kind not in self._kinds or not _is_bounded(kind, head, attached):
                raise BrokenFrame("this is no frame")
            end = HEADER.size + head + (0 if kind == SHARED else attached)
            if end > self._length:
                begun, self._begun = self._begun, bytearray(end)
                self._begun[: self._length] = begun
                break
            rest = self._begun[end:]
            del self._begun[end:]
            complete.append((kind, self._begun))
            self._begun, self._length = rest, len(rest)
        return complete


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
            if len(self._buffer) == end:  # it is the frame's own: a long text is not copied
                whole, self._buffer = self._buffer, bytearray()
                yield Frame(kind, bytes(whole[HEADER.size : middle]), memoryview(whole)[middle:])
                continue
            with memoryview(self._buffer) as view:
                frame = Frame(kind, bytes(view[HEADER.size : middle]), bytes(view[middle:end]), max(0, end - len(view)))
            del self._buffer[:end]
            yield frame


def _is_bounded(kind: bytes, head: int, attached: int) -> bool:
    if kind in _LARGE:
        return head <= MOST_HEAD and head + attached <= MOST
    if kind == SHARED:
        return head <= MOST_HEAD and attached <= MOST_SHARED
    return head + attached <= MOST_OF_OTHERS
