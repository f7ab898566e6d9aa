"""A pytest plugin that runs as many tests as time allows: `-p tests.ci.share --share=FILE`.

Files come in this order: those in the folder of a changed package, those that import a changed package, the others.
Among equals the seed (the commit) decides, so the tests left out change from run to run. With pytest-xdist: `--dist
loadfile --no-loadscope-reorder`.
"""

import ast
import hashlib
import os
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import pytest

from writ_testing.exhaustive import UNTIL


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The files to begin with, and the time for all."""

    changed: tuple[str, ...]
    """Paths that were changed, from the root."""
    seed: str
    until: float
    """No test starts after this time of CLOCK_MONOTONIC, which all processes of a machine have in common."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest's hooks."""
    parser.addoption("--share", type=Path, required=True, help="the file with the order and the end, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """See pytest's hooks."""
    share = msgspec.json.decode(config.getoption("--share").read_bytes(), type=Share)
    os.environ[UNTIL] = str(share.until)
    config.pluginmanager.register(Chooser(share))


class Chooser:
    """Orders the tests, and starts none after the time is up."""

    def __init__(self, share: Share) -> None:
        self._share = share

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Each worker of xdist does the same."""
        place = {path: order(self._share, path, config.rootpath) for path in {item.path for item in items}}
        items.sort(key=lambda item: place[item.path])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Leave no report, so that a test which was not started is neither passed nor skipped."""
        return True if time.monotonic() >= self._share.until else None


def order(share: Share, file: Path, root: Path) -> tuple[int, str]:
    """Return the place of a file of tests."""
    name = file.relative_to(root).as_posix()
    return _distance(share.changed, name, file), hashlib.sha256(f"{share.seed} {name}".encode()).hexdigest()


def _distance(changed: Sequence[str], name: str, file: Path) -> int:
    folder = name.split("/")[1]
    if any(path == name or _part(path) == folder for path in changed):
        return 0
    packages = {package for path in changed if (package := _package(path))}
    return 1 if packages & _imported(file) else 2


def _part(path: str) -> str | None:
    """`rules` for libs/rules/… and tests/rules/…"""
    parts = path.split("/")
    return parts[1] if parts[0] in {"libs", "services", "tests"} and len(parts) > 2 else None


def _package(path: str) -> str | None:
    """`writ_rules` for libs/rules/writ_rules/…"""
    parts = path.split("/")
    return parts[2] if parts[0] in {"libs", "services"} and len(parts) > 3 else None


@cache
def _imported(file: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)
