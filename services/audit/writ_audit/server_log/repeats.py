"""Bound the events about refusals of NATS: by sender, and altogether. What is left out is counted in the next event.

Proven refusals (NATS names the account of a client that is connected) have a bound of their own, so no flood of refused
logins, which need no key, delays them. Pure; time comes in.
"""

from collections import OrderedDict

from msgspec import Struct, field, structs

from writ_contracts.agents import SecurityKind
from writ_runtime.buckets import Bucket

BURST = 5
"""Events about one sender at once."""
FIRST_PAUSE = 30.0
"""Seconds after those until the next one. Each further pause is twice as long, up to the longest."""
LONGEST_PAUSE, LONGEST_UNPROVEN_PAUSE = 600.0, 3_600.0
"""A client with a removed key tries every few seconds for as long as it runs."""
TOTAL_RATE, TOTAL_BURST = 0.2, 50.0
"""Altogether, of proven and of other refusals each, so that audit's other security events, which have a limit in
common, are recorded in any flood.
"""
MOST_SENDERS = 1_000


class LoggedRefusal(Struct, frozen=True, kw_only=True):
    """A refusal in words. `sender`: an account, or an address where no key is proven."""

    kind: SecurityKind
    sender: str
    detail: str
    principal: str | None = None
    pool: str | None = None
    proven: bool = False


class Pace(Struct, kw_only=True):
    """Events about a sender at a falling rate. A sender that is silent for twice the longest pause begins again."""

    longest: float
    events: int = 0
    pause: float = FIRST_PAUSE / 2
    again: float = 0.0
    heard: float = 0.0

    def hear(self, now: float) -> None:
        """Note a refusal of the sender."""
        if now - self.heard > 2 * self.longest:
            self.events, self.pause, self.again = 0, FIRST_PAUSE / 2, 0.0
        self.heard = now

    def may(self, now: float) -> bool:
        return self.events < BURST or now >= self.again

    def count(self, now: float) -> None:
        self.events += 1
        if self.events >= BURST:
            self.pause = min(self.longest, 2 * self.pause)
            self.again = now + self.pause


class Sender(Struct, kw_only=True):
    """A sender's limit, with the last refusal left out and the number of those."""

    pace: Pace
    left_out: int = 0
    last: LoggedRefusal | None = None


class Senders(Struct, kw_only=True):
    """The senders of proven or of other refusals, and their limit in common.

    A sender whose refusals are all in events may be forgotten for another one; one with refusals left out may not.
    """

    total: Bucket
    longest: float
    reported: OrderedDict[tuple[str, str], Sender] = field(default_factory=OrderedDict)
    waiting: OrderedDict[tuple[str, str], Sender] = field(default_factory=OrderedDict)

    def take(self, refused: LoggedRefusal, now: float) -> LoggedRefusal | None:
        """Return the refusal, with the number of those left out before it; None if it is left out itself."""
        key, sender = self._sender(refused)
        sender.pace.hear(now)
        if self._may(sender, now):
            self.waiting.pop(key, None)
            self.reported[key] = sender
            self.reported.move_to_end(key)
            return _counted(sender, refused)
        self.reported.pop(key, None)
        self.waiting.setdefault(key, sender)
        sender.left_out += 1
        sender.last = refused
        return None

    def due(self, now: float) -> list[LoggedRefusal]:
        """Return an event for each sender that has refusals left out and is below its limit again."""
        found = list[LoggedRefusal]()
        for key, sender in list(self.waiting.items()):
            if sender.last is not None and self._may(sender, now):
                found.append(_counted(sender, sender.last, more=-1))
                self.reported[key] = self.waiting.pop(key)
        return found

    def _sender(self, refused: LoggedRefusal) -> tuple[tuple[str, str], Sender]:
        key = (refused.kind, refused.sender)
        if (known := self.waiting.get(key) or self.reported.get(key)) is not None:
            return key, known
        if len(self.reported) + len(self.waiting) >= MOST_SENDERS:
            if not self.reported:
                key = (refused.kind, "")  # all further senders together
                return key, self.waiting.get(key) or self._new()
            self.reported.popitem(last=False)
        return key, self._new()

    def _new(self) -> Sender:
        return Sender(pace=Pace(longest=self.longest))

    def _may(self, sender: Sender, now: float) -> bool:
        """Take of the limit in common first: a sender's own must not be used up by an event that there is not."""
        if not sender.pace.may(now) or not self.total.take(now):
            return False
        sender.pace.count(now)
        return True


class Repeats(Struct, kw_only=True):
    """`take` returns what to record of a refusal; `due` what to record of those left out."""

    proven: Senders
    others: Senders

    def take(self, refused: LoggedRefusal, now: float) -> LoggedRefusal | None:
        """Return the refusal, with the number of those left out before it; None if it is left out itself."""
        return (self.proven if refused.proven else self.others).take(refused, now)

    def due(self, now: float) -> list[LoggedRefusal]:
        """Return an event for each sender that has refusals left out and is below its limit again."""
        return [*self.proven.due(now), *self.others.due(now)]


def repeats(now: float) -> Repeats:
    """Return the state before the first refusal."""
    return Repeats(proven=_senders(LONGEST_PAUSE, now), others=_senders(LONGEST_UNPROVEN_PAUSE, now))


def _senders(longest: float, now: float) -> Senders:
    return Senders(total=Bucket(TOTAL_RATE, TOTAL_BURST, TOTAL_BURST, now), longest=longest)


def _counted(sender: Sender, refused: LoggedRefusal, more: int = 0) -> LoggedRefusal:
    """Return the refusal with the number of others since the sender's last event."""
    others = sender.left_out + more
    sender.left_out, sender.last = 0, None
    if others <= 0:
        return refused
    return structs.replace(refused, detail=f"{refused.detail}; {others} more since the last event about this sender")
