"""Copies of the inventory and the principals, which second decisions read as they were at the time of a decision.

They are kept in a task of their own: a second decision may wait minutes for its policy to be compiled, and a content
that comes and goes meanwhile would be missed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from writ_contracts.errors import ConfigError
from writ_rules.second_decisions.file_history import FileHistory
from writ_runtime.files.watched_file import stamp

LOOK_EVERY = 1.0
FOLDER = "inputs"


class FileCopies:
    """Keeps each content of two files. `look` does it now, and `run` once a second."""

    def __init__(self, state_dir: Path, inventory: Path, principals: Path, clock: Callable[[], float]) -> None:
        self.inventory = FileHistory(state_dir / FOLDER, inventory)
        self.principals = FileHistory(state_dir / FOLDER, principals)
        self._paths = {inventory: self.inventory, principals: self.principals}
        self._clock = clock
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Keep the present contents. One caller at a time: a history is the order in which contents were found."""
        async with self._looking:
            for path, history in self._paths.items():
                with suppress(ConfigError):  # policy reports the problem; the last good content stays in force
                    await asyncio.to_thread(history.record_change, self._clock(), stamp(path))

    async def run(self) -> None:
        """Keep copies until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)
