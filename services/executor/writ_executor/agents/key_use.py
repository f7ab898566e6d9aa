"""Heartbeats and claims by the key that sent them, for the discovery of copied keys."""

from collections.abc import Callable, Coroutine
from typing import Any

from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts.agents import Heartbeat
from writ_contracts.errors import WritError
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.copied_keys import CopiedKey, CopiedKeys, description
from writ_executor.agents.keys import AgentKeys

Spawn = Callable[[str, Coroutine[Any, Any, object]], None]


class AgentKeyUse:
    """Finds copies of agents' keys, and records each as a security event `key_copied`."""

    def __init__(self, copies: CopiedKeys, keys: AgentKeys, alarms: SecurityEventRecorder, spawn: Spawn) -> None:
        """`spawn` runs the append in a task of its own: neither heartbeats nor claims wait for it."""
        self._copies, self._keys, self._alarms, self._spawn = copies, keys, alarms, spawn

    async def heartbeat(self, heartbeat: Heartbeat, message: Message) -> None:
        """Take in a heartbeat by the key that the NATS server names. Over a leaf link it names the key of the link, so
        agents behind one are known by their claims alone.
        """
        key = sender_key(message)
        if key in await self._keys.of(heartbeat.pool):
            self._record(self._copies.heard(heartbeat, key, self._keys.hosts))

    async def claim(self, pool: str, instance: str, started: float, key: str) -> None:
        """Take in a claim whose signature was verified, and the start that its message named."""
        if key in await self._keys.of(pool):
            self._record(self._copies.claimed(pool, instance, started, key, self._keys.hosts))

    def problem(self) -> str | None:
        """Return the copies of the last minutes in a sentence, or None."""
        return "; ".join(map(description, self._copies.present())) or None

    def count(self) -> int:
        """Return the number of keys that were found copied in the last minutes."""
        return len(self._copies.present())

    def _record(self, copied: CopiedKey | None) -> None:
        if copied is not None:
            self._spawn("copied key", self._raise_alarm(copied))

    async def _raise_alarm(self, copied: CopiedKey) -> None:
        try:
            await self._alarms.raised(copied.pool, "key_copied", description(copied))
        except WritError:
            self._copies.record_again(copied.key)
            raise
