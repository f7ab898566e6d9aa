"""Bound the events about refusals of NATS: by sender, and altogether. What is left out is counted in the next event.

Pure; time comes in.
"""

from collections import OrderedDict

from msgspec import Struct, field

from writ_contracts.agents import SecurityKind
from writ_runtime.buckets import Bucket

RATE, BURST = 1 / 30, 5.0
"""Events about one sender: a second on average, and at once."""
TOTAL_RATE, TOTAL_BURST = 0.2, 50.0
"""Altogether, so that audit's other security events, which have a limit in common, are recorded in any flood."""
MOST_SENDERS = 1_000


class Refused(Struct, frozen=True, kw_only=True):
    """A refusal in words. `sender`: an account, or an address where no key is proven."""

    kind: SecurityKind
    sender: str
    detail: str
    principal: str | None = None
    pool: str | None = None


class Sender(Struct, kw_only=True):
    """A sender's limit, with the last refusal left out and the number of those."""

    bucket: Bucket
    left_out: int = 0
    last: Refused | None = None


class Repeats(Struct, kw_only=True):
    """`take` returns what to record of a refusal; `due` what to record of those left out."""

    total: Bucket
    senders: OrderedDict[tuple[str, str], Sender] = field(default_factory=OrderedDict)

    def take(self, refused: Refused, now: float) -> Refused | None:
        """Return the refusal, with the number of those left out before it; None if it is left out itself."""
        key = (refused.kind, refused.sender)
        sender = self.senders.get(key)
        if sender is None:
            if len(self.senders) >= MOST_SENDERS:
                self.senders.popitem(last=False)
            sender = self.senders[key] = Sender(bucket=Bucket(RATE, BURST, BURST, now))
        self.senders.move_to_end(key)
        if self._may(sender, now):
            return _counted(sender, refused)
        sender.left_out += 1
        sender.last = refused
        return None

    def due(self, now: float) -> list[Refused]:
        """Return an event for each sender that has refusals left out and is below its limit again."""
        waiting = [one for one in self.senders.values() if one.last is not None]
        return [_counted(one, one.last, more=-1) for one in waiting if one.last is not None and self._may(one, now)]

    def _may(self, sender: Sender, now: float) -> bool:
        if not sender.bucket.take(now):
            return False
        return self.total.take(now)


def repeats(now: float) -> Repeats:
    """Return the state before the first refusal."""
    return Repeats(total=Bucket(TOTAL_RATE, TOTAL_BURST, TOTAL_BURST, now))


def _counted(sender: Sender, refused: Refused, more: int = 0) -> Refused:
    """Return the refusal with the number of others since the sender's last event."""
    others = sender.left_out + more
    sender.left_out, sender.last = 0, None
    if others <= 0:
        return refused
    detail = f"{refused.detail}; {others} more since the last event about this sender"
    return Refused(
        kind=refused.kind, sender=refused.sender, detail=detail, principal=refused.principal, pool=refused.pool
    )
