"""A TLS socket of a client that bounds the bytes and the duration of the server's reply to each request.

The time-out of a socket counts from its last byte. Without these bounds a server could hold a thread of the agent
forever: by a byte a minute, or by endless interim replies (100 Continue), which http.client skips.
"""

import ssl
import time
from typing import Any

WHOLE_SECONDS = 60.0
MOST_BYTES = 16 * 1024 * 1024


class UnusableReply(Exception):
    """Raised for an unusable reply: not JSON, without data, compressed, too large, too slow, or a redirect."""


class BoundedSocket(ssl.SSLSocket):
    """The socket of one connection: a whole reply, head and body, has `WHOLE_SECONDS` and `MOST_BYTES`."""

    _until = 0.0
    _left = 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send a request or a part of it. The reply's limits begin."""
        super().sendall(data, flags)
        self._until, self._left = time.monotonic() + WHOLE_SECONDS, MOST_BYTES

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive a part of a reply. Raises UnusableReply beyond the limits, and as a socket does."""
        seconds, timeout = self._until - time.monotonic(), self.gettimeout()
        if self._left <= 0:
            raise UnusableReply("the reply is too large")
        if seconds <= 0:
            raise UnusableReply("the reply is too slow")
        is_last = timeout is None or seconds < timeout
        if is_last:
            self.settimeout(seconds)
        try:
            received = super().recv_into(buffer, nbytes, flags)
        except TimeoutError:
            if is_last:
                raise UnusableReply("the reply is too slow") from None
            raise
        self._left -= received
        return received
