"""The files that decisions stand on, watched: what they say now, or last said when it could be read.

A change counts from the next decision on: each one first looks at the files' stamps (four `stat` calls).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from writ_contracts.operations import Catalogue
from writ_policy.config import Config
from writ_policy.loading import load_policy, with_digest
from writ_policy.world import World, compose
from writ_runtime import files
from writ_runtime.config import ConfigError
from writ_runtime.documents import FileErrors
from writ_runtime.watched import Watched

INTERVAL = 0.5
FILES = ("policy", "inventory", "principals", "agents")


class Sources:
    """`world` is the present one. Raises ConfigError with all mistakes of all files when one can't be read at start."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        on_refusal: Callable[[str], None],
        on_change: Callable[[World], None],
    ) -> None:
        """`on_refusal` gets the name of a file whose new content can't be used, `on_change` each new world."""
        self._on_refusal, self._on_change = on_refusal, on_change
        problems: list[ConfigError] = []

        def watch(path: Any, read: Callable[[Any], Any]) -> Watched[Any] | None:
            try:
                return Watched(path, with_digest(read))
            except ConfigError as error:
                problems.append(error)
                return None

        watched = (
            watch(config.policy, lambda path: load_policy(path, catalogue, config.mode)),
            watch(config.inventory, files.read_inventory),
            watch(config.principals, files.read_principals),
            watch(config.agents, files.read_agents),
        )
        if problems:
            raise _together(problems)
        self._watched: dict[str, Watched[Any]] = {
            name: one for name, one in zip(FILES, watched, strict=True) if one is not None
        }
        self._refreshing = asyncio.Lock()
        self.world = self._compose()

    async def refresh(self) -> World:
        """The world as the files have it now; whoever comes while one is read waits for it."""
        async with self._refreshing:
            changed = False
            for name, watched in self._watched.items():
                before = watched.problem
                changed |= await watched.refresh()
                if watched.problem is not None and watched.problem != before:
                    self._on_refusal(name)
            if changed:
                self.world = self._compose()
            return self.world

    async def follow(self) -> None:
        """Look every half second, so that a bad file is noticed when nobody asks; until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.refresh()

    def problem(self, name: str) -> str | None:
        """What is wrong with the file as it is now, while an earlier version is in force."""
        return self._watched[name].problem

    def _compose(self) -> World:
        world = compose(*(self._watched[name].value for name in FILES))
        self._on_change(world)
        return world


def _together(problems: list[ConfigError]) -> ConfigError:
    found = [problem for error in problems if isinstance(error, FileErrors) for problem in error.found]
    others = [text for error in problems if not isinstance(error, FileErrors) for text in error.problems]
    return FileErrors(*found) if not others else ConfigError(*map(str, found), *others)
