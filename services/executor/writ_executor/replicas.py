"""The levels of messages that all executors read, by discovery (NATS ADR-32). Soft state.

Executors do not report to each other. Those of the release before reply to discovery too, without a level.
"""

import asyncio
from collections.abc import Callable

from msgspec import DecodeError, Struct, ValidationError, json

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_contracts.version import LEVEL
from writ_executor.agents.presence import AgentPresence
from writ_runtime.logs import Log
from writ_trust.sealing import has_aes

NAME = "executor"
READS_ATTACHED = {"attached": "apart"} if has_aes() else {}
"""An executor with it reads attached texts of outputs, and what is stored under AES, large parameters apart."""
METADATA = {"level": str(LEVEL), **READS_ATTACHED}
"""What an executor of this release replies with."""
WITHIN = 0.5
EVERY = 1.0
"""Seconds between the rounds. An executor of the release before that starts refuses claims of what is dispatched with
its request until the next one.
"""
IDLE = 0.25
"""Seconds until the next round while nothing depends on the levels."""
VALID = 15.0
"""Seconds for which the latest replies count where no later round has succeeded."""
_log = Log("writ.executor")


class _Found(Struct):
    metadata: dict[str, str] = {}

    @property
    def level(self) -> int:
        """Return the level of messages; 0 where none is named."""
        try:
            return int(self.metadata.get("level", "0"))
        except ValueError:
            return 0


class ExecutorReplicas:
    """What the executors that replied lately can read, this one included."""

    def __init__(
        self, bus: Bus, presence: AgentPresence, clock: Callable[[], float], *, dispatch_at_once: bool
    ) -> None:
        """`clock`: the boot clock. `dispatch_at_once`: whether requests may be dispatched as they are recorded."""
        self._bus = bus
        self._presence = presence
        self._dispatch_at_once = dispatch_at_once
        self._clock = clock
        self._forbidden = False
        self._latest: tuple[float, list[_Found]] | None = None
        """The time of the latest replies, and what was found in them."""

    async def follow(self) -> None:
        """Discover executors at intervals, until cancelled."""
        while True:
            if self._forbidden or not self._matters():
                await asyncio.sleep(IDLE)
            else:
                await self.look()
                await asyncio.sleep(EVERY)

    def _matters(self) -> bool:
        """Return whether anything depends on the levels now."""
        at_once = self._dispatch_at_once and self._presence.any_reads_requests()
        return at_once or (has_aes() and bool(self._presence.all_agents()))

    async def look(self) -> None:
        """Query all executors for their levels. Without any reply, and so without its own, the levels are unknown."""
        try:
            replies = await self._bus.request_many(f"$SRV.PING.{NAME}", b"", timeout=WITHIN)
        except Forbidden as error:  # NATS has the permissions of an earlier release, and records each refusal
            _log.warning("executors.not_found", error=str(error), effect="reads take one more event")
            self._forbidden, self._latest = True, None
            return
        except WritError as error:
            _log.warning("executors.not_found", error=str(error))
            return
        self._latest = (self._clock(), [_found(reply.data) for reply in replies])

    def all_read(self, level: int) -> bool:
        """Return whether all executors that replied lately read messages of this level, and any replied."""
        replied = self._lately()
        return bool(replied) and min(one.level for one in replied) >= level

    def all_read_attached(self) -> bool:
        """Return whether all executors that replied lately read attached texts of outputs, and what is stored under
        AES; and any replied.
        """
        replied = self._lately()
        reading = [one.metadata.items() >= READS_ATTACHED.items() for one in replied]
        return bool(READS_ATTACHED and replied) and all(reading)

    def _lately(self) -> list[_Found]:
        if self._latest is None or self._clock() - self._latest[0] > VALID:
            return []
        return self._latest[1]


def _found(reply: bytes) -> _Found:
    """Return what a reply says of its executor; nothing where it cannot be read."""
    try:
        return json.decode(reply, type=_Found)
    except (DecodeError, ValidationError):
        return _Found()
