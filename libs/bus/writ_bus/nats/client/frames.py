"""Messages in bytes from the server, as long as they are in the server's own spelling.

nats-py's parser copies all bytes into a buffer, matches a regular expression of every kind of line, and takes each
message out of the buffer, which moves the rest. Anything else than a message, such as a ping or a part of a line, is
left to it; tests/bus/test_frames.py compares the two.
"""

from collections.abc import Iterator

LONGEST_LINE = 4096
CRLF = b"\r\n"
Frame = tuple[int, bytes, bytes, bytes, bytes, int]
"""Subscription, subject, reply subject, headers in wire form, payload, and the end of the message in the bytes."""
Line = tuple[int, bytes, bytes, int, int, int]
"""Subscription, subject, reply subject, and the places of headers, payload and end of the message."""


def whole_messages(data: bytes) -> Iterator[Frame]:
    """Yield the messages at the beginning of the bytes, up to the first that is none, not whole or not plain."""
    place = 0
    while place < len(data) and (frame := _message_at(data, place)) is not None:
        yield frame
        place = frame[5]


class BegunMessage:
    """A message of which the line has arrived. Its bytes are joined once, when the last of them are here: 1 MB arrives
    in some dozen pieces.
    """

    def __init__(self, line: Line, data: bytes) -> None:
        self._line = line
        self._pieces = [data]
        self.missing = line[5] + 2 - len(data)
        """Bytes still to arrive."""

    def add(self, data: bytes) -> bytes:
        """Take the bytes that belong to the message. Return those behind it."""
        own = data if len(data) <= self.missing else data[: self.missing]
        self._pieces.append(own)
        self.missing -= len(own)
        return data[len(own) :]

    def frame(self) -> Frame:
        """Return the complete message."""
        sid, subject, reply, start, body, end = self._line
        first, last = self._pieces[0], self._pieces[-1]
        if len(first) < body or len(last) < len(CRLF):
            data = self.all_bytes()
            return sid, subject, reply, data[start:body], data[body:end], end + 2
        payload = b"".join((memoryview(first)[body:], *self._pieces[1:-1], memoryview(last)[: -len(CRLF)]))
        return sid, subject, reply, first[start:body], payload, end + 2

    def all_bytes(self) -> bytes:
        """Return all bytes that have arrived."""
        return b"".join(self._pieces)


def begun_message(data: bytes) -> BegunMessage | None:
    """Return the message with whose plain line the bytes begin, unless they are all of it."""
    line = _line_at(data, 0)
    return BegunMessage(line, data) if line is not None and line[5] + 2 > len(data) else None


def _message_at(data: bytes, place: int) -> Frame | None:
    line = _line_at(data, place)
    if line is None:
        return None
    sid, subject, reply, start, body, end = line
    if end + 2 > len(data):
        return None
    return sid, subject, reply, data[start:body], data[body:end], end + 2


def _line_at(data: bytes, place: int) -> Line | None:
    line_end = data.find(CRLF, place, place + LONGEST_LINE)
    words = data[place:line_end].split(b" ") if line_end >= 0 else ()
    match words:
        case b"HMSG", subject, sid, reply, headers, size:
            pass
        case b"HMSG", subject, sid, headers, size:
            reply = b""
        case b"MSG", subject, sid, reply, size:
            headers = b"0"
        case b"MSG", subject, sid, size:
            reply, headers = b"", b"0"
        case _:
            return None
    if not (subject and sid.isdigit() and headers.isdigit() and size.isdigit()):
        return None
    start = line_end + 2
    body, end = start + int(headers), start + int(size)
    return None if body > end else (int(sid), subject, reply, start, body, end)
