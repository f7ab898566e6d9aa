"""Checks of installed plugins, each in a process of its own, as an agent is one."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any

import msgspec

from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.plugins import BACKENDS, CONFORMANCE, InstalledPlugin
from writ_contracts.plural import plural
from writ_runtime.signals import interruptible

MODULE = (sys.executable, "-P", "-m")
CHECK_SECONDS, SUITE_SECONDS = 60.0, 600.0


def declared_problems(name: str | None) -> dict[str, list[str]]:
    """Return differences from the plugins' declarations. Raises Unreachable, Invalid."""
    answer = _answer_of(("writ_agent.plugin_check", *([name] if name else [])), CHECK_SECONDS)
    if "error" in answer:
        raise Invalid(answer["error"])
    return dict(answer["plugins"])


def suite_problems(plugin: InstalledPlugin) -> tuple[list[str], list[str]]:
    """Return the failures of the suite of backends, and a note for each backend without a run."""
    problems, notes = [], []
    for backend in plugin.parts.get(BACKENDS, ()):
        if backend not in plugin.parts.get(CONFORMANCE, ()):
            notes.append(f"the suite was not run on backend {backend}: no entry point {CONFORMANCE}")
        elif find_spec("writ_testing") is None or find_spec("pytest") is None:
            notes.append(f"the suite was not run on backend {backend}: it needs a source tree of Writ, with its tests")
        else:
            answer = _answer_of(("writ_testing.conformance", backend), SUITE_SECONDS)
            problems += [f"backend {backend}: {test}: {message}" for test, message in answer["failed"].items()]
            notes.append(f"backend {backend} passed {plural(len(answer['passed']), 'test')} of the suite")
    return problems, notes


def in_source_tree() -> bool:
    """Return whether this Writ is a source tree, whose packages pip does not know as distributions."""
    try:
        distribution("writops-contracts")
    except PackageNotFoundError:
        return True
    return False


def _answer_of(words: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Return the JSON that a module writes. Raises Unreachable."""
    try:
        with interruptible():
            done = subprocess.run([*MODULE, *words], capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{words[0]} did not end within {seconds:g} s") from None
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.DecodeError:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise Unreachable(f"the check ended with: {last}; it needs `writops[server]` here") from None
