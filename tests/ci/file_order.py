"""A pytest plugin that orders files of tests for several workers: `-p tests.ci.file_order`.

xdist itself begins with the files of most tests, which compute. Files with an installation and a few long tests would
come last and leave processors idle, since they wait for half of their time. Here files that start processes and files
that compute take turns, long ones first; short ones are left for the end. The files of a folder in `TOGETHER` come
first, and all of them on one worker. With pytest-xdist: `--dist loadfile --no-loadscope-reorder`.
"""

import math
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

PROCESSES = frozenset(
    (
        *("e2e", "faults", "attacks", "gateway", "installation", "nats_server", "bus", "audit", "cli"),
        *("agent_docker", "agent_proxmox", "agent_ssh"),
    )
)
"""Folders whose tests start servers, services or commands, and wait for them."""

TOGETHER = frozenset(("tests/architecture",))
"""Folders whose files share what takes seconds to make: those of the architecture read all syntax trees."""


class FolderScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Distribute tests by file, and those of a folder in `TOGETHER` by folder."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = folder_of(file)
        return folder if folder in TOGETHER else file


def folder_of(file: str) -> str:
    return "/".join(file.split("/")[:2])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling | None:
    return FolderScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker of xdist does the same."""
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), timeout_of(item))
    files = {path.relative_to(config.rootpath).as_posix(): seconds for path, seconds in longest.items()}
    place = {name: at for at, name in enumerate(in_turns(files))}
    items.sort(key=lambda item: place[item.path.relative_to(config.rootpath).as_posix()])


def timeout_of(item: pytest.Item) -> float:
    """Return the test's own timeout, or 0."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None and marker.args else 0.0


def in_turns(files: dict[str, float]) -> list[str]:
    """Return the files, given with their timeouts, in the order in which to start them."""
    by_length = sorted(files, key=lambda name: -math.inf if folder_of(name) in TOGETHER else -files[name])
    waiting = [name for name in by_length if name.split("/")[1] in PROCESSES]
    computing = [name for name in by_length if name.split("/")[1] not in PROCESSES]
    return list(chain.from_iterable(_present(pair) for pair in zip_longest(waiting, computing)))


def _present(pair: Iterable[str | None]) -> Iterable[str]:
    return (name for name in pair if name is not None)
