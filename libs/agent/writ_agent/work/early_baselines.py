"""Baselines that are read before their operation is dispatched, at an executor's notice.

A notice permits nothing by itself: the read needs policy's read grant, as it does after `dispatched`. Its result
counts only if `dispatched` confirms that no other operation took the target in between (`Dispatched.noticed`). A
notice that is lost, late, doubled or wrong costs time at most.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from writ_bus import tasks
from writ_bus.port import Message
from writ_contracts.agents import BaselineNotice
from writ_contracts.errors import Invalid
from writ_contracts.journal import Dispatched
from writ_contracts.wire import decode
from writ_runtime.faults import fault
from writ_runtime.logs import Log

FRESH = 1.0
"""Seconds. A baseline that was begun earlier is not used."""
MOST = 32
"""Baselines kept at once, each of another target. Of operations that are noticed together for one target only the first
to take it can use its baseline: to read the others would load the host in vain.
"""
Baseline = dict[str, Any]
_log = Log("writ.agent")


class _EarlyBaseline(Struct, frozen=True):
    notice: BaselineNotice
    began: float
    reading: asyncio.Task[Baseline]


class EarlyBaselines:
    """The early baselines of one agent."""

    def __init__(
        self,
        read: Callable[[BaselineNotice], Coroutine[Any, Any, Baseline]],
        may_read: Callable[[BaselineNotice], bool],
        clock: Callable[[], float],
    ) -> None:
        """`may_read`: whether this agent has room for it. `clock`: the boot clock."""
        self._read = read
        self._may_read = may_read
        self._clock = clock
        self._kept: dict[str, _EarlyBaseline] = {}

    async def handle(self, message: Message) -> None:
        """Begin to read the baseline of the notice. Never raises."""
        try:
            notice = decode(message.data, BaselineNotice)
        except Invalid as error:
            _log.warning("agent.unreadable_notice", error=str(error))
            return
        self._drop_old()
        if self._is_known(notice) or len(self._kept) >= MOST or not self._may_read(notice):
            return
        reading = tasks.spawn(self._read(notice), "early baseline")
        self._kept[notice.operation_id] = _EarlyBaseline(notice, self._clock(), reading)
        asyncio.get_running_loop().call_later(FRESH, self._drop_old)
        fault("agent.noticed")

    async def take(self, work: Dispatched) -> Baseline | None:
        """Return the baseline of a dispatched operation if it was read early; None if it has to be read now."""
        early = self._kept.pop(work.operation_id, None)
        if early is None:
            return None
        if not self._serves(early, work):
            early.reading.cancel()
            return None
        return await early.reading or None

    def close(self) -> None:
        """End all reads."""
        for early in self._kept.values():
            early.reading.cancel()
        self._kept.clear()

    def _is_known(self, notice: BaselineNotice) -> bool:
        return notice.operation_id in self._kept or any(
            early.notice.target == notice.target for early in self._kept.values()
        )

    def _serves(self, early: _EarlyBaseline, work: Dispatched) -> bool:
        notice = early.notice
        same_read = (notice.look, notice.look_key, notice.parameters) == (work.look, work.look_key, work.parameters)
        about = (notice.operation, notice.target) == (work.operation, work.target)
        first = work.noticed and work.attempt == 1
        failed = early.reading.done() and not early.reading.result()
        return first and about and same_read and self._fresh(early) and not failed

    def _fresh(self, early: _EarlyBaseline) -> bool:
        return self._clock() - early.began <= FRESH

    def _drop_old(self) -> None:
        for operation_id, early in list(self._kept.items()):
            if not self._fresh(early):
                del self._kept[operation_id]
                early.reading.cancel()
