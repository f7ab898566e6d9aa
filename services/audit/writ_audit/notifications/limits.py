"""Limits of the notifications to one destination. Pure; time comes in.

An attacker must not be able to fill an inbox, or to have the notification of another attack dropped, by events of one
kind, about one principal or of one pool, nor by principals that do not exist.
"""

from typing import get_args

from writ_contracts.agents import SecurityKind
from writ_contracts.notifications import Notification
from writ_runtime.buckets import Buckets

OF_REQUESTS = ("pending", "decided", "expired")
RATE, BURST = 0.5, 20.0
"""Requests of one principal by kind: a second on average, and at once."""
FIRST_RATE, FIRST_BURST = 1 / 60, 3.0
"""Security events of one kind that are sent whatever else was. The kinds are few, so these fill no inbox."""
SOURCE_RATE, SOURCE_BURST = 0.1, 20.0
"""Further ones of one kind about one principal of one pool. Principals can be made up: hence the next limits."""
POOL_RATE, POOL_BURST = 0.25, 40.0
"""Further ones of one pool, and those of no pool: half of what all have together."""
ALL_RATE, ALL_BURST = 0.5, 80.0
TITLES = frozenset(f"security: {kind}" for kind in get_args(SecurityKind))
LONGEST_KEY = 200
"""Characters of the key of a limit: names in security events can be long, and tens of thousands of keys are kept."""


class NotificationLimits:
    """What one destination got lately."""

    def __init__(self) -> None:
        self._requests = Buckets(RATE, BURST)
        self._first = Buckets(FIRST_RATE, FIRST_BURST)
        self._by_source = Buckets(SOURCE_RATE, SOURCE_BURST)
        self._by_pool = Buckets(POOL_RATE, POOL_BURST)
        self._all = Buckets(ALL_RATE, ALL_BURST)

    def permit(self, one: Notification, pool: str, now: float) -> bool:
        """Return whether it may be sent. Stops, emergencies and other changes that policy permitted always may.

        `pool`: that of a security event, "" without one.
        """
        if one.kind in OF_REQUESTS:
            return self._requests.take(f"{one.kind} {one.principal}"[:LONGEST_KEY], now)
        if one.kind != "security":
            return True
        source = f"{one.title} {pool} {one.principal}"[:LONGEST_KEY]
        return self._first.take(one.title if one.title in TITLES else "", now) or (
            self._by_source.take(source, now)
            and self._by_pool.take(pool[:LONGEST_KEY], now)
            and self._all.take("", now)
        )
