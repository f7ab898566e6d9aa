"""Plugins: what installed packages add, and a clear word when two add the same or one is broken."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from writ_contracts.catalogue import BUILT_IN
from writ_runtime.config import ConfigError
from writ_runtime.plugins import load_backends, load_catalogue, load_handlers

PLUGIN = """
import msgspec
from writ_contracts.catalogue import BUILT_IN
EXTRA = msgspec.structs.replace(BUILT_IN[0], name="wake_up")
OPERATIONS = (EXTRA,)
AGAIN = (BUILT_IN[0],)
HANDLERS = {"wake_up": print}
NUMBER = 3
def backend(): return "a backend"
"""


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "wake_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("wake_plugin", None)


def entry(attribute: str, group: str = "writ.operations", name: str = "wake") -> EntryPoint:
    return EntryPoint(name, f"wake_plugin:{attribute}", group)


def test_the_catalogue_has_the_built_in_operations_and_those_of_plugins() -> None:
    catalogue = load_catalogue([entry("OPERATIONS")])
    assert set(catalogue) == {"wake_up", *(operation.name for operation in BUILT_IN)}
    assert len(load_catalogue([])) == len(BUILT_IN)


def test_two_that_bring_the_same_operation_are_both_named() -> None:
    twice = f"operation {BUILT_IN[0].name} comes from Writ itself and from entry point wake"
    with pytest.raises(ConfigError, match=twice):
        load_catalogue([entry("AGAIN")])


@pytest.mark.parametrize(
    ("attribute", "told"),
    [("NUMBER", "is not a tuple of operations"), ("MISSING", r"cannot be loaded \(AttributeError")],
)
def test_a_broken_plugin_is_named(attribute: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"entry point wake: wake_plugin:{attribute} {told}"):
        load_catalogue([entry(attribute)])


def test_handlers_and_backends_come_by_their_names() -> None:
    assert load_handlers([entry("HANDLERS", "writ.handlers")]) == {"wake_up": print}
    assert load_backends([entry("backend", "writ.backends", "ether")])["ether"]() == "a backend"
    with pytest.raises(ConfigError, match="is not a mapping from operation to handler"):
        load_handlers([entry("NUMBER", "writ.handlers")])
    with pytest.raises(ConfigError, match="makes no backend"):
        load_backends([entry("NUMBER", "writ.backends")])
    with pytest.raises(ConfigError, match="backend wake comes from"):
        load_backends([entry("backend", "writ.backends"), entry("backend", "writ.backends")])
