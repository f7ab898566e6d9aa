"""Load during a test's actions on the installation, and its result: all operations, once each.

async with load(writ, ["web-1", "web-2"], files / "counted") as ran:
    ...
await ran.check(writ)
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from writ_client.client import Writ
from writ_contracts.errors import Full, WritError
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually

ENDS_WITHIN = 120.0
TIMEOUT = 8
"""Timeout of each operation, in seconds: the time until the fate of one with a killed agent is known."""


class CountLoad:
    """One `test_count` after the other on each target, all targets at once. Each is requested once, as by a client."""

    def __init__(self, path: Path, delay: float) -> None:
        self.done: list[OperationView] = []
        self.over = asyncio.Event()
        self._path, self._delay = path, delay

    async def work(self, writ: Writ, target: str) -> None:
        """Run until the load ends; an error of the client fails the test."""
        while not self.over.is_set():
            parameters = {"path": str(self._path), "delay": self._delay, "timeout": TIMEOUT}
            self.done.append(await writ.run("test_count", target, parameters, timeout=ENDS_WITHIN))

    async def more(self, number: int) -> None:
        """Wait until so many more have ended."""
        expected = len(self.done) + number

        async def enough() -> bool:
            return len(self.done) >= expected

        await eventually(enough, within=ENDS_WITHIN, what=f"{number} more operations")

    async def check(self, writ: Writ) -> None:
        """Check that each succeeded, took effect once, and began and ended once on record."""
        wrong = [(view.outcome, view.code, view.message) for view in self.done if view.outcome != "succeeded"]
        assert wrong == [], wrong
        assert Counter(self._path.read_text().split()) == Counter(view.operation_id for view in self.done)
        for view in self.done:
            counts = Counter(event.kind for event in (await writ.trace(operation_id=view.operation_id)).events)
            assert (counts["requested"], counts["granted"], counts["finished"]) == (1, 1, 1), (
                view.operation_id,
                counts,
            )

    async def check_ends(self, writ: Writ) -> Counter[str]:
        """Check after kills: each has one recorded outcome, and exactly one effect if it succeeded."""
        ends = {view.operation_id: await settled(writ, view.operation_id) for view in self.done}
        effects = Counter(self._path.read_text().split())
        assert effects == Counter(one for one, outcome in ends.items() if outcome == "succeeded")
        for operation_id in ends:
            counts = Counter(event.kind for event in (await writ.trace(operation_id=operation_id)).events)
            assert counts["finished"] + counts["unknown"] == 1, (operation_id, counts)
        return Counter(ends.values())


async def settled(writ: Writ, operation_id: str, within: float = ENDS_WITHIN) -> str:
    """Return the outcome, after a while in which an `unknown` may be resolved. AssertionError with what was last seen,
    and with the trace, if none comes within so many seconds.
    """
    seen = "no reply"

    async def known_outcome() -> str | None:
        nonlocal seen
        try:
            view = await writ.get(operation_id)
        except WritError as error:  # nobody answers just now
            seen = f"{error.code}: {error}"
            return None
        seen = f"{view.state}, outcome {view.outcome}, {view.code}: {view.message}"
        return view.outcome if view.outcome != "unknown" else None

    try:
        return await eventually(known_outcome, within=within, what=f"a known outcome of {operation_id}")
    except AssertionError as error:
        raise AssertionError(f"{error}; last seen: {seen}; {await _recorded(writ, operation_id)}") from None


async def _recorded(writ: Writ, operation_id: str) -> str:
    try:
        events = (await writ.trace(operation_id=operation_id)).events
    except WritError as error:
        return f"no trace: {error.code}: {error}"
    return "on record: " + ", ".join(f"{event.kind} at {event.at:.3f}" for event in events)


async def fill(writ: Writ, target: str = "web-1") -> Full:
    """Request operations until the journal has no room for another. Return the refusal."""
    for _ in range(1000):
        replies = await asyncio.gather(*(writ.submit("test_noop", target) for _ in range(8)), return_exceptions=True)
        errors = [one for one in replies if isinstance(one, BaseException)]
        for error in errors:
            if not isinstance(error, Full):
                raise error
            return error
    raise AssertionError("it never filled up")


@asynccontextmanager
async def load(writ: Writ, targets: Sequence[str], path: Path, *, delay: float = 0.0) -> AsyncIterator[CountLoad]:
    """Run load within the block. At its end, begun operations are waited for."""
    ran = CountLoad(path, delay)
    async with asyncio.TaskGroup() as group:
        for target in targets:
            group.create_task(ran.work(writ, target))
        try:
            await ran.more(len(targets))
            yield ran
        finally:
            ran.over.set()
