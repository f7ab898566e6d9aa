"""Messages in bytes from the server, as long as they are whole and in the server's own spelling.

nats-py's parser copies all bytes into a buffer, matches a regular expression of every kind of line, and takes each
message out of the buffer, which moves the rest. Anything else than a whole message, such as a part of one or a ping, is
left to it; tests/bus/test_frames.py compares the two.
"""

from collections.abc import Iterator

LONGEST_LINE = 4096
Frame = tuple[int, bytes, bytes, bytes, bytes, int]
"""Subscription, subject, reply subject, headers in wire form, payload, and the end of the message in the bytes."""


def whole_messages(data: bytes) -> Iterator[Frame]:
    """Yield the messages at the beginning of the bytes, up to the first that is none, not whole or not plain."""
    place = 0
    while place < len(data) and (frame := _message_at(data, place)) is not None:
        yield frame
        place = frame[5]


def is_begun(data: bytes) -> bool:
    """Return whether the bytes begin with the plain line of a message, and are not all of it."""
    found = _line_at(data, 0)
    return found is not None and found[5] + 2 > len(data)


def _message_at(data: bytes, place: int) -> Frame | None:
    line = _line_at(data, place)
    if line is None:
        return None
    sid, subject, reply, start, body, end = line
    if end + 2 > len(data):
        return None
    return sid, subject, reply, data[start:body], data[body:end], end + 2


def _line_at(data: bytes, place: int) -> tuple[int, bytes, bytes, int, int, int] | None:
    """Return subscription, subject, reply subject, and the places of headers, payload and end of the message."""
    line_end = data.find(b"\r\n", place, place + LONGEST_LINE)
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
