"""Copies of an agent's key in use: more processes at once by one key than it has.

A thief who uses a key beside the honest agent is a second process. Heartbeats and claims show it: the NATS server names
the key of a heartbeat, and a claim is signed. Both name the start of their process, which the record does not show, so
a thief cannot act under the honest agent's instance id either. A restart shows nothing, since the former process falls
silent.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from writ_contracts.agents import Heartbeat
from writ_runtime.logs import Log
from writ_runtime.sender_warnings import SenderWarnings

MOST_PROCESSES = 64
"""Of one key that are remembered. Further ones are ignored: an alarm was raised long before."""
KEPT_LEASES = 8
SHOWN_SECONDS, AGAIN_SECONDS = 600.0, 600.0
"""How long a copy is shown after it was last found, and until it is recorded again."""

_log = Log("writ.executor")


class KeyHolder(Struct):
    """A process that used the key: its instance, its start by its own clock (0 where a message named none), and the
    times of its first and last message (boot clock of this executor).
    """

    instance: str
    started: float
    first: float
    last: float


class CopiedKey(Struct, frozen=True):
    """A key with more processes than it has, and their instances."""

    pool: str
    key: str
    instances: tuple[str, ...]
    why: str


class CopiedKeys:
    """Processes by key that sent a message within a few leases."""

    def __init__(self, lease: float, clock: Callable[[], float], processes: int) -> None:
        """`processes`: how many may use a key that is bound to no host; 0: any number. A bound key has one."""
        self._lease, self._clock, self._most = lease, clock, processes
        self._warnings = SenderWarnings(_log)
        self._heard: dict[str, list[KeyHolder]] = {}
        self._found: dict[str, tuple[float, CopiedKey]] = {}
        self._recorded: dict[str, float] = {}

    def heard(self, heartbeat: Heartbeat, key: str, hosts: Mapping[str, str]) -> CopiedKey | None:
        """Take in a heartbeat that came by this key; return a copy that is to be recorded. `hosts`: by bound key."""
        if heartbeat.leaving:  # it ends; what it did before stays known
            return None
        self._see(key, heartbeat.instance, heartbeat.started)
        return self._new(heartbeat.pool, key, key in hosts)

    def claimed(self, pool: str, instance: str, started: float, key: str, hosts: Mapping[str, str]) -> CopiedKey | None:
        """Take in a claim whose signature was verified, and the start that it named; return as `heard` does."""
        self._see(key, instance, started)
        return self._new(pool, key, key in hosts)

    def record_again(self, key: str) -> None:
        """Return this key's copy at its next message once more: it could not be recorded."""
        self._recorded.pop(key, None)

    def present(self) -> list[CopiedKey]:
        """Return the copies found in the last minutes."""
        since = self._clock() - SHOWN_SECONDS
        self._found = {key: found for key, found in self._found.items() if found[0] >= since}
        return [copied for _, copied in self._found.values()]

    def _see(self, key: str, instance: str, started: float) -> None:
        now = self._clock()
        known = [one for one in self._heard.get(key, []) if one.last >= now - KEPT_LEASES * self._lease]
        self._heard[key] = known
        # The instance id is in the record, so a thief may know it without the start.
        same = next((one for one in known if one.instance == instance and one.started == started), None)
        if same is not None:
            same.last = now
        elif len(known) < MOST_PROCESSES:
            known.append(KeyHolder(instance, started, now, now))
        else:
            self._warnings.warning("copied_keys.too_many_processes", key[:12], instance=instance)

    def _new(self, pool: str, key: str, bound: bool) -> CopiedKey | None:
        copied = self._copied(pool, key, bound)
        if copied is None:
            return None
        now = self._clock()
        self._found[key] = (now, copied)
        if self._recorded.get(key, now - AGAIN_SECONDS) > now - AGAIN_SECONDS:
            return None
        self._recorded = {one: at for one, at in self._recorded.items() if at > now - AGAIN_SECONDS} | {key: now}
        return copied

    def _copied(self, pool: str, key: str, bound: bool) -> CopiedKey | None:
        known, most = self._heard[key], 1 if bound else self._most
        for one in known:
            together = [other for other in known if other is not one and self._lived_on(other, one)]
            if any(other.instance == one.instance for other in together):
                return CopiedKey(pool, key, (one.instance,), "one instance has two starts")
            if most and len(together) >= most:
                names = tuple(sorted({one.instance, *(other.instance for other in together)}))
                return CopiedKey(pool, key, names, f"it has {most} process{'es' if most > 1 else ''}")
        return None

    def _lived_on(self, other: KeyHolder, later: KeyHolder) -> bool:
        """Return whether `other` was there before `later` and still is one lease after it came.

        If both came at the same time for this executor, `later` may be the dying process of a restart that the executor
        heard at its own start: it must have lived for a lease, too.
        """
        if other.first > later.first or other.last < later.first + self._lease:
            return False
        return later.first - other.first >= self._lease or later.last - later.first >= self._lease


def description(copied: CopiedKey) -> str:
    """Return the sentence about a copy, for the security event and the check."""
    instances = ", ".join(copied.instances[:4]) + (" and more" if len(copied.instances) > 4 else "")
    used = f"key {copied.key[:12]} of pool {copied.pool} is in use by {instances} at once"
    return f"{used}, and {copied.why}: was it copied?"
