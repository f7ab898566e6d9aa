"""Restarts of units which count their starts, one after the other on each target."""

import asyncio
import shlex
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.lab.site import COUNTED, TARGETS, Site

from writ_client.client import Writ
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually

ENDS_WITHIN = 120.0


class Starts:
    """One restart after the other of a counting unit, on all targets at once; each is requested once."""

    def __init__(self, site: Site) -> None:
        self.done: list[OperationView] = []
        self._site = site
        self._over = asyncio.Event()

    @asynccontextmanager
    async def going_on(self, writ: Writ) -> AsyncIterator["Starts"]:
        """Keep restarts going within the block; wait for the started ones at its end."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, TARGETS + 1):
                group.create_task(self._work(writ, number))
            try:
                await self.more()
                yield self
            finally:
                self._over.set()

    async def _work(self, writ: Writ, number: int) -> None:
        while not self._over.is_set():
            wanted = {"service_name": f"{COUNTED}-{number}"}
            self.done.append(await writ.run("service_restart", f"web-{number}", wanted, timeout=ENDS_WITHIN))

    async def more(self) -> None:
        """Wait until each target has had another start."""
        wanted = len(self.done) + TARGETS

        async def enough() -> bool:
            return len(self.done) >= wanted

        await eventually(enough, within=ENDS_WITHIN, what="more operations")

    async def check(self, writ: Writ) -> None:
        """Each succeeded, started its unit once, and is on record as begun once and ended once."""
        assert Counter(view.outcome for view in self.done) == {"succeeded": len(self.done)}
        lines = self._site.far.run("bash", "-c", f"cat /srv/{shlex.quote(COUNTED)}-*").splitlines()
        assert len(set(lines)) == len(lines) == len(self.done)
        for view in self.done:
            told = Counter(event.kind for event in (await writ.trace(operation_id=view.operation_id)).events)
            assert (told["requested"], told["granted"], told["finished"]) == (1, 1, 1), (view.operation_id, told)
