"""Targets that took long to be found unreachable: for a while nobody waits for them again.

Without it, eight operations on a dead target wait for its timeout one after the other.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from writ_agent_ssh.startup.sudo import Sudo
from writ_contracts.errors import Invalid, Unreachable

SLOW = 1.0
"""Seconds. A failure that comes sooner costs nobody anything."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
MOST_TARGETS = 10_000


class RecentFailures:
    """By target: until when it is not tried again, the pause, and the reason."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[float, float, str, str]] = OrderedDict()

    def check(self, target: str) -> None:
        """Raises Unreachable, with the code of the failure, for a target that just failed."""
        until, _, code, reason = self._failed.get(target, (0.0, 0.0, "", ""))
        left = until - self._clock()
        if left > 0:
            raise Unreachable(f"{reason}; it is tried again in {left:.0f} s", code=code)

    @contextmanager
    def watch(self, target: str) -> Iterator[None]:
        """Record whether the target was reached in this block."""
        began = self._clock()
        try:
            yield
        except Unreachable as error:
            if self._clock() - began >= SLOW:
                self._record(target, error)
            raise
        self._failed.pop(target, None)

    def _record(self, target: str, error: Unreachable) -> None:
        pause = min(self._failed.get(target, (0.0, FIRST_PAUSE / 2, "", ""))[1] * 2, LONGEST_PAUSE)
        self._failed[target] = (self._clock() + pause, pause, error.code, str(error))
        self._failed.move_to_end(target)
        if len(self._failed) > MOST_TARGETS:
            self._failed.popitem(last=False)


WRONG_PASSWORD_SECONDS = 600.0
"""Seconds for which a refused password is not sent again: hosts lock an account after a few wrong ones."""


class RefusedPasswords:
    """By target: the way to root that was refused, and until when it is not tried again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, tuple[Sudo, float, str]] = {}

    @contextmanager
    def watch(self, target: str, sudo: Sudo) -> Iterator[None]:
        """Record whether the password was refused in this block. Raises Invalid (`become_password`) before it for one
        that was.
        """
        known, until, reason = self._refused.get(target, (None, 0.0, ""))
        left = until - self._clock()
        if known == sudo and left > 0:
            raise Invalid(f"{reason}; it is tried again in {left:.0f} s", code="become_password")
        try:
            yield
        except Invalid as error:
            if error.code == "become_password":
                self._refused[target] = (sudo, self._clock() + WRONG_PASSWORD_SECONDS, str(error))
            raise
        self._refused.pop(target, None)
