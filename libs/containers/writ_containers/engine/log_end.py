"""The end of a container's log, from the frames of the engine's stream. No I/O."""

HEADER = 8
"""Bytes before each frame: the output (1 byte), three zeros, and the length of the frame (4 bytes, big-endian)."""


class LogEnd:
    """The last characters of a log, which takes no more memory than they need, whatever length a frame states."""

    def __init__(self, most: int, *, framed: bool) -> None:
        """`most`: characters. `framed`: false for a container with a terminal, whose log is one plain stream."""
        self._most, self._framed = most, framed
        self._bytes = 4 * most  # UTF-8 has at most 4 bytes a character
        self._kept, self._header, self._left = bytearray(), bytearray(), 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the stream, of any length."""
        if not self._framed:
            self._keep(piece)
            return
        rest = memoryview(piece)
        while rest:
            if not self._left:
                rest = self._take_header(rest)
                continue
            self._keep(rest[: self._left])
            taken = min(self._left, len(rest))
            self._left, rest = self._left - taken, rest[taken:]

    @property
    def text(self) -> str:
        """The end of all output so far."""
        return self._kept[-self._bytes :].decode(errors="ignore")[-self._most :]

    def _take_header(self, rest: memoryview) -> memoryview:
        missing = HEADER - len(self._header)
        self._header += rest[:missing]
        if len(self._header) == HEADER:
            self._left = int.from_bytes(self._header[4:], "big")
            self._header.clear()
        return rest[missing:]

    def _keep(self, part: bytes | memoryview) -> None:
        self._kept += part[-self._bytes :]
        if len(self._kept) > 2 * self._bytes:
            del self._kept[: -self._bytes]
