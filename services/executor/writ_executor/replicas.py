"""The levels of messages that all executors read, by discovery (NATS ADR-32). Soft state.

Executors do not report to each other. Those of the release before reply to discovery too, without a level.
"""

import asyncio
from collections.abc import Callable, Mapping

from msgspec import DecodeError, Struct, ValidationError, json

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_contracts.version import LEVEL
from writ_runtime.logs import Log

NAME = "executor"
METADATA = {"level": str(LEVEL)}
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
    metadata: Mapping[str, str] = {}


class ExecutorReplicas:
    """The lowest level among the executors that replied lately, this one included."""

    def __init__(self, bus: Bus, wanted: Callable[[], bool], clock: Callable[[], float]) -> None:
        """`wanted`: whether anything depends on the levels now. `clock`: the boot clock."""
        self._bus = bus
        self._wanted = wanted
        self._clock = clock
        self._forbidden = False
        self._lowest: tuple[float, int] | None = None
        """The time of the latest replies, and the lowest level in them."""

    async def follow(self) -> None:
        """Look for executors now and then, until cancelled."""
        while True:
            if self._forbidden or not self._wanted():
                await asyncio.sleep(IDLE)
            else:
                await self.look()
                await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Ask all executors for their levels. Without any reply, and so without its own, the levels are unknown."""
        try:
            replies = await self._bus.request_many(f"$SRV.PING.{NAME}", b"", timeout=WITHIN)
        except Forbidden as error:  # NATS has the permissions of an earlier release, and records each refusal
            _log.warning("executors.not_found", error=str(error), effect="reads take one more event")
            self._forbidden, self._lowest = True, None
            return
        except WritError as error:
            _log.warning("executors.not_found", error=str(error))
            return
        levels = [_level(reply.data) for reply in replies]
        self._lowest = (self._clock(), min(levels)) if levels else None

    def all_read(self, level: int) -> bool:
        """Return whether all executors that replied lately read messages of this level, and any replied."""
        if self._lowest is None:
            return False
        at, lowest = self._lowest
        return self._clock() - at <= VALID and lowest >= level


def _level(reply: bytes) -> int:
    """Return the level in a reply; 0 where it names none."""
    try:
        return int(json.decode(reply, type=_Found).metadata.get("level", "0"))
    except (DecodeError, ValidationError, ValueError):
        return 0
