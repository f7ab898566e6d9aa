"""The interface of a measured engine, and the place where the peers are installed."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from bench.peers.model import Question, Rule

FOLDER = Path(sys.prefix) / "peers"
"""Made by `make bench-peers`: `python` has what requirements.lock names, `node_modules` what package-lock.json does."""


class Missing(Exception):
    """A missing peer, with the parts that are not installed."""


class Refused(Exception):
    """An engine that cannot take this many rules, with its own message."""


class Loaded(Struct, frozen=True):
    """An engine with loaded rules. `prepare` makes the call's argument from a question, and is not timed."""

    prepare: Callable[[Question], Any]
    ask: Callable[[Any], bool]


class Engine(Protocol):
    """One way of giving the rules to one engine. `answer`: cost and content of its answer, for readers."""

    @property
    def name(self) -> str:
        """Return the engine's name in the table, with the version."""

    @property
    def answer(self) -> str:
        """Return a sentence on the content and the cost of its replies."""

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Load the rules. Raises Missing, Refused."""


def module(name: str) -> Any:
    """Import a module of a peer. Raises Missing. Peers come last on the path, so that Writ's own packages stay as
    locked.
    """
    path = str(FOLDER / "python")
    if path not in sys.path:
        sys.path.append(path)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} can't be imported: {error}") from error
