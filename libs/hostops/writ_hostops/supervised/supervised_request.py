"""The state of one request that a child carries out, as its supervisor keeps it."""

from __future__ import annotations

import collections
from typing import Deque, List, Optional

from writ_hostops.supervised import frames
from writ_hostops.supervised.child import ChildProcess


class SupervisedRequest:
    """A request that a child carries out. `kill_at`: the end of its grace. `stops`: the tags of the stops that wait for
    it.
    """

    def __init__(self, tag: int, operation_id: str, child: ChildProcess, is_read: bool, deadline: float) -> None:
        """`is_read`: it changes nothing, and its result frees the child."""
        self.tag, self.operation_id, self.child, self.is_read = tag, operation_id, child, is_read
        self.relay = frames.Relay(frames.PROGRESS + frames.RESULT + frames.SHARED + frames.LOG + frames.FREE)
        self.has_result = False
        self.is_free = False
        self.sent_until = 0
        """The end of its shared texts among all bytes to the other end of the connection."""
        self.stop_at: Optional[float] = deadline
        self.kill_at: Optional[float] = None
        self.give_up_at: Optional[float] = None
        self.stops: List[int] = []
        self.unread: Deque[memoryview] = collections.deque()
        """Of its request, what its child has not read yet."""

    @property
    def undisturbed(self) -> bool:
        """Return whether nobody ended its child."""
        return self.kill_at is None and self.give_up_at is None and not self.stops
