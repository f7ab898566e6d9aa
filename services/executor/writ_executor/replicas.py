"""Whether all executors can read values under AES, by discovery (NATS ADR-32). Soft state.

Executors do not report to each other, and the processor of one may lack AES.
"""

import asyncio
from collections.abc import Callable

from msgspec import DecodeError, Struct, ValidationError, json

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_contracts.version import LEVEL
from writ_runtime.logs import Log
from writ_trust.sealing import has_aes

NAME = "executor"
READS_ATTACHED = {"attached": "apart"} if has_aes() else {}
"""An executor with it reads attached texts of outputs, and what is stored under AES, large parameters apart."""
METADATA = {"level": str(LEVEL), **READS_ATTACHED}
"""What an executor of this release replies with."""
WITHIN = 0.5
EVERY, EVERY_IF_REFUSED = 1.0, 300.0
"""Seconds between the rounds. An executor without AES that starts does not read what is stored until the next one. Each
round that the server refuses is a security event.
"""
VALID = 15.0
"""Seconds for which the latest replies count where no later round has succeeded."""
_log = Log("writ.executor")


class _Found(Struct):
    metadata: dict[str, str] = {}


class ExecutorReplicas:
    """What the executors that replied lately can read, this one included."""

    def __init__(self, bus: Bus, clock: Callable[[], float]) -> None:
        """`clock`: the boot clock."""
        self._bus = bus
        self._clock = clock
        self._latest: tuple[float, list[_Found]] | None = None
        """The time of the latest replies, and what was found in them."""
        self._failure: WritError | None = None
        """Why there was no reply in the latest round."""

    async def follow(self) -> None:
        """Discover executors at intervals, until cancelled."""
        while True:
            if READS_ATTACHED:  # else nothing depends on the others
                await self.look()
            await asyncio.sleep(EVERY_IF_REFUSED if isinstance(self._failure, Forbidden) else EVERY)

    async def look(self) -> None:
        """Query all executors. Without any reply, and so without its own, nothing is known."""
        try:
            replies = await self._bus.request_many(f"$SRV.PING.{NAME}", b"", timeout=WITHIN)
        except WritError as error:
            if str(error) != str(self._failure):
                _log.warning("executors.not_found", error=str(error))
            self._failure = error
            return
        self._failure = None
        self._latest = (self._clock(), [_found(reply.data) for reply in replies])

    def all_read_attached(self) -> bool:
        """Return whether all executors that replied lately read attached texts of outputs, and what is stored under
        AES; and any replied.
        """
        if not READS_ATTACHED or self._latest is None or self._clock() - self._latest[0] > VALID:
            return False
        replied = self._latest[1]
        return bool(replied) and all(one.metadata.items() >= READS_ATTACHED.items() for one in replied)


def _found(reply: bytes) -> _Found:
    """Return what a reply says of its executor; nothing where it cannot be read."""
    try:
        return json.decode(reply, type=_Found)
    except (DecodeError, ValidationError):
        return _Found()
