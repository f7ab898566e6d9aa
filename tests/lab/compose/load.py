"""Operations that continue while containers restart, and their outcomes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.lab.compose.composed import Composed
from tests.lab.compose.conftest import SANDBOX

from writ_client.client import Writ
from writ_contracts.requests import OperationView
from writ_testing.demo import TARGET
from writ_testing.eventually import eventually

ENDS_WITHIN = 120.0
AT_ONCE = 3


class Writes:
    """Each operation writes a line into an existing file, and is requested once."""

    def __init__(self, writ: Writ, composed: Composed) -> None:
        self.done: list[OperationView] = []
        self._writ = writ
        self._composed = composed
        self._over = asyncio.Event()
        self._number = 0

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator["Writes"]:
        """Keep operations going within the block; wait for the started ones at its end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())
            try:
                await self.more(AT_ONCE)
                yield self
            finally:
                self._over.set()

    async def _work(self) -> None:
        while not self._over.is_set():
            self._number += 1
            wanted = {"file_path": f"{SANDBOX}/load-{self._number}", "content": f"{self._number}\n", "timeout": 8}
            self.done.append(await self._writ.run("file_write", TARGET, wanted, timeout=ENDS_WITHIN))

    async def more(self, number: int) -> None:
        """Wait until so many more have ended."""
        wanted = len(self.done) + number

        async def enough() -> bool:
            return len(self.done) >= wanted

        await eventually(enough, within=ENDS_WITHIN, what=f"{number} more operations")

    async def during(self, action: Callable[[str], None], container: str) -> None:
        """Run the action during the load, and return when operations have ended after it."""
        await asyncio.to_thread(action, container)
        await self.more(AT_ONCE)

    async def check(self) -> int:
        """Each succeeded, is in its file, and is on record as begun once and ended once; how many there were."""
        failed = [(view.operation_id, view.outcome, view.code, view.message) for view in self.done]
        failed = [one for one in failed if one[1] != "succeeded"]
        assert not failed, failed
        for view in self.done:
            told = Counter(event.kind for event in (await self._writ.trace(operation_id=view.operation_id)).events)
            assert (told["requested"], told["granted"], told["finished"]) == (1, 1, 1), (view.operation_id, told)
        for number in range(1, self._number + 1):
            assert (self._composed.folder / "writ-sandbox" / f"load-{number}").read_text() == f"{number}\n"
        return len(self.done)
